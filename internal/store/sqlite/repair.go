package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/store/repair"
	"github.com/linktrail/linktrail/internal/store/rollup"
)

// LastLink implements repair.Store.
func (s *Store) LastLink(ctx context.Context) (int64, error) {
	link, err := read(ctx, func() (int64, error) {
		return scanOne[int64](s.readers.QueryRowContext(ctx, `SELECT coalesce(max(link_id), 0) FROM click_rollups`))
	})
	if err != nil {
		return 0, fmt.Errorf("sqlite: look for the last link: %w", err)
	}
	return link, nil
}

// NextLink implements repair.Store.
func (s *Store) NextLink(ctx context.Context, after int64) (int64, error) {
	links, err := selectAll(ctx, s.readers, scanOne[int64], `SELECT * FROM (SELECT link_id FROM click_rollups WHERE link_id > ?1 ORDER BY link_id LIMIT 1)
		UNION ALL SELECT * FROM (SELECT link_id FROM clicks WHERE link_id > ?1 ORDER BY link_id LIMIT 1) ORDER BY 1`, after)
	if err != nil {
		return 0, fmt.Errorf("sqlite: look for the next link: %w", err)
	}
	if len(links) == 0 {
		return 0, nil
	}
	return links[0], nil
}

// dimensions is a list for IN of the names of all dimensions.
func dimensions() string { return `('` + strings.Join(rollup.Dimensions(), `', '`) + `')` }

// earliestOf returns the earliest hour that a query with two columns, the hour of a rollup and the id of a click, names, at
// most to.
func (s *Store) earliestOf(ctx context.Context, to time.Time, query string, args ...any) (time.Time, error) {
	return read(ctx, func() (time.Time, error) {
		var hour *int64
		var id []byte
		if err := s.readers.QueryRowContext(ctx, query, args...).Scan(&hour, &id); err != nil {
			return to, err
		}
		first := to
		if hour != nil && timeOf(hour).Before(first) {
			first = timeOf(hour)
		}
		if id != nil {
			if at := click.TimeOf(uuid.UUID(id)).Truncate(time.Hour); at.Before(first) {
				first = at
			}
		}
		return first, nil
	})
}

// NextHour implements repair.Store.
func (s *Store) NextHour(ctx context.Context, linkID int64, from, to time.Time) (time.Time, error) {
	var firsts []string
	for _, dimension := range rollup.Dimensions() {
		firsts = append(firsts, `SELECT * FROM (SELECT hour FROM click_rollups WHERE link_id = ?1 AND dimension = '`+dimension+`'
			AND hour >= ?2 AND hour < ?3 ORDER BY hour LIMIT 1)`)
	}
	hour, err := s.earliestOf(ctx, to, `SELECT (SELECT min(hour) FROM (`+strings.Join(firsts, ` UNION ALL `)+`)),
			(SELECT id FROM clicks WHERE link_id = ?1 AND id >= ?4 AND id < ?5 ORDER BY id LIMIT 1)`,
		linkID, from.UnixMicro(), to.UnixMicro(), idBytes(click.FirstID(from)), idBytes(click.FirstID(to)))
	if err != nil {
		return to, fmt.Errorf("sqlite: look for the next hour: %w", err)
	}
	return hour, nil
}

// ChunkEnd implements repair.Store.
func (s *Store) ChunkEnd(ctx context.Context, linkID int64, from, to time.Time) (time.Time, error) {
	end, err := s.earliestOf(ctx, to, `SELECT (SELECT hour FROM click_rollups WHERE link_id = ?1 AND dimension IN `+dimensions()+`
				AND hour >= ?2 AND hour < ?3 ORDER BY hour LIMIT 1 OFFSET ?6),
			(SELECT id FROM clicks WHERE link_id = ?1 AND id >= ?4 AND id < ?5 ORDER BY id LIMIT 1 OFFSET ?7)`,
		linkID, from.UnixMicro(), to.UnixMicro(), idBytes(click.FirstID(from)), idBytes(click.FirstID(to)),
		repair.ChunkRollups, repair.ChunkClicks)
	if err != nil {
		return to, fmt.Errorf("sqlite: look for the end of a chunk: %w", err)
	}
	if !end.After(from) {
		end = from.Add(time.Hour)
	}
	return end, nil
}

// CheckChunk implements repair.Store. Its transaction sees the file as it was at its first statement.
func (s *Store) CheckChunk(ctx context.Context, c repair.Chunk, byTime bool) (repair.Found, error) {
	found, err := read(ctx, func() (found repair.Found, err error) {
		tx, err := s.readers.BeginTx(ctx, nil)
		if err != nil {
			return found, err
		}
		defer func() { err = errors.Join(err, ignoreDone(tx.Rollback())) }()
		if found.State, err = chunkState(ctx, tx, c.LinkID, c.From); err != nil || found.State != repair.Comparable {
			return found, err
		}
		stored, err := readRollups(ctx, tx, c)
		if err != nil {
			return found, err
		}
		replay := rollup.NewReplay(c.LinkID, stored)
		if found.Clicks, err = readClicks(ctx, tx, c, byTime, replay.Add); err != nil {
			return found, err
		}
		replayed := replay.Hours()
		found.Differences = rollup.Compare(stored, replayed)
		for start := range replayed {
			stored.Hour(start)
		}
		found.Hours = len(stored)
		return found, nil
	})
	if err != nil {
		return found, fmt.Errorf("sqlite: compare clicks and rollups: %w", err)
	}
	return found, nil
}

func chunkState(ctx context.Context, tx *sql.Tx, linkID int64, from time.Time) (repair.State, error) {
	var purged, retained bool
	err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM purged_links WHERE link_id = ?),
		EXISTS (SELECT 1 FROM click_retention WHERE kept_from > ?)`, linkID, from.UnixMicro()).Scan(&purged, &retained)
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

// eachRow scans the rows of a query one after the other.
func eachRow(ctx context.Context, tx *sql.Tx, query string, args, into []any, f func()) (err error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		f()
	}
	return rows.Err()
}

func readRollups(ctx context.Context, tx *sql.Tx, c repair.Chunk) (rollup.Hours, error) {
	stored := make(rollup.Hours)
	var key rollup.Key
	var hour int64
	var n, bots [4]int64
	err := eachRow(ctx, tx, `SELECT dimension, value, hour, clicks, clicks_15, clicks_30, clicks_45, bots, bots_15, bots_30, bots_45
		FROM click_rollups WHERE link_id = ? AND dimension IN `+dimensions()+` AND hour >= ? AND hour < ?`,
		[]any{c.LinkID, c.From.UnixMicro(), c.To.UnixMicro()},
		[]any{&key.Dimension, &key.Value, &hour, &n[0], &n[1], &n[2], &n[3], &bots[0], &bots[1], &bots[2], &bots[3]}, func() {
			counts := stored.Hour(timeOf(&hour))
			if key.Dimension == rollup.Total {
				counts.Clicks, counts.Bots = rollup.OfHour(n[0], n[1], n[2], n[3]), rollup.OfHour(bots[0], bots[1], bots[2], bots[3])
			} else {
				counts.Values[key] = rollup.OfHour(n[0], n[1], n[2], n[3])
			}
		})
	return stored, err
}

// readClicks tells the clicks of a chunk in the order of their ids, with what they are counted by.
func readClicks(ctx context.Context, tx *sql.Tx, c repair.Chunk, byTime bool, add func(click.Click)) (read int64, err error) {
	where, args := `link_id = ? AND time >= ? AND time < ?`, []any{c.LinkID, c.From.UnixMicro(), c.To.UnixMicro()}
	if !byTime {
		where, args = where+` AND id >= ? AND id < ?`, append(args, idBytes(click.FirstID(c.From)), idBytes(click.FirstID(c.To)))
	}
	one := click.Click{LinkID: c.LinkID}
	var at int64
	err = eachRow(ctx, tx, `SELECT time, referrer, user_agent, country, bot FROM clicks WHERE `+where+` ORDER BY id`, args,
		[]any{&at, &one.Referrer, &one.UserAgent, &one.Country, &one.Bot}, func() {
			read++
			one.Time = timeOf(&at)
			add(one)
		})
	return read, err
}

// RebuildHours implements repair.Store, under the file's write lock.
func (s *Store) RebuildHours(ctx context.Context, linkID int64, hours []time.Time, byTime bool) (state repair.State, err error) {
	if len(hours) == 0 {
		return repair.Comparable, nil
	}
	err = s.write(ctx, func(tx *sql.Tx) error {
		if state, err = chunkState(ctx, tx, linkID, hours[0]); err != nil || state != repair.Comparable {
			return err
		}
		wanted := make(map[time.Time]bool, len(hours))
		for _, hour := range hours {
			wanted[hour] = true
		}
		replay := rollup.NewReplay(linkID, nil)
		_, err := readClicks(ctx, tx, repair.Chunk{LinkID: linkID, From: hours[0], To: hours[len(hours)-1].Add(time.Hour)}, byTime, func(c click.Click) {
			if wanted[c.Time.Truncate(time.Hour)] {
				replay.Add(c)
			}
		})
		if err != nil {
			return err
		}
		for _, hour := range hours {
			_, err := tx.ExecContext(ctx, `DELETE FROM click_rollups WHERE link_id = ? AND dimension IN `+dimensions()+` AND hour = ?`, linkID, hour.UnixMicro())
			if err != nil {
				return err
			}
		}
		totals, values := replay.Hours().Rows(linkID)
		return addRollups(ctx, tx, totals, values)
	})
	if err != nil {
		return state, fmt.Errorf("sqlite: rebuild rollups: %w", err)
	}
	return state, nil
}

// HasStrays implements repair.Store.
func (s *Store) HasStrays(ctx context.Context, linkID int64) (bool, error) {
	strays, err := read(ctx, func() (strays bool, err error) {
		rows, err := s.readers.QueryContext(ctx, `SELECT id, time FROM clicks WHERE link_id = ?`, linkID)
		if err != nil {
			return false, err
		}
		defer func() { err = errors.Join(err, rows.Close()) }()
		var id []byte
		var at int64
		for rows.Next() && !strays {
			if err := rows.Scan(&id, &at); err != nil {
				return false, err
			}
			strays = !click.TimeOf(uuid.UUID(id)).Truncate(time.Hour).Equal(timeOf(&at).Truncate(time.Hour))
		}
		return strays, rows.Err()
	})
	if err != nil {
		return false, fmt.Errorf("sqlite: select clicks: %w", err)
	}
	return strays, nil
}

// MissingClicks implements store.Purger.
func (s *Store) MissingClicks(ctx context.Context, clicks []click.Click) ([]click.Click, error) {
	missing, err := read(ctx, func() (missing []click.Click, err error) {
		query, err := s.readers.PrepareContext(ctx, `SELECT NOT EXISTS (SELECT 1 FROM clicks WHERE id = ?1)
			AND NOT EXISTS (SELECT 1 FROM purged_links WHERE link_id = ?2) AND NOT EXISTS (SELECT 1 FROM click_retention WHERE first_id > ?1)`)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, query.Close()) }()
		for _, c := range clicks {
			lacks, err := scanOne[bool](query.QueryRowContext(ctx, c.ID[:], c.LinkID))
			if err != nil {
				return nil, err
			}
			if lacks {
				missing = append(missing, c)
			}
		}
		return missing, nil
	})
	if err != nil {
		return nil, fmt.Errorf("sqlite: look for clicks: %w", err)
	}
	return missing, nil
}
