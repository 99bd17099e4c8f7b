package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/store/record"
)

const linkColumns = `id, code, url, title, tags, redirect_status, disabled, created_at, updated_at, expires_at`

// A scanner is a *sql.Row or *sql.Rows.
type scanner interface{ Scan(dest ...any) error }

func scanLink(row scanner) (link.Link, error) {
	var l link.Link
	var tags string
	var created, updated int64
	var expires *int64
	err := row.Scan(&l.ID, &l.Code, &l.URL, &l.Title, &tags, &l.RedirectStatus, &l.Disabled, &created, &updated, &expires)
	if err != nil {
		return link.Link{}, err
	}
	l.CreatedAt, l.UpdatedAt, l.ExpiresAt = timeOf(&created), timeOf(&updated), timeOf(expires)
	if err := json.Unmarshal([]byte(tags), &l.Tags); err != nil {
		return link.Link{}, fmt.Errorf("tags of link %d: %w", l.ID, err)
	}
	return l, nil
}

func tagsJSON(tags []string) (string, error) {
	text, err := json.Marshal(tags)
	return string(text), err
}

// CreateLink implements link.Store.
func (s *Store) CreateLink(ctx context.Context, l link.Link) (_ link.Link, err error) {
	ctx, end := s.database.Start(ctx, "INSERT", "links")
	defer func() { end(err) }()
	l = record.NewLink(l, time.Now())
	tags, err := tagsJSON(l.Tags)
	if err != nil {
		return link.Link{}, fmt.Errorf("sqlite: insert link: %w", err)
	}
	err = s.write(ctx, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `INSERT INTO links
			(code, url, title, tags, redirect_status, disabled, created_at, updated_at, expires_at, search)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (code) DO NOTHING RETURNING id`,
			l.Code, l.URL, l.Title, tags, l.RedirectStatus, l.Disabled, micros(l.CreatedAt), micros(l.UpdatedAt),
			micros(l.ExpiresAt), record.SearchText(l)).Scan(&l.ID)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return link.Link{}, link.Taken(l.Code)
	}
	if err != nil {
		return link.Link{}, fmt.Errorf("sqlite: insert link: %w", err)
	}
	return l, nil
}

// LinkByCode implements link.Store.
func (s *Store) LinkByCode(ctx context.Context, code string) (_ link.Link, err error) {
	ctx, end := s.database.Start(ctx, "SELECT", "links")
	defer func() { end(err) }()
	l, err := read(ctx, func() (link.Link, error) {
		return scanLink(s.readers.QueryRowContext(ctx, `SELECT `+linkColumns+` FROM links WHERE code = ?`, code))
	})
	if errors.Is(err, sql.ErrNoRows) {
		return link.Link{}, link.NotFound(code)
	}
	if err != nil {
		return link.Link{}, fmt.Errorf("sqlite: select link: %w", err)
	}
	return l, nil
}

// Links implements link.Store.
func (s *Store) Links(ctx context.Context, f link.Filter) (_ []link.Link, err error) {
	ctx, end := s.database.Start(ctx, "SELECT", "links")
	defer func() { end(err) }()
	query, args := `SELECT `+linkColumns+` FROM links WHERE true`, []any(nil)
	if f.After > 0 {
		query, args = query+` AND id < ?`, append(args, f.After)
	}
	if f.Tag != "" {
		query, args = query+` AND id IN (SELECT link_id FROM link_tags WHERE tag = ?)`, append(args, f.Tag)
	}
	if f.Text != "" {
		query, args = query+` AND instr(search, ?) > 0`, append(args, record.Fold(f.Text))
	}
	query, args = query+` ORDER BY id DESC LIMIT ?`, append(args, min(max(f.Limit, 1), link.MaxPage))
	links, err := selectAll(ctx, s.readers, scanLink, query, args...)
	if err != nil {
		return nil, fmt.Errorf("sqlite: select links: %w", err)
	}
	return links, nil
}

// selectAll reads all rows of a query.
func selectAll[T any](ctx context.Context, db *sql.DB, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	return read(ctx, func() ([]T, error) {
		rows, err := db.QueryContext(ctx, query, args...)
		if err != nil {
			return nil, err
		}
		defer func() { _ = rows.Close() }() // its error is rows.Err's
		all := []T{}
		for rows.Next() {
			one, err := scan(rows)
			if err != nil {
				return nil, err
			}
			all = append(all, one)
		}
		return all, rows.Err()
	})
}

// UpdateLink implements link.Store. The file's write lock is held, so that changes of different fields add up.
func (s *Store) UpdateLink(ctx context.Context, code string, c link.Change) (_ link.Link, err error) {
	ctx, end := s.database.Start(ctx, "UPDATE", "links")
	defer func() { end(err) }()
	var l link.Link
	err = s.write(ctx, func(tx *sql.Tx) error {
		l, err = scanLink(tx.QueryRowContext(ctx, `SELECT `+linkColumns+` FROM links WHERE code = ?`, code))
		if err != nil {
			return err
		}
		l = record.Apply(l, c, time.Now())
		tags, err := tagsJSON(l.Tags)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE links SET url = ?, title = ?, tags = ?, redirect_status = ?, disabled = ?,
			updated_at = ?, expires_at = ?, search = ? WHERE id = ?`,
			l.URL, l.Title, tags, l.RedirectStatus, l.Disabled, micros(l.UpdatedAt), micros(l.ExpiresAt), record.SearchText(l), l.ID)
		return err
	})
	if errors.Is(err, sql.ErrNoRows) {
		return link.Link{}, link.NotFound(code)
	}
	if err != nil {
		return link.Link{}, fmt.Errorf("sqlite: update link: %w", err)
	}
	return l, nil
}

// DeleteLink implements link.Store. It leaves a row for PurgeDeleted.
func (s *Store) DeleteLink(ctx context.Context, code string) (err error) {
	ctx, end := s.database.Start(ctx, "DELETE", "links")
	defer func() { end(err) }()
	err = s.write(ctx, func(tx *sql.Tx) error {
		var id int64
		if err := tx.QueryRowContext(ctx, `DELETE FROM links WHERE code = ? RETURNING id`, code).Scan(&id); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO deleted_links (code, link_id, deleted_at) VALUES (?, ?, ?)
			ON CONFLICT (code, link_id) DO UPDATE SET deleted_at = excluded.deleted_at`, code, id, time.Now().UnixMicro())
		return err
	})
	if errors.Is(err, sql.ErrNoRows) {
		return link.NotFound(code)
	}
	if err != nil {
		return fmt.Errorf("sqlite: delete link: %w", err)
	}
	return nil
}
