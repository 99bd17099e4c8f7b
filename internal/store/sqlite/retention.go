package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/store/record"
	"github.com/linktrail/linktrail/internal/store/rollup"
)

// deleteBatch is how many rows one transaction deletes: writers wait for it.
const deleteBatch = 2_000

// KeptFrom returns the time before which clicks were removed, the zero time when none were.
func (s *Store) KeptFrom(ctx context.Context) (time.Time, error) {
	return read(ctx, func() (time.Time, error) { return keptFrom(ctx, s.readers) })
}

// A querier is a pool or a transaction.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func keptFrom(ctx context.Context, q querier) (time.Time, error) {
	var at *int64
	err := q.QueryRowContext(ctx, `SELECT kept_from FROM click_retention`).Scan(&at)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, fmt.Errorf("sqlite: read the retention: %w", err)
	}
	return timeOf(at), nil
}

// Retain implements store.Retainer: in small transactions, so that writers take their turns. The file keeps its size; the
// room is used again.
func (s *Store) Retain(ctx context.Context, r record.Retention, progress func(record.Removed)) error {
	r.Before = record.RetentionMonths(r.Before, 0)
	if !r.DryRun {
		_, err := s.exec(ctx, `INSERT INTO click_retention (only_row, kept_from, first_id, changed_at) VALUES (1, ?, ?, ?)
			ON CONFLICT (only_row) DO UPDATE SET kept_from = excluded.kept_from, first_id = excluded.first_id, changed_at = excluded.changed_at
			WHERE kept_from < excluded.kept_from`, r.Before.UnixMicro(), idBytes(click.FirstID(r.Before)), time.Now().UnixMicro())
		if err != nil {
			return fmt.Errorf("sqlite: write down the retention: %w", err)
		}
	}
	for _, part := range []struct {
		what   string
		wanted bool
		remove func(context.Context, record.Retention) (int64, error)
	}{{"clicks", true, s.removeClicks}, {"click_rollups", r.Rollups, s.removeRollups}} {
		if !part.wanted {
			continue
		}
		n, err := part.remove(ctx, r)
		if n > 0 {
			progress(record.Removed{What: part.what, Rows: n})
		}
		if err != nil {
			return fmt.Errorf("sqlite: remove from %s: %w", part.what, err)
		}
	}
	return nil
}

func idBytes(id uuid.UUID) []byte { return id[:] }

// exec runs one statement in a transaction of its own and returns how many rows it changed.
func (s *Store) exec(ctx context.Context, query string, args ...any) (changed int64, err error) {
	err = s.write(ctx, func(tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, query, args...)
		if err != nil {
			return err
		}
		changed, err = result.RowsAffected()
		return err
	})
	return changed, err
}

func (s *Store) removeClicks(ctx context.Context, r record.Retention) (removed int64, err error) {
	end := click.FirstID(r.Before)
	if r.DryRun {
		err := s.readers.QueryRowContext(ctx, `SELECT count(*) FROM clicks WHERE id < ?`, idBytes(end)).Scan(&removed)
		return removed, err
	}
	return s.deleteSteps(ctx, `SELECT id FROM clicks WHERE id < ? ORDER BY id LIMIT 1 OFFSET ?`, `DELETE FROM clicks WHERE id < ?`, end)
}

// deleteSteps runs a DELETE of all clicks below an id, in transactions of deleteBatch rows. step finds the id up to which
// the next of them reaches; both take the id and further arguments that follow it.
func (s *Store) deleteSteps(ctx context.Context, step, remove string, end uuid.UUID, args ...any) (removed int64, err error) {
	for last := false; !last; {
		next, err := read(ctx, func() (next []byte, err error) {
			err = s.readers.QueryRowContext(ctx, step, append([]any{idBytes(end), deleteBatch}, args...)...).Scan(&next)
			return next, err
		})
		if last = errors.Is(err, sql.ErrNoRows); last {
			next, err = idBytes(end), nil
		}
		if err != nil {
			return removed, err
		}
		n, err := s.exec(ctx, remove, append([]any{next}, args...)...)
		if err != nil {
			return removed, err
		}
		removed += n
	}
	return removed, nil
}

// removeRollups goes from link to link, since the key of rollups begins with it.
func (s *Store) removeRollups(ctx context.Context, r record.Retention) (removed int64, err error) {
	for link := int64(-1); ; {
		links, err := selectAll(ctx, s.readers, scanOne[int64], `SELECT link_id FROM click_rollups WHERE link_id > ? ORDER BY link_id LIMIT 1`, link)
		if err != nil || len(links) == 0 {
			return removed, err
		}
		link = links[0]
		for _, dimension := range rollup.Dimensions() {
			where := ` FROM click_rollups WHERE link_id = ? AND dimension = ? AND hour < ?`
			args := []any{link, dimension, r.Before.UnixMicro()}
			var n int64
			if r.DryRun {
				err = s.readers.QueryRowContext(ctx, `SELECT count(*)`+where, args...).Scan(&n)
			} else {
				n, err = s.exec(ctx, `DELETE`+where, args...)
			}
			if err != nil {
				return removed, err
			}
			removed += n
		}
	}
}
