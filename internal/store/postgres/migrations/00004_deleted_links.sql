-- +goose Up

CREATE TABLE deleted_links (
    code       text COLLATE "C" NOT NULL,
    link_id    bigint NOT NULL,
    deleted_at timestamptz NOT NULL,
    PRIMARY KEY (code, link_id)
);
COMMENT ON TABLE deleted_links IS 'links deleted without a purge, which still may be by their code; a row of some 100 bytes each, until then';
