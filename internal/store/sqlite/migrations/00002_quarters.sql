-- +goose Up

-- Not every time zone is full hours away from UTC, so that a day or a month of one may begin and end within an hour.
-- clicks and bots count the whole hour, these columns the quarters of it that begin at minute 15, 30 and 45. What the
-- version before writes has 0 here: it counts as of the hour's first quarter.
ALTER TABLE click_rollups ADD COLUMN clicks_15 INTEGER NOT NULL DEFAULT 0;
ALTER TABLE click_rollups ADD COLUMN clicks_30 INTEGER NOT NULL DEFAULT 0;
ALTER TABLE click_rollups ADD COLUMN clicks_45 INTEGER NOT NULL DEFAULT 0;
ALTER TABLE click_rollups ADD COLUMN bots_15 INTEGER NOT NULL DEFAULT 0;
ALTER TABLE click_rollups ADD COLUMN bots_30 INTEGER NOT NULL DEFAULT 0;
ALTER TABLE click_rollups ADD COLUMN bots_45 INTEGER NOT NULL DEFAULT 0;
