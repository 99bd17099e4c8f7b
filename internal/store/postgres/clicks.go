package postgres

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/store/record"
	"github.com/linktrail/linktrail/internal/store/rollup"
)

// WriteClicks implements click.Store. All writers take their locks in one order (clicks by id, totals by link and hour,
// then values), so they cannot deadlock; the lock on a total's row makes the writers of one link and hour take turns, so
// that the limit of values is exact.
func (s *Store) WriteClicks(ctx context.Context, batch []click.Click) (written int, err error) {
	clicks := rollup.Distinct(batch)
	if len(clicks) == 0 {
		return 0, nil
	}
	err = pgx.BeginTxFunc(ctx, s.pool, beside, func(tx pgx.Tx) error {
		fresh, err := insertClicks(ctx, tx, clicks)
		if err != nil || len(fresh) == 0 {
			return err
		}
		written = len(fresh)
		totals, values := rollup.Sum(fresh)
		held, err := addTotals(ctx, tx, totals, values)
		if err != nil {
			return err
		}
		return addValues(ctx, tx, rollup.Cap(values, held))
	})
	if err != nil {
		return 0, fmt.Errorf("postgres: write clicks: %w", err)
	}
	return written, nil
}

// insertClicks returns those clicks that the store did not have, in the order in which they were given. It looks
// for purged links and the retention under the lock of beside: whoever adds one waits for all that hold it.
func insertClicks(ctx context.Context, tx pgx.Tx, clicks []click.Click) ([]click.Click, error) {
	n := len(clicks)
	ids, links, times := make([][16]byte, n), make([]int64, n), make([]time.Time, n)
	codes, referrers, agents := make([]string, n), make([]string, n), make([]string, n)
	languages, clients, countries := make([]string, n), make([]string, n), make([]string, n)
	bots, sampled := make([]bool, n), make([]bool, n)
	traces, spans := make([][]byte, n), make([][]byte, n)
	for i := range clicks {
		c := &clicks[i]
		ids[i], links[i], times[i] = c.ID, c.LinkID, record.Time(c.Time)
		codes[i], referrers[i], agents[i] = record.Text(c.Code), record.Text(c.Referrer), record.Text(c.UserAgent)
		languages[i], clients[i], countries[i] = record.Text(c.Language), record.Network(c.Client), record.Text(c.Country)
		bots[i], sampled[i] = c.Bot, c.Sampled
		if c.TraceID.IsValid() {
			traces[i] = c.TraceID[:]
		}
		if c.SpanID.IsValid() {
			spans[i] = c.SpanID[:]
		}
	}
	rows, err := tx.Query(ctx, `INSERT INTO clicks (id, link_id, code, time, referrer, user_agent, language, client, country, bot,
			trace_id, span_id, sampled)
		SELECT id, link_id, code, time, referrer, user_agent, language, nullif(client, '')::cidr, country, bot,
			trace_id, span_id, sampled
		FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::timestamptz[], $5::text[], $6::text[], $7::text[], $8::text[],
			$9::text[], $10::boolean[], $11::bytea[], $12::bytea[], $13::boolean[]) WITH ORDINALITY
			AS new (id, link_id, code, time, referrer, user_agent, language, client, country, bot, trace_id, span_id, sampled, place)
		WHERE NOT EXISTS (SELECT FROM purged_links WHERE purged_links.link_id = new.link_id)
			AND id >= coalesce((SELECT first_id FROM click_retention), '00000000-0000-0000-0000-000000000000')
		ORDER BY place ON CONFLICT (id) DO NOTHING RETURNING id`,
		ids, links, codes, times, referrers, agents, languages, clients, countries, bots, traces, spans, sampled)
	if err != nil {
		return nil, fmt.Errorf("insert: %w", err)
	}
	inserted := make(map[uuid.UUID]bool, n)
	var id [16]byte
	if _, err := pgx.ForEachRow(rows, []any{&id}, func() error { inserted[id] = true; return nil }); err != nil {
		return nil, fmt.Errorf("insert: %w", err)
	}
	fresh := clicks[:0:n]
	for _, c := range clicks {
		if inserted[c.ID] {
			fresh = append(fresh, c)
		}
	}
	return fresh, nil
}

// columns are the counts of rows as the table's columns: of the whole hour, and of its quarters but the first.
type columns struct{ whole, second, third, fourth []int64 }

func newColumns(rows int) columns {
	return columns{make([]int64, rows), make([]int64, rows), make([]int64, rows), make([]int64, rows)}
}

func (c columns) set(row int, q rollup.Quarters) {
	c.whole[row], c.second[row], c.third[row], c.fourth[row] = q.Sum(), q[1], q[2], q[3]
}

// addTotals adds to the totals, whose rows stay locked, and then returns what rollup.Cap needs to know.
func addTotals(ctx context.Context, tx pgx.Tx, totals []rollup.TotalRow, values []rollup.ValueRow) (map[rollup.Group]map[string]bool, error) {
	var batch pgx.Batch
	n := len(totals)
	links, hours := make([]int64, n), make([]time.Time, n)
	clicks, bots := newColumns(n), newColumns(n)
	for i, t := range totals {
		links[i], hours[i] = t.LinkID, t.Start
		clicks.set(i, t.Clicks)
		bots.set(i, t.Bots)
	}
	batch.Queue(`INSERT INTO click_rollups AS r (link_id, dimension, hour, value,
			clicks, clicks_15, clicks_30, clicks_45, bots, bots_15, bots_30, bots_45)
		SELECT link_id, $1, hour, '', clicks, clicks_15, clicks_30, clicks_45, bots, bots_15, bots_30, bots_45
		FROM unnest($2::bigint[], $3::timestamptz[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
				$8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[]) WITH ORDINALITY
			AS new (link_id, hour, clicks, clicks_15, clicks_30, clicks_45, bots, bots_15, bots_30, bots_45, place)
		ORDER BY place ON CONFLICT (link_id, dimension, hour, value)
		DO UPDATE SET clicks = r.clicks + excluded.clicks, clicks_15 = r.clicks_15 + excluded.clicks_15,
			clicks_30 = r.clicks_30 + excluded.clicks_30, clicks_45 = r.clicks_45 + excluded.clicks_45,
			bots = r.bots + excluded.bots, bots_15 = r.bots_15 + excluded.bots_15,
			bots_30 = r.bots_30 + excluded.bots_30, bots_45 = r.bots_45 + excluded.bots_45`,
		rollup.Total, links, hours, clicks.whole, clicks.second, clicks.third, clicks.fourth,
		bots.whole, bots.second, bots.third, bots.fourth)

	groups := rollup.Groups(values)
	groupLinks, groupDimensions := make([]int64, len(groups)), make([]string, len(groups))
	groupHours, groupSizes := make([]time.Time, len(groups)), make([]int64, len(groups))
	for i, g := range groups {
		groupLinks[i], groupDimensions[i], groupHours[i], groupSizes[i] = g.LinkID, g.Dimension, g.Start, int64(g.Values)
	}
	batch.Queue(`SELECT g.place, held.value
		FROM unnest($1::bigint[], $2::text[], $3::timestamptz[], $4::bigint[]) WITH ORDINALITY
			AS g (link_id, dimension, hour, size, place)
		CROSS JOIN LATERAL (SELECT count(*) AS size FROM click_rollups r WHERE r.link_id = g.link_id
			AND r.dimension = g.dimension AND r.hour = g.hour AND r.value <> $6) AS full_of
		LEFT JOIN click_rollups held ON held.link_id = g.link_id AND held.dimension = g.dimension AND held.hour = g.hour
			AND held.value <> $6
		WHERE full_of.size + g.size > $5`,
		groupLinks, groupDimensions, groupHours, groupSizes, click.MaxValues, click.Other)

	results := tx.SendBatch(ctx, &batch)
	defer func() { _ = results.Close() }() // its error is the first query's, which is returned below
	if _, err := results.Exec(); err != nil {
		return nil, fmt.Errorf("add totals: %w", err)
	}
	rows, err := results.Query()
	if err != nil {
		return nil, fmt.Errorf("read held values: %w", err)
	}
	held := make(map[rollup.Group]map[string]bool)
	var place int64
	var value *string
	_, err = pgx.ForEachRow(rows, []any{&place, &value}, func() error {
		group := groups[place-1].Group
		if held[group] == nil {
			held[group] = make(map[string]bool, click.MaxValues)
		}
		if value != nil {
			held[group][*value] = true
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read held values: %w", err)
	}
	return held, results.Close()
}

func addValues(ctx context.Context, tx pgx.Tx, rows []rollup.ValueRow) error {
	if len(rows) == 0 {
		return nil
	}
	n := len(rows)
	links, hours, clicks := make([]int64, n), make([]time.Time, n), newColumns(n)
	dimensions, values := make([]string, n), make([]string, n)
	for i, r := range rows {
		links[i], dimensions[i], hours[i], values[i] = r.LinkID, r.Dimension, r.Start, r.Value
		clicks.set(i, r.Clicks)
	}
	_, err := tx.Exec(ctx, `INSERT INTO click_rollups AS r (link_id, dimension, hour, value, clicks, clicks_15, clicks_30, clicks_45)
		SELECT link_id, dimension, hour, value, clicks, clicks_15, clicks_30, clicks_45
		FROM unnest($1::bigint[], $2::text[], $3::timestamptz[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[],
				$8::bigint[]) WITH ORDINALITY
			AS new (link_id, dimension, hour, value, clicks, clicks_15, clicks_30, clicks_45, place)
		ORDER BY place ON CONFLICT (link_id, dimension, hour, value)
		DO UPDATE SET clicks = r.clicks + excluded.clicks, clicks_15 = r.clicks_15 + excluded.clicks_15,
			clicks_30 = r.clicks_30 + excluded.clicks_30, clicks_45 = r.clicks_45 + excluded.clicks_45`,
		links, dimensions, hours, values, clicks.whole, clicks.second, clicks.third, clicks.fourth)
	if err != nil {
		return fmt.Errorf("add values: %w", err)
	}
	return nil
}

// ClickStats implements click.Store in one statement, so that totals and values are of one moment.
func (s *Store) ClickStats(ctx context.Context, q click.StatsQuery) (_ click.Stats, err error) {
	q, err = q.Check()
	if err != nil {
		return click.Stats{}, err
	}
	ctx, end := s.database.Start(ctx, "SELECT", "click_rollups")
	defer func() { end(err) }()
	rows, err := s.pool.Query(ctx, `WITH counts AS (
			SELECT dimension, value, sum(CASE
				WHEN hour >= $3 AND hour <= $4::timestamptz - interval '1 hour' THEN clicks
				ELSE CASE WHEN hour >= $3 AND hour < $4 THEN clicks - clicks_15 - clicks_30 - clicks_45 ELSE 0 END
					+ CASE WHEN hour + interval '15 minutes' >= $3 AND hour + interval '15 minutes' < $4 THEN clicks_15 ELSE 0 END
					+ CASE WHEN hour + interval '30 minutes' >= $3 AND hour + interval '30 minutes' < $4 THEN clicks_30 ELSE 0 END
					+ CASE WHEN hour + interval '45 minutes' >= $3 AND hour + interval '45 minutes' < $4 THEN clicks_45 ELSE 0 END
				END)::bigint AS clicks
			FROM click_rollups
			WHERE link_id = $1 AND dimension = ANY($2) AND hour >= $5 AND hour < $4 GROUP BY dimension, value
		), ranked AS (
			SELECT dimension, value, clicks, row_number() OVER (PARTITION BY dimension ORDER BY clicks DESC, value) AS place
			FROM counts WHERE clicks > 0
		)
		SELECT dimension, value, NULL::timestamptz, clicks, 0, 0, 0, 0::bigint, 0, 0, 0 FROM ranked WHERE place <= $6
		UNION ALL
		SELECT dimension, value, hour, clicks, clicks_15, clicks_30, clicks_45, bots, bots_15, bots_30, bots_45 FROM click_rollups
		WHERE link_id = $1 AND dimension = $7 AND hour >= $5 AND hour < $4`,
		q.LinkID, click.Dimensions(), q.From, q.To, q.From.Truncate(time.Hour), q.Top, rollup.Total)
	if err != nil {
		return click.Stats{}, fmt.Errorf("postgres: select rollups: %w", err)
	}
	counter := rollup.NewCounter(q)
	var dimension, value string
	var hour *time.Time
	var clicks, bots [4]int64
	columns := []any{&dimension, &value, &hour, &clicks[0], &clicks[1], &clicks[2], &clicks[3], &bots[0], &bots[1], &bots[2], &bots[3]}
	_, err = pgx.ForEachRow(rows, columns, func() error {
		if hour != nil {
			counter.Hour(*hour, rollup.OfHour(clicks[0], clicks[1], clicks[2], clicks[3]), rollup.OfHour(bots[0], bots[1], bots[2], bots[3]))
		} else {
			counter.Value(dimension, value, clicks[0])
		}
		return nil
	})
	if err != nil {
		return click.Stats{}, fmt.Errorf("postgres: select rollups: %w", err)
	}
	return counter.Stats(), nil
}

// LatestClicks implements click.Store.
func (s *Store) LatestClicks(ctx context.Context, linkID int64, before uuid.UUID, limit int) (_ []click.Click, err error) {
	ctx, end := s.database.Start(ctx, "SELECT", "clicks")
	defer func() { end(err) }()
	query, args := latestQuery(linkID, before, limit)
	rows, err := s.pool.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("postgres: select clicks: %w", err)
	}
	clicks, err := pgx.CollectRows(rows, scanClick)
	if err != nil {
		return nil, fmt.Errorf("postgres: select clicks: %w", err)
	}
	return clicks, nil
}

// latestQuery is the question of LatestClicks. The clicks of a link are read from clicks_link_id, those of all links from
// the partitions' primary keys: either way a partition gives its newest rows first, and nothing is sorted.
func latestQuery(linkID int64, before uuid.UUID, limit int) (query string, args []any) {
	if before == uuid.Nil {
		before = uuid.Max
	}
	where, args := `id < $1`, []any{[16]byte(before), min(max(limit, 1), click.MaxLatest)}
	if linkID != click.AllLinks {
		where, args = `link_id = $3 AND id < $1`, append(args, linkID)
	}
	return `SELECT id, link_id, code, time, referrer, user_agent, language, coalesce(client::text, ''),
			country, bot, trace_id, span_id, sampled
		FROM clicks WHERE ` + where + ` ORDER BY id DESC LIMIT $2`, args
}

func scanClick(row pgx.CollectableRow) (click.Click, error) {
	var c click.Click
	var client string
	var traceID, spanID []byte
	err := row.Scan((*[16]byte)(&c.ID), &c.LinkID, &c.Code, &c.Time, &c.Referrer, &c.UserAgent, &c.Language, &client,
		&c.Country, &c.Bot, &traceID, &spanID, &c.Sampled)
	if err != nil {
		return c, err
	}
	c.Time = c.Time.UTC()
	copy(c.TraceID[:], traceID)
	copy(c.SpanID[:], spanID)
	if client != "" {
		c.Client, err = netip.ParsePrefix(client)
	}
	return c, err
}
