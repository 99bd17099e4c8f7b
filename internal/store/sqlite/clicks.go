package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/store/record"
	"github.com/linktrail/linktrail/internal/store/rollup"
)

// WriteClicks implements click.Store. The file's one write lock keeps batches apart.
func (s *Store) WriteClicks(ctx context.Context, batch []click.Click) (written int, err error) {
	clicks := rollup.Distinct(batch)
	if len(clicks) == 0 {
		return 0, nil
	}
	err = s.write(ctx, func(tx *sql.Tx) error {
		fresh, err := insertClicks(ctx, tx, clicks)
		if err != nil {
			return fmt.Errorf("insert: %w", err)
		}
		written = len(fresh)
		totals, values := rollup.Sum(fresh)
		held, err := heldValues(ctx, tx, rollup.Groups(values))
		if err != nil {
			return fmt.Errorf("read held values: %w", err)
		}
		if err := addRollups(ctx, tx, totals, rollup.Cap(values, held)); err != nil {
			return fmt.Errorf("add rollups: %w", err)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("sqlite: write clicks: %w", err)
	}
	return written, nil
}

// prepared runs f with a statement that is closed afterwards.
func prepared(ctx context.Context, tx *sql.Tx, query string, f func(*sql.Stmt) error) (err error) {
	statement, err := tx.PrepareContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, statement.Close()) }()
	return f(statement)
}

// insertClicks returns those clicks that the store did not have, in the order in which they were given.
func insertClicks(ctx context.Context, tx *sql.Tx, clicks []click.Click) ([]click.Click, error) {
	fresh := make([]click.Click, 0, len(clicks))
	err := prepared(ctx, tx, `INSERT INTO clicks (id, link_id, code, time, referrer, user_agent, language, client, country, bot,
		trace_id, span_id, sampled) SELECT ?1, ?2, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?
		WHERE NOT EXISTS (SELECT 1 FROM purged_links WHERE link_id = ?2)
			AND NOT EXISTS (SELECT 1 FROM click_retention WHERE first_id > ?1) ON CONFLICT (id) DO NOTHING`,
		func(insert *sql.Stmt) error {
			for i := range clicks {
				c := &clicks[i]
				var traceID, spanID []byte
				if c.TraceID.IsValid() {
					traceID = c.TraceID[:]
				}
				if c.SpanID.IsValid() {
					spanID = c.SpanID[:]
				}
				result, err := insert.ExecContext(ctx, c.ID[:], c.LinkID, record.Text(c.Code), c.Time.UnixMicro(),
					record.Text(c.Referrer), record.Text(c.UserAgent), record.Text(c.Language), record.Network(c.Client),
					record.Text(c.Country), c.Bot, traceID, spanID, c.Sampled)
				if err != nil {
					return err
				}
				if n, err := result.RowsAffected(); err != nil {
					return err
				} else if n == 1 {
					fresh = append(fresh, *c)
				}
			}
			return nil
		})
	return fresh, err
}

// heldValues returns what rollup.Cap needs to know: the values of the groups that may become too large.
func heldValues(ctx context.Context, tx *sql.Tx, groups []rollup.GroupSize) (map[rollup.Group]map[string]bool, error) {
	held := make(map[rollup.Group]map[string]bool)
	err := prepared(ctx, tx, `SELECT value FROM click_rollups WHERE link_id = ? AND dimension = ? AND hour = ? AND value <> ?`,
		func(query *sql.Stmt) error {
			for _, g := range groups {
				values, err := valueSet(query.QueryContext(ctx, g.LinkID, g.Dimension, g.Start.UnixMicro(), click.Other))
				if err != nil {
					return err
				}
				if len(values)+g.Values > click.MaxValues {
					held[g.Group] = values
				}
			}
			return nil
		})
	return held, err
}

func valueSet(rows *sql.Rows, err error) (map[string]bool, error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // its error is rows.Err's
	values := make(map[string]bool)
	for rows.Next() {
		var value string
		if err := rows.Scan(&value); err != nil {
			return nil, err
		}
		values[value] = true
	}
	return values, rows.Err()
}

func addRollups(ctx context.Context, tx *sql.Tx, totals []rollup.TotalRow, values []rollup.ValueRow) error {
	return prepared(ctx, tx, `INSERT INTO click_rollups (link_id, dimension, hour, value,
			clicks, clicks_15, clicks_30, clicks_45, bots, bots_15, bots_30, bots_45) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (link_id, dimension, hour, value)
		DO UPDATE SET clicks = clicks + excluded.clicks, clicks_15 = clicks_15 + excluded.clicks_15,
			clicks_30 = clicks_30 + excluded.clicks_30, clicks_45 = clicks_45 + excluded.clicks_45,
			bots = bots + excluded.bots, bots_15 = bots_15 + excluded.bots_15,
			bots_30 = bots_30 + excluded.bots_30, bots_45 = bots_45 + excluded.bots_45`,
		func(upsert *sql.Stmt) error {
			for _, t := range totals {
				_, err := upsert.ExecContext(ctx, t.LinkID, rollup.Total, t.Start.UnixMicro(), "",
					t.Clicks.Sum(), t.Clicks[1], t.Clicks[2], t.Clicks[3], t.Bots.Sum(), t.Bots[1], t.Bots[2], t.Bots[3])
				if err != nil {
					return err
				}
			}
			for _, v := range values {
				_, err := upsert.ExecContext(ctx, v.LinkID, v.Dimension, v.Start.UnixMicro(), v.Value,
					v.Clicks.Sum(), v.Clicks[1], v.Clicks[2], v.Clicks[3], 0, 0, 0, 0)
				if err != nil {
					return err
				}
			}
			return nil
		})
}

// A statsRow is one row of the statistics: a value of a dimension, or one hour's total; the counts are as rollup.OfHour takes them.
type statsRow struct {
	dimension, value string
	hour             *int64
	clicks, bots     [4]int64
}

// ClickStats implements click.Store in one statement, so that totals and values are of one moment.
func (s *Store) ClickStats(ctx context.Context, q click.StatsQuery) (_ click.Stats, err error) {
	q, err = q.Check()
	if err != nil {
		return click.Stats{}, err
	}
	ctx, end := s.database.Start(ctx, "SELECT", "click_rollups")
	defer func() { end(err) }()
	rows, err := selectAll(ctx, s.readers, func(row scanner) (r statsRow, err error) {
		err = row.Scan(&r.dimension, &r.value, &r.hour, &r.clicks[0], &r.clicks[1], &r.clicks[2], &r.clicks[3],
			&r.bots[0], &r.bots[1], &r.bots[2], &r.bots[3])
		return r, err
	}, `WITH counts AS (
			SELECT dimension, value, sum(CASE
				WHEN hour >= ?3 AND hour <= ?4 - 4 * ?5 THEN clicks
				ELSE (hour >= ?3 AND hour < ?4) * (clicks - clicks_15 - clicks_30 - clicks_45)
					+ (hour + ?5 >= ?3 AND hour + ?5 < ?4) * clicks_15
					+ (hour + 2 * ?5 >= ?3 AND hour + 2 * ?5 < ?4) * clicks_30
					+ (hour + 3 * ?5 >= ?3 AND hour + 3 * ?5 < ?4) * clicks_45
				END) AS clicks
			FROM click_rollups
			WHERE link_id = ?1 AND dimension <> ?2 AND hour >= ?6 AND hour < ?4 GROUP BY dimension, value
		), ranked AS (
			SELECT dimension, value, clicks, row_number() OVER (PARTITION BY dimension ORDER BY clicks DESC, value) AS place
			FROM counts WHERE clicks > 0
		)
		SELECT dimension, value, NULL, clicks, 0, 0, 0, 0, 0, 0, 0 FROM ranked WHERE place <= ?7
		UNION ALL
		SELECT dimension, value, hour, clicks, clicks_15, clicks_30, clicks_45, bots, bots_15, bots_30, bots_45 FROM click_rollups
		WHERE link_id = ?1 AND dimension = ?2 AND hour >= ?6 AND hour < ?4`,
		q.LinkID, rollup.Total, q.From.UnixMicro(), q.To.UnixMicro(), click.Quarter.Microseconds(),
		q.From.Truncate(time.Hour).UnixMicro(), q.Top)
	if err != nil {
		return click.Stats{}, fmt.Errorf("sqlite: select rollups: %w", err)
	}
	counter := rollup.NewCounter(q)
	for _, r := range rows {
		if r.hour != nil {
			counter.Hour(time.UnixMicro(*r.hour), rollup.OfHour(r.clicks[0], r.clicks[1], r.clicks[2], r.clicks[3]),
				rollup.OfHour(r.bots[0], r.bots[1], r.bots[2], r.bots[3]))
		} else {
			counter.Value(r.dimension, r.value, r.clicks[0])
		}
	}
	return counter.Stats(), nil
}

// LatestClicks implements click.Store.
func (s *Store) LatestClicks(ctx context.Context, linkID int64, before uuid.UUID, limit int) (_ []click.Click, err error) {
	ctx, end := s.database.Start(ctx, "SELECT", "clicks")
	defer func() { end(err) }()
	query, args := latestQuery(linkID, before, limit)
	clicks, err := selectAll(ctx, s.readers, scanClick, query, args...)
	if err != nil {
		return nil, fmt.Errorf("sqlite: select clicks: %w", err)
	}
	return clicks, nil
}

// latestQuery is the question of LatestClicks. The clicks of a link are read from clicks_link_id, those of all links from
// the table, which lies in the order of id: nothing is sorted.
func latestQuery(linkID int64, before uuid.UUID, limit int) (query string, args []any) {
	if before == uuid.Nil {
		before = uuid.Max
	}
	where, args := `id < ?`, []any{before[:]}
	if linkID != click.AllLinks {
		where, args = `link_id = ? AND id < ?`, []any{linkID, before[:]}
	}
	return `SELECT id, link_id, code, time, referrer, user_agent, language, client, country, bot, trace_id, span_id, sampled
		FROM clicks WHERE ` + where + ` ORDER BY id DESC LIMIT ?`, append(args, min(max(limit, 1), click.MaxLatest))
}

func scanClick(row scanner) (click.Click, error) {
	var c click.Click
	var id, traceID, spanID []byte
	var at int64
	var client string
	err := row.Scan(&id, &c.LinkID, &c.Code, &at, &c.Referrer, &c.UserAgent, &c.Language, &client, &c.Country, &c.Bot,
		&traceID, &spanID, &c.Sampled)
	if err != nil {
		return c, err
	}
	copy(c.ID[:], id)
	copy(c.TraceID[:], traceID)
	copy(c.SpanID[:], spanID)
	c.Time = time.UnixMicro(at).UTC()
	if client != "" {
		c.Client, err = netip.ParsePrefix(client)
	}
	return c, err
}
