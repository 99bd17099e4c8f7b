-- +goose Up

CREATE TABLE purged_links (
    link_id   bigint NOT NULL PRIMARY KEY,
    purged_at timestamptz NOT NULL,
    done_at   timestamptz
);
COMMENT ON TABLE purged_links IS 'links whose clicks must not be kept: no click of one is ever stored again';
COMMENT ON COLUMN purged_links.done_at IS 'when the last of its clicks and rollups was removed';
CREATE INDEX purged_links_pending ON purged_links (link_id) WHERE done_at IS NULL;

CREATE TABLE click_retention (
    only_row   boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (only_row),
    kept_from  timestamptz NOT NULL,
    first_id   uuid NOT NULL,
    changed_at timestamptz NOT NULL
);
COMMENT ON TABLE click_retention IS 'clicks before kept_from, whose id is lower than first_id, were removed; their rollups may stay';
