package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

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
			[16]byte(click.FirstID(from)), [16]byte(click.FirstID(end))).Scan(&id)
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
	name, from, to := partitionName(month), click.FirstID(month), click.FirstID(month.AddDate(0, 1, 0))
	return s.alone(ctx, func(tx pgx.Tx) error {
		var exists bool
		err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
			WHERE i.inhparent = 'clicks'::regclass AND c.relname = $1)`, name).Scan(&exists)
		if err != nil || exists {
			return err
		}
		// Name and bounds are made of digits here; DDL takes no parameters.
		for _, statement := range []string{
			`CREATE TABLE ` + name + ` (LIKE clicks INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES INCLUDING STORAGE)`,
			`LOCK TABLE clicks_default IN ACCESS EXCLUSIVE MODE`,
			fmt.Sprintf(`WITH moved AS (DELETE FROM clicks_default WHERE id >= '%s' AND id < '%s' RETURNING *)
				INSERT INTO %s SELECT * FROM moved`, from, to, name),
			fmt.Sprintf(`ALTER TABLE clicks ATTACH PARTITION %s FOR VALUES FROM ('%s') TO ('%s')`, name, from, to),
		} {
			if _, err := tx.Exec(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	})
}

// How long a transaction waits for a lock that keeps writers waiting in turn, and for how long it tries again.
const (
	lockTimeout  = "2s"
	lockPatience = time.Minute
	lockPause    = 500 * time.Millisecond
)

// beside begins a transaction that alone waits for, and which waits for alone, before anything else is locked: even to
// prepare a statement locks the tables that it names.
var beside = pgx.TxOptions{BeginQuery: fmt.Sprintf(`BEGIN ISOLATION LEVEL READ COMMITTED;
	SELECT pg_advisory_xact_lock_shared(%d), set_config('idle_in_transaction_session_timeout', '%s', true)`, lockPartitions, idleInTransaction)}

// alone runs f in a transaction beside which no other writes clicks or rollups: it sees what all before it wrote, and all
// after it see what it did. Writers wait meanwhile, so f must be short. Somebody who reads clicks for long, such as a
// backup, may hold a table that f needs: f is then run again after a pause in which writers go on.
func (s *Store) alone(ctx context.Context, f func(pgx.Tx) error) error {
	for deadline := time.Now().Add(lockPatience); ; {
		err := pgx.BeginTxFunc(ctx, s.pool, readCommitted, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `SELECT set_config('lock_timeout', $1, true), set_config('idle_in_transaction_session_timeout', $2, true)`,
				lockTimeout, idleInTransaction)
			if err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, lockPartitions); err != nil {
				return err
			}
			return f(tx)
		})
		const lockNotAvailable = "55P03"
		if e, ok := errors.AsType[*pgconn.PgError](err); !ok || e.Code != lockNotAvailable || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(lockPause):
		}
	}
}

func monthOf(t time.Time) time.Time {
	t = t.UTC()
	return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
}

func partitionName(month time.Time) string { return month.Format("clicks_2006_01") }
