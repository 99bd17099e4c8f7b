-- +goose Up

-- Links deleted without a purge, which still may be by their code: a row of some 30 bytes each, until then.
CREATE TABLE deleted_links (
    code       TEXT NOT NULL,
    link_id    INTEGER NOT NULL,
    deleted_at INTEGER NOT NULL,
    PRIMARY KEY (code, link_id)
) STRICT, WITHOUT ROWID;
