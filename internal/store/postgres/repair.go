package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/store/repair"
	"github.com/linktrail/linktrail/internal/store/rollup"
)

// LastLink implements repair.Store.
func (s *Store) LastLink(ctx context.Context) (link int64, err error) {
	if err := s.pool.QueryRow(ctx, `SELECT coalesce(max(link_id), 0) FROM click_rollups`).Scan(&link); err != nil {
		return 0, fmt.Errorf("postgres: look for the last link: %w", err)
	}
	return link, nil
}

// NextLink implements repair.Store.
func (s *Store) NextLink(ctx context.Context, after int64) (link int64, err error) {
	err = s.pool.QueryRow(ctx, `SELECT coalesce(least(
		(SELECT link_id FROM click_rollups WHERE link_id > $1 ORDER BY link_id LIMIT 1),
		(SELECT link_id FROM clicks WHERE link_id > $1 ORDER BY link_id LIMIT 1)), 0)`, after).Scan(&link)
	if err != nil {
		return 0, fmt.Errorf("postgres: look for the next link: %w", err)
	}
	return link, nil
}

// NextHour implements repair.Store.
func (s *Store) NextHour(ctx context.Context, linkID int64, from, to time.Time) (time.Time, error) {
	var hour *time.Time
	var id *[16]byte
	err := s.pool.QueryRow(ctx, `SELECT (SELECT min(hour) FROM unnest($2::text[]) d CROSS JOIN LATERAL (SELECT hour FROM click_rollups
				WHERE link_id = $1 AND dimension = d AND hour >= $3 AND hour < $4 ORDER BY hour LIMIT 1) r),
			(SELECT id FROM clicks WHERE link_id = $1 AND id >= $5 AND id < $6 ORDER BY id LIMIT 1)`,
		linkID, rollup.Dimensions(), from, to, [16]byte(click.FirstID(from)), [16]byte(click.FirstID(to))).Scan(&hour, &id)
	if err != nil {
		return to, fmt.Errorf("postgres: look for the next hour: %w", err)
	}
	return earliest(to, hour, id), nil
}

// earliest returns the earliest hour of those given.
func earliest(hour time.Time, other *time.Time, id *[16]byte) time.Time {
	if other != nil && other.Before(hour) {
		hour = other.UTC()
	}
	if id != nil {
		if at := click.TimeOf(*id).Truncate(time.Hour); at.Before(hour) {
			hour = at
		}
	}
	return hour
}

// ChunkEnd implements repair.Store.
func (s *Store) ChunkEnd(ctx context.Context, linkID int64, from, to time.Time) (time.Time, error) {
	var hour *time.Time
	var id *[16]byte
	err := s.pool.QueryRow(ctx, `SELECT (SELECT hour FROM click_rollups WHERE link_id = $1 AND dimension = ANY($2) AND hour >= $3 AND hour < $4
				ORDER BY hour OFFSET $7 LIMIT 1),
			(SELECT id FROM clicks WHERE link_id = $1 AND id >= $5 AND id < $6 ORDER BY id OFFSET $8 LIMIT 1)`,
		linkID, rollup.Dimensions(), from, to, [16]byte(click.FirstID(from)), [16]byte(click.FirstID(to)),
		repair.ChunkRollups, repair.ChunkClicks).Scan(&hour, &id)
	if err != nil {
		return to, fmt.Errorf("postgres: look for the end of a chunk: %w", err)
	}
	end := earliest(to, hour, id)
	if !end.After(from) {
		end = from.Add(time.Hour)
	}
	return end, nil
}

// CheckChunk implements repair.Store, on a snapshot of its own: clicks and rollups are of one moment, as writers commit
// both together.
func (s *Store) CheckChunk(ctx context.Context, c repair.Chunk, byTime bool) (found repair.Found, err error) {
	snapshot := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err = pgx.BeginTxFunc(ctx, s.pool, snapshot, func(tx pgx.Tx) error {
		if found.State, err = chunkState(ctx, tx, c.LinkID, c.From); err != nil || found.State != repair.Comparable {
			return err
		}
		stored, err := readRollups(ctx, tx, c)
		if err != nil {
			return err
		}
		replay := rollup.NewReplay(c.LinkID, stored)
		if found.Clicks, err = readClicks(ctx, tx, c, byTime, replay.Add); err != nil {
			return err
		}
		replayed := replay.Hours()
		found.Differences = rollup.Compare(stored, replayed)
		for start := range replayed {
			stored.Hour(start)
		}
		found.Hours = len(stored)
		if found.Clicks == 0 && len(found.Differences) > 0 {
			return lookWhetherGone(ctx, tx, c.From, &found)
		}
		return nil
	})
	if err != nil {
		return found, fmt.Errorf("postgres: compare clicks and rollups: %w", err)
	}
	return found, nil
}

func chunkState(ctx context.Context, tx pgx.Tx, linkID int64, from time.Time) (repair.State, error) {
	var purged, retained bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM purged_links WHERE link_id = $1),
		EXISTS (SELECT FROM click_retention WHERE kept_from > $2)`, linkID, from).Scan(&purged, &retained)
	switch {
	case err != nil:
		return repair.Comparable, err
	case purged:
		return repair.Purged, nil
	case retained:
		return repair.Retained, nil
	}
	return repair.Comparable, nil
}

func readRollups(ctx context.Context, tx pgx.Tx, c repair.Chunk) (rollup.Hours, error) {
	rows, err := tx.Query(ctx, `SELECT dimension, value, hour, clicks, clicks_15, clicks_30, clicks_45, bots, bots_15, bots_30, bots_45
		FROM click_rollups WHERE link_id = $1 AND dimension = ANY($2) AND hour >= $3 AND hour < $4`,
		c.LinkID, rollup.Dimensions(), c.From, c.To)
	if err != nil {
		return nil, err
	}
	stored := make(rollup.Hours)
	var key rollup.Key
	var hour time.Time
	var n, bots [4]int64
	_, err = pgx.ForEachRow(rows, []any{&key.Dimension, &key.Value, &hour, &n[0], &n[1], &n[2], &n[3], &bots[0], &bots[1], &bots[2], &bots[3]}, func() error {
		counts := stored.Hour(hour)
		if key.Dimension == rollup.Total {
			counts.Clicks, counts.Bots = rollup.OfHour(n[0], n[1], n[2], n[3]), rollup.OfHour(bots[0], bots[1], bots[2], bots[3])
		} else {
			counts.Values[key] = rollup.OfHour(n[0], n[1], n[2], n[3])
		}
		return nil
	})
	return stored, err
}

// readClicks tells the clicks of a chunk in the order of their ids, with what they are counted by.
func readClicks(ctx context.Context, tx pgx.Tx, c repair.Chunk, byTime bool, add func(click.Click)) (read int64, err error) {
	first, end := click.FirstID(c.From), click.FirstID(c.To)
	where, args := `link_id = $1 AND time >= $2 AND time < $3`, []any{c.LinkID, c.From, c.To}
	if !byTime {
		where, args = where+` AND id >= $4 AND id < $5`, append(args, [16]byte(first), [16]byte(end))
	}
	rows, err := tx.Query(ctx, `SELECT time, referrer, user_agent, country, bot FROM clicks WHERE `+where+` ORDER BY id`, args...)
	if err != nil {
		return 0, err
	}
	one := click.Click{LinkID: c.LinkID}
	_, err = pgx.ForEachRow(rows, []any{&one.Time, &one.Referrer, &one.UserAgent, &one.Country, &one.Bot}, func() error {
		read++
		add(one)
		return nil
	})
	return read, err
}

// lookWhetherGone is asked when a chunk has rollups and no click: its month's partition may have been dropped.
func lookWhetherGone(ctx context.Context, tx pgx.Tx, from time.Time, found *repair.Found) error {
	month := monthOf(from)
	var there bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
			WHERE i.inhparent = 'clicks'::regclass AND c.relname = $1)
		OR EXISTS (SELECT FROM clicks WHERE id >= $2 AND id < $3)`,
		partitionName(month), [16]byte(click.FirstID(month)), [16]byte(click.FirstID(month.AddDate(0, 1, 0)))).Scan(&there)
	if err == nil && !there {
		*found = repair.Found{State: repair.Gone}
	}
	return err
}

// RebuildHours implements repair.Store. It takes the locks that writers take, in their order: the shared one that keeps
// partitions, purges and the retention away, then the rows of the totals. A writer of one of these hours has committed
// before, so that its clicks are counted here, or it has yet to lock the total, and adds its clicks, which nobody else sees
// until then, to what is written here.
func (s *Store) RebuildHours(ctx context.Context, linkID int64, hours []time.Time, byTime bool) (state repair.State, err error) {
	if len(hours) == 0 {
		return repair.Comparable, nil
	}
	err = pgx.BeginTxFunc(ctx, s.pool, beside, func(tx pgx.Tx) error {
		if state, err = chunkState(ctx, tx, linkID, hours[0]); err != nil || state != repair.Comparable {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO click_rollups AS r (link_id, dimension, hour, value, clicks)
			SELECT $1, $2, hour, '', 0 FROM unnest($3::timestamptz[]) hour ORDER BY hour
			ON CONFLICT (link_id, dimension, hour, value) DO UPDATE SET clicks = r.clicks`, linkID, rollup.Total, hours)
		if err != nil {
			return err
		}
		wanted := make(map[time.Time]bool, len(hours))
		for _, hour := range hours {
			wanted[hour] = true
		}
		replay := rollup.NewReplay(linkID, nil)
		_, err = readClicks(ctx, tx, repair.Chunk{LinkID: linkID, From: hours[0], To: hours[len(hours)-1].Add(time.Hour)}, byTime, func(c click.Click) {
			if wanted[c.Time.UTC().Truncate(time.Hour)] {
				replay.Add(c)
			}
		})
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `DELETE FROM click_rollups WHERE link_id = $1 AND dimension = ANY($2) AND hour = ANY($3)`,
			linkID, rollup.Dimensions(), hours)
		if err != nil {
			return err
		}
		totals, values := replay.Hours().Rows(linkID)
		if len(totals) == 0 {
			return nil
		}
		if _, err := addTotals(ctx, tx, totals, values); err != nil {
			return err
		}
		return addValues(ctx, tx, values)
	})
	if err != nil {
		return state, fmt.Errorf("postgres: rebuild rollups: %w", err)
	}
	return state, nil
}

// errFound ends the reading of rows.
var errFound = errors.New("found")

// HasStrays implements repair.Store.
func (s *Store) HasStrays(ctx context.Context, linkID int64) (bool, error) {
	rows, err := s.pool.Query(ctx, `SELECT id, time FROM clicks WHERE link_id = $1`, linkID)
	if err != nil {
		return false, fmt.Errorf("postgres: select clicks: %w", err)
	}
	var id [16]byte
	var at time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &at}, func() error {
		if !click.TimeOf(id).Truncate(time.Hour).Equal(at.UTC().Truncate(time.Hour)) {
			return errFound
		}
		return nil
	})
	if err != nil && !errors.Is(err, errFound) {
		return false, fmt.Errorf("postgres: select clicks: %w", err)
	}
	return err != nil, nil
}

// MissingClicks implements store.Purger.
func (s *Store) MissingClicks(ctx context.Context, clicks []click.Click) ([]click.Click, error) {
	ids, links := make([][16]byte, len(clicks)), make([]int64, len(clicks))
	for i, c := range clicks {
		ids[i], links[i] = c.ID, c.LinkID
	}
	rows, err := s.pool.Query(ctx, `SELECT place FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS new (id, link_id, place)
		WHERE NOT EXISTS (SELECT FROM clicks WHERE clicks.id = new.id)
			AND NOT EXISTS (SELECT FROM purged_links WHERE purged_links.link_id = new.link_id)
			AND id >= coalesce((SELECT first_id FROM click_retention), '00000000-0000-0000-0000-000000000000')
		ORDER BY place`, ids, links)
	if err != nil {
		return nil, fmt.Errorf("postgres: look for clicks: %w", err)
	}
	var missing []click.Click
	var place int64
	if _, err := pgx.ForEachRow(rows, []any{&place}, func() error { missing = append(missing, clicks[place-1]); return nil }); err != nil {
		return nil, fmt.Errorf("postgres: look for clicks: %w", err)
	}
	return missing, nil
}
