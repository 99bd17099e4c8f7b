-- +goose Up

CREATE TABLE links (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code            text COLLATE "C" NOT NULL UNIQUE,
    url             text NOT NULL,
    title           text NOT NULL DEFAULT '',
    tags            text[] NOT NULL DEFAULT '{}',
    redirect_status smallint NOT NULL,
    disabled        boolean NOT NULL DEFAULT false,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    expires_at      timestamptz,
    search          text COLLATE "C" NOT NULL
);
COMMENT ON COLUMN links.id IS 'never used again; clicks and rollups carry it instead of the code';
COMMENT ON COLUMN links.search IS 'code, url and title without letter case, one a line; written by the store';
CREATE INDEX links_tags ON links USING gin (tags);

CREATE TABLE clicks (
    id         uuid NOT NULL PRIMARY KEY,
    link_id    bigint NOT NULL,
    code       text COLLATE "C" NOT NULL,
    time       timestamptz NOT NULL,
    referrer   text NOT NULL,
    user_agent text NOT NULL,
    language   text NOT NULL,
    client     cidr,
    country    text NOT NULL,
    bot        boolean NOT NULL,
    trace_id   bytea,
    span_id    bytea,
    sampled    boolean NOT NULL
) PARTITION BY RANGE (id);
COMMENT ON TABLE clicks IS 'one partition a month, by the time in the UUIDv7; the consumer makes them ahead';
CREATE INDEX clicks_link_id ON clicks (link_id, id DESC);
CREATE TABLE clicks_default PARTITION OF clicks DEFAULT;

CREATE TABLE click_rollups (
    link_id   bigint NOT NULL,
    dimension text COLLATE "C" NOT NULL,
    hour      timestamptz NOT NULL,
    value     text COLLATE "C" NOT NULL,
    clicks    bigint NOT NULL,
    bots      bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (link_id, dimension, hour, value)
) WITH (fillfactor = 80);
COMMENT ON TABLE click_rollups IS 'clicks by link, hour and value; dimension total has one row an hour, and alone counts bots';

CREATE TABLE api_keys (
    id         text COLLATE "C" NOT NULL PRIMARY KEY,
    name       text NOT NULL,
    hash       bytea NOT NULL,
    scopes     text[] NOT NULL,
    created_at timestamptz NOT NULL,
    revoked_at timestamptz
);
