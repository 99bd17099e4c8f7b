package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/linktrail/linktrail/internal/click"
)

const (
	// monthsAhead is how many partitions after the current one there always are.
	monthsAhead = 3
	// keptPast and keptAhead limit the months which clicks of the default partition get a partition for: a click whose
	// clock was further off stays there.
	keptPast  = 5 * 12
	keptAhead = 12
)

// EnsurePartitions implements store.Partitioner. It needs a role that owns the table clicks.
func (s *Store) EnsurePartitions(ctx context.Context, now time.Time) error {
	months, err := s.missingPartitions(ctx, now)
	if err != nil {
		return fmt.Errorf("postgres: look for missing partitions: %w", err)
	}
	for _, month := range months {
		if err := s.addPartition(ctx, month); err != nil {
			return fmt.Errorf("postgres: add partition %s: %w", partitionName(month), err)
		}
	}
	return nil
}

// missingPartitions returns the months that want a partition: mostly none, and then no writer has to wait.
func (s *Store) missingPartitions(ctx context.Context, now time.Time) ([]time.Time, error) {
	rows, err := s.pool.Query(ctx, `SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		WHERE i.inhparent = 'clicks'::regclass`)
	if err != nil {
		return nil, err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	for _, name := range names {
		seen[name] = true
	}
	var missing []time.Time
	want := func(month time.Time) {
		if name := partitionName(month); !seen[name] {
			seen[name] = true
			missing = append(missing, month)
		}
	}
	current := monthOf(now)
	for i := range monthsAhead + 1 {
		want(current.AddDate(0, i, 0))
	}
	// One look-up by the primary key a month, however many clicks there are.
	end := current.AddDate(0, keptAhead+1, 0)
	for from := current.AddDate(0, -keptPast, 0); from.Before(end); {
		var id [16]byte
		err := s.pool.QueryRow(ctx, `SELECT id FROM clicks_default WHERE id >= $1 AND id < $2 ORDER BY id LIMIT 1`,
			firstID(from), firstID(end)).Scan(&id)
		if errors.Is(err, pgx.ErrNoRows) {
			break
		}
		if err != nil {
			return nil, err
		}
		month := monthOf(click.TimeOf(id))
		want(month)
		from = month.AddDate(0, 1, 0)
	}
	return missing, nil
}

// addPartition makes the partition of a month and moves its clicks there from the default one. Writers wait meanwhile.
func (s *Store) addPartition(ctx context.Context, month time.Time) error {
	name, from, to := partitionName(month), firstID(month), firstID(month.AddDate(0, 1, 0))
	return pgx.BeginTxFunc(ctx, s.pool, readCommitted, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1), set_config('idle_in_transaction_session_timeout', $2, true)`,
			lockPartitions, idleInTransaction)
		if err != nil {
			return err
		}
		var exists bool
		err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
			WHERE i.inhparent = 'clicks'::regclass AND c.relname = $1)`, name).Scan(&exists)
		if err != nil || exists {
			return err
		}
		// Name and bounds are made of digits here; DDL takes no parameters.
		for _, statement := range []string{
			`CREATE TABLE ` + name + ` (LIKE clicks INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES INCLUDING STORAGE)`,
			`LOCK TABLE clicks_default IN ACCESS EXCLUSIVE MODE`,
			fmt.Sprintf(`WITH moved AS (DELETE FROM clicks_default WHERE id >= '%s' AND id < '%s' RETURNING *)
				INSERT INTO %s SELECT * FROM moved`, uuid.UUID(from), uuid.UUID(to), name),
			fmt.Sprintf(`ALTER TABLE clicks ATTACH PARTITION %s FOR VALUES FROM ('%s') TO ('%s')`, name, uuid.UUID(from), uuid.UUID(to)),
		} {
			if _, err := tx.Exec(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	})
}

func monthOf(t time.Time) time.Time {
	t = t.UTC()
	return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
}

func partitionName(month time.Time) string { return month.Format("clicks_2006_01") }

// firstID is lower than every UUIDv7 made at t or later, and higher than all before: the milliseconds, then zeros.
func firstID(t time.Time) [16]byte {
	var id [16]byte
	binary.BigEndian.PutUint64(id[:8], uint64(t.UnixMilli())<<16)
	return id
}
