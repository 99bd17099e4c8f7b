package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/store/record"
)

const linkColumns = `id, code, url, title, tags, redirect_status, disabled, created_at, updated_at, expires_at`

func scanLink(row pgx.Row) (link.Link, error) {
	var l link.Link
	var expires *time.Time
	err := row.Scan(&l.ID, &l.Code, &l.URL, &l.Title, &l.Tags, &l.RedirectStatus, &l.Disabled, &l.CreatedAt, &l.UpdatedAt, &expires)
	l.CreatedAt, l.UpdatedAt, l.ExpiresAt = l.CreatedAt.UTC(), l.UpdatedAt.UTC(), timeOf(expires)
	return l, err
}

// CreateLink implements link.Store.
func (s *Store) CreateLink(ctx context.Context, l link.Link) (_ link.Link, err error) {
	ctx, end := s.database.Start(ctx, "INSERT", "links")
	defer func() { end(err) }()
	l = record.NewLink(l, time.Now())
	err = s.pool.QueryRow(ctx, `INSERT INTO links
		(code, url, title, tags, redirect_status, disabled, created_at, updated_at, expires_at, search)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (code) DO NOTHING RETURNING id`,
		l.Code, l.URL, l.Title, l.Tags, l.RedirectStatus, l.Disabled, l.CreatedAt, l.UpdatedAt, optionalTime(l.ExpiresAt),
		record.SearchText(l)).Scan(&l.ID)
	if errors.Is(err, pgx.ErrNoRows) {
		return link.Link{}, link.Taken(l.Code)
	}
	if err != nil {
		return link.Link{}, fmt.Errorf("postgres: insert link: %w", err)
	}
	return l, nil
}

// LinkByCode implements link.Store.
func (s *Store) LinkByCode(ctx context.Context, code string) (_ link.Link, err error) {
	if !record.Storable(code) {
		return link.Link{}, link.NotFound(code)
	}
	ctx, end := s.database.Start(ctx, "SELECT", "links")
	defer func() { end(err) }()
	l, err := scanLink(s.pool.QueryRow(ctx, `SELECT `+linkColumns+` FROM links WHERE code = $1`, code))
	if errors.Is(err, pgx.ErrNoRows) {
		return link.Link{}, link.NotFound(code)
	}
	if err != nil {
		return link.Link{}, fmt.Errorf("postgres: select link: %w", err)
	}
	return l, nil
}

// Links implements link.Store.
func (s *Store) Links(ctx context.Context, f link.Filter) (_ []link.Link, err error) {
	if !record.Storable(f.Tag) || !record.Storable(f.Text) {
		return []link.Link{}, nil
	}
	ctx, end := s.database.Start(ctx, "SELECT", "links")
	defer func() { end(err) }()
	query, args := `SELECT `+linkColumns+` FROM links WHERE true`, []any(nil)
	where := func(condition string, arg any) {
		args = append(args, arg)
		query += fmt.Sprintf(" AND "+condition, len(args))
	}
	if f.After > 0 {
		where(`id < $%d`, f.After)
	}
	if f.Tag != "" {
		where(`tags @> ARRAY[$%d]::text[]`, f.Tag)
	}
	if f.Text != "" {
		where(`search LIKE $%d ESCAPE '\'`, "%"+likeEscaper().Replace(record.Fold(f.Text))+"%")
	}
	args = append(args, min(max(f.Limit, 1), link.MaxPage))
	query += fmt.Sprintf(` ORDER BY id DESC LIMIT $%d`, len(args))
	rows, err := s.pool.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("postgres: select links: %w", err)
	}
	links, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (link.Link, error) { return scanLink(row) })
	if err != nil {
		return nil, fmt.Errorf("postgres: select links: %w", err)
	}
	return links, nil
}

// likeEscaper makes LIKE take a text literally.
func likeEscaper() *strings.Replacer { return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`) }

// UpdateLink implements link.Store. The row is locked while it changes, so that changes of different fields add up.
func (s *Store) UpdateLink(ctx context.Context, code string, c link.Change) (_ link.Link, err error) {
	if !record.Storable(code) {
		return link.Link{}, link.NotFound(code)
	}
	ctx, end := s.database.Start(ctx, "UPDATE", "links")
	defer func() { end(err) }()
	var l link.Link
	err = pgx.BeginTxFunc(ctx, s.pool, readCommitted, func(tx pgx.Tx) error {
		l, err = scanLink(tx.QueryRow(ctx, `SELECT `+linkColumns+` FROM links WHERE code = $1 FOR UPDATE`, code))
		if err != nil {
			return err
		}
		l = record.Apply(l, c, time.Now())
		_, err := tx.Exec(ctx, `UPDATE links SET url = $2, title = $3, tags = $4, redirect_status = $5, disabled = $6,
			updated_at = $7, expires_at = $8, search = $9 WHERE id = $1`,
			l.ID, l.URL, l.Title, l.Tags, l.RedirectStatus, l.Disabled, l.UpdatedAt, optionalTime(l.ExpiresAt), record.SearchText(l))
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return link.Link{}, link.NotFound(code)
	}
	if err != nil {
		return link.Link{}, fmt.Errorf("postgres: update link: %w", err)
	}
	return l, nil
}

// DeleteLink implements link.Store. It leaves a row for PurgeDeleted.
func (s *Store) DeleteLink(ctx context.Context, code string) (err error) {
	if !record.Storable(code) {
		return link.NotFound(code)
	}
	ctx, end := s.database.Start(ctx, "DELETE", "links")
	defer func() { end(err) }()
	done, err := s.pool.Exec(ctx, `WITH gone AS (DELETE FROM links WHERE code = $1 RETURNING code, id)
		INSERT INTO deleted_links (code, link_id, deleted_at) SELECT code, id, now() FROM gone
		ON CONFLICT (code, link_id) DO UPDATE SET deleted_at = excluded.deleted_at`, code)
	if err != nil {
		return fmt.Errorf("postgres: delete link: %w", err)
	}
	if done.RowsAffected() == 0 {
		return link.NotFound(code)
	}
	return nil
}
