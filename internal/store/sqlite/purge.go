package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/linktrail/linktrail/internal/link"
)

// PurgeLink implements link.Store. The file's one write lock keeps it apart from batches: each was written before the ban,
// or sees it.
func (s *Store) PurgeLink(ctx context.Context, code string) (err error) {
	ctx, end := s.database.Start(ctx, "DELETE", "links")
	defer func() { end(err) }()
	err = s.write(ctx, func(tx *sql.Tx) error {
		var id int64
		if err := tx.QueryRowContext(ctx, `DELETE FROM links WHERE code = ? RETURNING id`, code).Scan(&id); err != nil {
			return err
		}
		return ban(ctx, tx, id)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return link.NotFound(code)
	}
	if err != nil {
		return fmt.Errorf("sqlite: purge link: %w", err)
	}
	return nil
}

func ban(ctx context.Context, tx *sql.Tx, links ...int64) error {
	for _, id := range links {
		_, err := tx.ExecContext(ctx, `INSERT INTO purged_links (link_id, purged_at) VALUES (?, ?)
			ON CONFLICT (link_id) DO UPDATE SET done_at = NULL`, id, time.Now().UnixMicro())
		if err != nil {
			return err
		}
	}
	return nil
}

// PurgeDeleted implements store.Purger. Links that an earlier linktrail deleted have left no row: their clicks tell.
func (s *Store) PurgeDeleted(ctx context.Context, code string) (links int, err error) {
	ids, err := selectAll(ctx, s.readers, scanOne[int64], `SELECT link_id FROM
		(SELECT link_id FROM deleted_links WHERE code = ?1 UNION SELECT link_id FROM clicks WHERE code = ?1) had
		WHERE NOT EXISTS (SELECT 1 FROM links WHERE links.id = had.link_id)`, code)
	if err != nil {
		return 0, fmt.Errorf("sqlite: look for deleted links: %w", err)
	}
	if len(ids) == 0 {
		return 0, nil
	}
	err = s.write(ctx, func(tx *sql.Tx) error {
		if err := ban(ctx, tx, ids...); err != nil {
			return err
		}
		for _, id := range ids {
			if _, err := tx.ExecContext(ctx, `DELETE FROM deleted_links WHERE code = ? AND link_id = ?`, code, id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("sqlite: purge deleted links: %w", err)
	}
	return len(ids), nil
}

func scanOne[T any](row scanner) (one T, err error) {
	err = row.Scan(&one)
	return one, err
}

// PurgeClicks implements link.Store.
func (s *Store) PurgeClicks(ctx context.Context) (removed int64, err error) {
	pending, err := selectAll(ctx, s.readers, scanOne[int64], `SELECT link_id FROM purged_links WHERE done_at IS NULL ORDER BY link_id`)
	if err != nil {
		return 0, fmt.Errorf("sqlite: look for purged links: %w", err)
	}
	for _, id := range pending {
		n, err := s.purgeClicks(ctx, id)
		removed += n
		if err != nil {
			return removed, fmt.Errorf("sqlite: purge the clicks of link %d: %w", id, err)
		}
	}
	return removed, nil
}

func (s *Store) purgeClicks(ctx context.Context, id int64) (removed int64, err error) {
	for {
		n, err := s.exec(ctx, `DELETE FROM click_rollups WHERE link_id = ?1 AND (dimension, hour, value) IN (
			SELECT dimension, hour, value FROM click_rollups WHERE link_id = ?1 LIMIT ?2)`, id, deleteBatch)
		if err != nil {
			return 0, err
		}
		if n < deleteBatch {
			break
		}
	}
	removed, err = s.deleteSteps(ctx, `SELECT id FROM clicks WHERE link_id = ?3 AND id <= ?1 ORDER BY id LIMIT 1 OFFSET ?2`,
		`DELETE FROM clicks WHERE link_id = ?2 AND id <= ?1`, uuid.Max, id)
	if err != nil {
		return removed, err
	}
	_, err = s.exec(ctx, `UPDATE purged_links SET done_at = ?2 WHERE link_id = ?1`, id, time.Now().UnixMicro())
	return removed, err
}

// RecheckPurged implements store.Purger.
func (s *Store) RecheckPurged(ctx context.Context) error {
	_, err := s.exec(ctx, `UPDATE purged_links AS p SET done_at = NULL WHERE done_at IS NOT NULL AND (
		EXISTS (SELECT 1 FROM clicks c WHERE c.link_id = p.link_id) OR EXISTS (SELECT 1 FROM click_rollups r WHERE r.link_id = p.link_id))`)
	if err != nil {
		return fmt.Errorf("sqlite: look at purged links again: %w", err)
	}
	return nil
}
