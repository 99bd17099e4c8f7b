package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/store/record"
)

// PurgeLink implements link.Store. Writers that have not seen the ban have ended when it is written, and those after it
// see it, so that PurgeClicks finds all that there will ever be.
func (s *Store) PurgeLink(ctx context.Context, code string) (err error) {
	if !record.Storable(code) {
		return link.NotFound(code)
	}
	ctx, end := s.database.Start(ctx, "DELETE", "links")
	defer func() { end(err) }()
	err = s.alone(ctx, func(tx pgx.Tx) error {
		var id int64
		if err := tx.QueryRow(ctx, `DELETE FROM links WHERE code = $1 RETURNING id`, code).Scan(&id); err != nil {
			return err
		}
		return ban(ctx, tx, id)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return link.NotFound(code)
	}
	if err != nil {
		return fmt.Errorf("postgres: purge link: %w", err)
	}
	return nil
}

func ban(ctx context.Context, tx pgx.Tx, links ...int64) error {
	_, err := tx.Exec(ctx, `INSERT INTO purged_links (link_id, purged_at) SELECT id, now() FROM unnest($1::bigint[]) id
		ON CONFLICT (link_id) DO UPDATE SET done_at = NULL`, links)
	return err
}

// PurgeDeleted implements store.Purger. Links that an earlier linktrail deleted have left no row: their clicks tell.
func (s *Store) PurgeDeleted(ctx context.Context, code string) (links int, err error) {
	if !record.Storable(code) {
		return 0, nil
	}
	rows, err := s.pool.Query(ctx, `SELECT link_id FROM
		(SELECT link_id FROM deleted_links WHERE code = $1 UNION SELECT link_id FROM clicks WHERE code = $1) had
		WHERE NOT EXISTS (SELECT FROM links WHERE links.id = had.link_id)`, code)
	if err != nil {
		return 0, fmt.Errorf("postgres: look for deleted links: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	err = s.alone(ctx, func(tx pgx.Tx) error {
		if err := ban(ctx, tx, ids...); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `DELETE FROM deleted_links WHERE code = $1 AND link_id = ANY($2)`, code, ids)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("postgres: purge deleted links: %w", err)
	}
	return len(ids), nil
}

// PurgeClicks implements link.Store.
func (s *Store) PurgeClicks(ctx context.Context) (removed int64, err error) {
	rows, err := s.pool.Query(ctx, `SELECT link_id FROM purged_links WHERE done_at IS NULL ORDER BY link_id`)
	if err != nil {
		return 0, fmt.Errorf("postgres: look for purged links: %w", err)
	}
	pending, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return 0, fmt.Errorf("postgres: look for purged links: %w", err)
	}
	for _, id := range pending {
		n, err := s.purgeClicks(ctx, id)
		removed += n
		if err != nil {
			return removed, fmt.Errorf("postgres: purge the clicks of link %d: %w", id, err)
		}
	}
	return removed, nil
}

func (s *Store) purgeClicks(ctx context.Context, id int64) (removed int64, err error) {
	for {
		done, err := s.pool.Exec(ctx, `DELETE FROM click_rollups WHERE link_id = $1 AND (dimension, hour, value) IN (
			SELECT dimension, hour, value FROM click_rollups WHERE link_id = $1 LIMIT $2)`, id, deleteBatch)
		if err != nil {
			return 0, err
		}
		if done.RowsAffected() < deleteBatch {
			break
		}
	}
	removed, err = s.deleteSteps(ctx, `SELECT id FROM clicks WHERE link_id = $3 AND id <= $1 ORDER BY id OFFSET $2 LIMIT 1`,
		`DELETE FROM clicks WHERE link_id = $2 AND id <= $1`, uuid.Max, id)
	if err != nil {
		return removed, err
	}
	_, err = s.pool.Exec(ctx, `UPDATE purged_links SET done_at = $2 WHERE link_id = $1`, id, time.Now())
	return removed, err
}

// RecheckPurged implements store.Purger.
func (s *Store) RecheckPurged(ctx context.Context) error {
	_, err := s.pool.Exec(ctx, `UPDATE purged_links p SET done_at = NULL WHERE done_at IS NOT NULL AND (
		EXISTS (SELECT FROM clicks c WHERE c.link_id = p.link_id) OR EXISTS (SELECT FROM click_rollups r WHERE r.link_id = p.link_id))`)
	if err != nil {
		return fmt.Errorf("postgres: look at purged links again: %w", err)
	}
	return nil
}
