package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/linktrail/linktrail/internal/apikey"
	"github.com/linktrail/linktrail/internal/store/record"
)

const keyColumns = `id, name, hash, scopes, created_at, revoked_at`

func scanKey(row pgx.Row) (apikey.Key, error) {
	var k apikey.Key
	var scopes []string
	var revoked *time.Time
	err := row.Scan(&k.ID, &k.Name, &k.Hash, &scopes, &k.CreatedAt, &revoked)
	for _, scope := range scopes {
		k.Scopes = append(k.Scopes, apikey.Scope(scope))
	}
	k.CreatedAt, k.RevokedAt = k.CreatedAt.UTC(), timeOf(revoked)
	return k, err
}

// CreateKey implements apikey.Store.
func (s *Store) CreateKey(ctx context.Context, k apikey.Key) (err error) {
	ctx, end := s.database.Start(ctx, "INSERT", "api_keys")
	defer func() { end(err) }()
	scopes := make([]string, len(k.Scopes))
	for i, scope := range k.Scopes {
		scopes[i] = string(scope)
	}
	done, err := s.pool.Exec(ctx, `INSERT INTO api_keys (`+keyColumns+`) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING`,
		k.ID, record.Text(k.Name), k.Hash, scopes, record.Time(k.CreatedAt), optionalTime(record.Time(k.RevokedAt)))
	if err != nil {
		return fmt.Errorf("postgres: insert api key: %w", err)
	}
	if done.RowsAffected() == 1 {
		return nil
	}
	held, err := s.keyByID(ctx, k.ID)
	if err != nil {
		return err
	}
	return record.SameKey(held, k)
}

// KeyByID implements apikey.Store.
func (s *Store) KeyByID(ctx context.Context, id string) (_ apikey.Key, err error) {
	if !record.Storable(id) {
		return apikey.Key{}, record.NoKey(id)
	}
	ctx, end := s.database.Start(ctx, "SELECT", "api_keys")
	defer func() { end(err) }()
	return s.keyByID(ctx, id)
}

func (s *Store) keyByID(ctx context.Context, id string) (apikey.Key, error) {
	k, err := scanKey(s.pool.QueryRow(ctx, `SELECT `+keyColumns+` FROM api_keys WHERE id = $1`, id))
	if errors.Is(err, pgx.ErrNoRows) {
		return apikey.Key{}, record.NoKey(id)
	}
	if err != nil {
		return apikey.Key{}, fmt.Errorf("postgres: select api key: %w", err)
	}
	return k, nil
}

// Keys implements apikey.Store.
func (s *Store) Keys(ctx context.Context) (_ []apikey.Key, err error) {
	ctx, end := s.database.Start(ctx, "SELECT", "api_keys")
	defer func() { end(err) }()
	rows, err := s.pool.Query(ctx, `SELECT `+keyColumns+` FROM api_keys ORDER BY created_at, id`)
	if err != nil {
		return nil, fmt.Errorf("postgres: select api keys: %w", err)
	}
	keys, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (apikey.Key, error) { return scanKey(row) })
	if err != nil {
		return nil, fmt.Errorf("postgres: select api keys: %w", err)
	}
	return keys, nil
}

// RevokeKey implements apikey.Store.
func (s *Store) RevokeKey(ctx context.Context, id string, at time.Time) (err error) {
	if !record.Storable(id) {
		return record.NoKey(id)
	}
	ctx, end := s.database.Start(ctx, "UPDATE", "api_keys")
	defer func() { end(err) }()
	done, err := s.pool.Exec(ctx, `UPDATE api_keys SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1`, id, record.Time(at))
	if err != nil {
		return fmt.Errorf("postgres: revoke api key: %w", err)
	}
	if done.RowsAffected() == 0 {
		return record.NoKey(id)
	}
	return nil
}
