package postgres

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/store/record"
	"github.com/linktrail/linktrail/internal/store/rollup"
)

// deleteBatch is how many rows one transaction deletes where a partition cannot be dropped.
const deleteBatch = 10_000

// partitionNames are those that partitionName makes; no other partition is ever dropped.
var partitionNames = regexp.MustCompile(`^clicks_\d{4}_\d{2}$`)

// KeptFrom returns the time before which clicks were removed, the zero time when none were.
func (s *Store) KeptFrom(ctx context.Context) (time.Time, error) { return keptFrom(ctx, s.pool) }

// A querier is a pool or a transaction.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func keptFrom(ctx context.Context, q querier) (time.Time, error) {
	var at time.Time
	err := q.QueryRow(ctx, `SELECT kept_from FROM click_retention`).Scan(&at)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return at, fmt.Errorf("postgres: read the retention: %w", err)
	}
	return at.UTC(), nil
}

// Retain implements store.Retainer. The time is written down before the first partition goes, so that nobody takes the
// clicks that are gone for lost; whatever a failure leaves is removed when it is called again.
func (s *Store) Retain(ctx context.Context, r record.Retention, progress func(record.Removed)) error {
	r.Before = monthOf(r.Before)
	partitions, err := s.partitionsBefore(ctx, r.Before)
	if err != nil {
		return fmt.Errorf("postgres: list the partitions: %w", err)
	}
	if !r.DryRun {
		if err := s.keepFrom(ctx, r.Before); err != nil {
			return fmt.Errorf("postgres: write down the retention: %w", err)
		}
	}
	for _, p := range partitions {
		if !r.DryRun {
			err := s.alone(ctx, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, `DROP TABLE IF EXISTS `+p.What)
				return err
			})
			if err != nil {
				return fmt.Errorf("postgres: drop %s: %w", p.What, err)
			}
		}
		progress(p)
	}
	for _, part := range []struct {
		what   string
		wanted bool
		remove func(context.Context, record.Retention) (int64, error)
	}{{"clicks_default", true, s.emptyDefault}, {"click_rollups", r.Rollups, s.removeRollups}} {
		if !part.wanted {
			continue
		}
		n, err := part.remove(ctx, r)
		if n > 0 {
			progress(record.Removed{What: part.what, Rows: n})
		}
		if err != nil {
			return fmt.Errorf("postgres: remove from %s: %w", part.what, err)
		}
	}
	return nil
}

// partitionsBefore returns the partitions whose month is over at before, oldest first.
func (s *Store) partitionsBefore(ctx context.Context, before time.Time) ([]record.Removed, error) {
	rows, err := s.pool.Query(ctx, `SELECT c.relname::text, c.reltuples::bigint, pg_total_relation_size(c.oid)
		FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'clicks'::regclass ORDER BY 1`)
	if err != nil {
		return nil, err
	}
	var old []record.Removed
	var p record.Removed
	_, err = pgx.ForEachRow(rows, []any{&p.What, &p.Rows, &p.Bytes}, func() error {
		if partitionNames.MatchString(p.What) && p.What < partitionName(before) {
			old = append(old, p)
		}
		return nil
	})
	return old, err
}

// keepFrom has writers refuse clicks from before a time; it never goes back.
func (s *Store) keepFrom(ctx context.Context, before time.Time) error {
	return s.alone(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO click_retention AS r (kept_from, first_id, changed_at) VALUES ($1, $2, now())
			ON CONFLICT (only_row) DO UPDATE SET kept_from = excluded.kept_from, first_id = excluded.first_id, changed_at = now()
			WHERE r.kept_from < excluded.kept_from`, before, [16]byte(click.FirstID(before)))
		return err
	})
}

// emptyDefault removes what lies in the default partition from before.
func (s *Store) emptyDefault(ctx context.Context, r record.Retention) (removed int64, err error) {
	end := click.FirstID(r.Before)
	if r.DryRun {
		err := s.pool.QueryRow(ctx, `SELECT count(*) FROM clicks_default WHERE id < $1`, [16]byte(end)).Scan(&removed)
		return removed, err
	}
	return s.deleteSteps(ctx, `SELECT id FROM clicks_default WHERE id < $1 ORDER BY id OFFSET $2 LIMIT 1`,
		`DELETE FROM clicks_default WHERE id < $1`, end)
}

// deleteSteps runs a DELETE of all clicks below an id, in transactions of deleteBatch rows. step finds the id up to which
// the next of them reaches; both take the id and further arguments that follow it.
func (s *Store) deleteSteps(ctx context.Context, step, remove string, end uuid.UUID, args ...any) (removed int64, err error) {
	for last := false; !last; {
		var next [16]byte
		err := s.pool.QueryRow(ctx, step, append([]any{[16]byte(end), deleteBatch}, args...)...).Scan(&next)
		if last = errors.Is(err, pgx.ErrNoRows); last {
			next, err = end, nil
		}
		if err != nil {
			return removed, err
		}
		done, err := s.pool.Exec(ctx, remove, append([]any{next}, args...)...)
		if err != nil {
			return removed, err
		}
		removed += done.RowsAffected()
	}
	return removed, nil
}

// removeRollups goes from link to link, since the key of rollups begins with it.
func (s *Store) removeRollups(ctx context.Context, r record.Retention) (removed int64, err error) {
	for link := int64(-1); ; {
		err := s.pool.QueryRow(ctx, `SELECT link_id FROM click_rollups WHERE link_id > $1 ORDER BY link_id LIMIT 1`, link).Scan(&link)
		if errors.Is(err, pgx.ErrNoRows) {
			return removed, nil
		}
		if err != nil {
			return removed, err
		}
		where := ` FROM click_rollups WHERE link_id = $1 AND dimension = ANY($2) AND hour < $3`
		if r.DryRun {
			var n int64
			if err := s.pool.QueryRow(ctx, `SELECT count(*)`+where, link, rollup.Dimensions(), r.Before).Scan(&n); err != nil {
				return removed, err
			}
			removed += n
			continue
		}
		done, err := s.pool.Exec(ctx, `DELETE`+where, link, rollup.Dimensions(), r.Before)
		if err != nil {
			return removed, err
		}
		removed += done.RowsAffected()
	}
}
