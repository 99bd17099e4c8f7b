-- +goose Up

-- Links whose clicks must not be kept: no click of one is ever stored again. done_at is when the last of its clicks and
-- rollups was removed.
CREATE TABLE purged_links (
    link_id   INTEGER PRIMARY KEY,
    purged_at INTEGER NOT NULL,
    done_at   INTEGER
) STRICT;
CREATE INDEX purged_links_pending ON purged_links (link_id) WHERE done_at IS NULL;

-- Clicks before kept_from, whose id is lower than first_id, were removed; their rollups may stay.
CREATE TABLE click_retention (
    only_row   INTEGER PRIMARY KEY CHECK (only_row = 1),
    kept_from  INTEGER NOT NULL,
    first_id   BLOB NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;
