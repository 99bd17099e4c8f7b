-- +goose Up

-- Times are microseconds since 1970-01-01 UTC.

CREATE TABLE links (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    code            TEXT NOT NULL UNIQUE,
    url             TEXT NOT NULL,
    title           TEXT NOT NULL DEFAULT '',
    tags            TEXT NOT NULL DEFAULT '[]',
    redirect_status INTEGER NOT NULL,
    disabled        INTEGER NOT NULL DEFAULT 0,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    expires_at      INTEGER,
    search          TEXT NOT NULL
) STRICT;

-- The index of links.tags (a JSON array), kept by triggers.
CREATE TABLE link_tags (
    tag     TEXT NOT NULL,
    link_id INTEGER NOT NULL REFERENCES links (id) ON DELETE CASCADE,
    PRIMARY KEY (tag, link_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX link_tags_link_id ON link_tags (link_id);

-- +goose StatementBegin
CREATE TRIGGER links_tags_insert AFTER INSERT ON links BEGIN
    INSERT INTO link_tags (tag, link_id) SELECT DISTINCT value, NEW.id FROM json_each(NEW.tags);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER links_tags_update AFTER UPDATE OF tags ON links WHEN NEW.tags <> OLD.tags BEGIN
    DELETE FROM link_tags WHERE link_id = NEW.id;
    INSERT INTO link_tags (tag, link_id) SELECT DISTINCT value, NEW.id FROM json_each(NEW.tags);
END;
-- +goose StatementEnd

CREATE TABLE clicks (
    id         BLOB NOT NULL PRIMARY KEY,
    link_id    INTEGER NOT NULL,
    code       TEXT NOT NULL,
    time       INTEGER NOT NULL,
    referrer   TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    language   TEXT NOT NULL,
    client     TEXT NOT NULL,
    country    TEXT NOT NULL,
    bot        INTEGER NOT NULL,
    trace_id   BLOB,
    span_id    BLOB,
    sampled    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX clicks_link_id ON clicks (link_id, id DESC);

-- Clicks by link, hour and value; dimension total has one row an hour, and alone counts bots.
CREATE TABLE click_rollups (
    link_id   INTEGER NOT NULL,
    dimension TEXT NOT NULL,
    hour      INTEGER NOT NULL,
    value     TEXT NOT NULL,
    clicks    INTEGER NOT NULL,
    bots      INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (link_id, dimension, hour, value)
) STRICT, WITHOUT ROWID;

CREATE TABLE api_keys (
    id         TEXT NOT NULL PRIMARY KEY,
    name       TEXT NOT NULL,
    hash       BLOB NOT NULL,
    scopes     TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;
