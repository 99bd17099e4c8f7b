//go:build linux

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
)

const (
	// steady is how long the store must not have grown until it is compared.
	steady = 3 * time.Second
	// lossSteady is how long that is when redirects are missing which nobody is known to hold any more.
	lossSteady = 15 * time.Second
	// quietWithin is how long the clicks may take to arrive when the fault is over.
	quietWithin = 3 * time.Minute
)

// found is what the store and the topics hold.
type found struct {
	traces      map[traceID]int // how often each is stored
	rows        int
	counted     int // by the rollups
	deadLetters int64
}

// settle waits until all that was answered is stored, or nothing more can come, or the time is up.
func (s *system) settle(ctx context.Context, answered int) error {
	ctx, cancel := context.WithTimeout(ctx, quietWithin)
	defer cancel()
	last, since := -1, time.Now()
	for tick := time.NewTicker(500 * time.Millisecond); ; {
		rows, err := s.rows(ctx)
		if err == nil && rows != last {
			last, since = rows, time.Now()
		}
		quiet := time.Since(since)
		if err == nil && (rows >= answered && quiet > steady || quiet > lossSteady) && s.underWay(ctx) == 0 {
			tick.Stop()
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil // what is missing then is lost: nobody waits for longer
		}
	}
}

// underWay is how many clicks are in a journal or in the topic, and -1 when nobody knows.
func (s *system) underWay(ctx context.Context) int64 {
	m, err := s.urlAPI.metrics(ctx)
	if err != nil {
		return -1
	}
	lags, err := s.admin.Lag(ctx, s.topic)
	lag := lags[s.topic]
	if err != nil || lag.Error() != nil {
		return -1
	}
	return int64(m.Sum("linktrail_clicks_journal_records")) + int64(m.Sum("linktrail_clicks_queue_depth")) + lag.Lag.Total()
}

func (s *system) rows(ctx context.Context) (n int, err error) {
	err = s.query(ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "SELECT count(*) FROM clicks").Scan(&n)
	})
	return n, err
}

// query lends a connection of its own: PostgreSQL may have been away.
func (s *system) query(ctx context.Context, do func(*pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.dsn)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	return do(conn)
}

// look reads all that is stored.
func (s *system) look(ctx context.Context) (found, error) {
	f := found{traces: make(map[traceID]int)}
	err := s.query(ctx, func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, "SELECT trace_id FROM clicks")
		if err != nil {
			return err
		}
		var id []byte
		if _, err := pgx.ForEachRow(rows, []any{&id}, func() error {
			f.rows++
			if len(id) != len(traceID{}) {
				return fmt.Errorf("a click with the trace %x", id)
			}
			f.traces[traceID(id)]++
			return nil
		}); err != nil {
			return err
		}
		return conn.QueryRow(ctx, "SELECT coalesce(sum(clicks + bots), 0)::bigint FROM click_rollups WHERE dimension = 'total'").Scan(&f.counted)
	})
	if err != nil {
		return f, err
	}
	for _, topic := range []string{s.topic + ".dlq"} {
		begins, err := s.admin.ListStartOffsets(ctx, topic)
		if err != nil {
			return f, err
		}
		ends, err := s.admin.ListEndOffsets(ctx, topic)
		if err != nil {
			return f, err
		}
		ends.Each(func(o kadm.ListedOffset) {
			begin, _ := begins.Lookup(topic, o.Partition)
			f.deadLetters += o.Offset - begin.Offset
		})
	}
	return f, nil
}

// verdict is the ledger compared with the store.
type verdict struct {
	lost, doubled, unanswered int
	lostAt                    []time.Duration // when those were answered
}

// compare holds the ledger against what is stored. A click that is stored and was never answered, because its connection was
// cut, is neither lost nor doubled.
func compare(ledger map[traceID]time.Duration, f found) verdict {
	var v verdict
	for trace, at := range ledger {
		if f.traces[trace] == 0 {
			v.lost++
			v.lostAt = append(v.lostAt, at)
		}
	}
	for trace, times := range f.traces {
		if times > 1 {
			v.doubled += times - 1
		}
		if _, ok := ledger[trace]; !ok {
			v.unanswered++
		}
	}
	v.doubled += max(0, f.counted-f.rows)
	v.lost += max(0, f.rows-f.counted) // a row that no statistic counts
	return v
}

// span says when the first and the last of some redirects were answered.
func span(list []time.Duration) string {
	if len(list) == 0 {
		return ""
	}
	first, last := list[0], list[0]
	for _, at := range list {
		first, last = min(first, at), max(last, at)
	}
	return strings.Join([]string{first.Round(time.Millisecond).String(), last.Round(time.Millisecond).String()}, " to ")
}
