-- +goose Up

-- Not every time zone is full hours away from UTC, so that a day or a month of one may begin and end within an hour.
-- What the version before writes has 0 in these columns: it counts as of the hour's first quarter.
ALTER TABLE click_rollups
    ADD COLUMN clicks_15 integer NOT NULL DEFAULT 0,
    ADD COLUMN clicks_30 integer NOT NULL DEFAULT 0,
    ADD COLUMN clicks_45 integer NOT NULL DEFAULT 0,
    ADD COLUMN bots_15   integer NOT NULL DEFAULT 0,
    ADD COLUMN bots_30   integer NOT NULL DEFAULT 0,
    ADD COLUMN bots_45   integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN click_rollups.clicks IS 'all clicks of the hour';
COMMENT ON COLUMN click_rollups.clicks_15 IS 'those of the quarter of an hour from minute 15 on; the other columns likewise';
