package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/linktrail/linktrail/internal/apikey"
	"github.com/linktrail/linktrail/internal/store/record"
)

const keyColumns = `id, name, hash, scopes, created_at, revoked_at`

func scanKey(row scanner) (apikey.Key, error) {
	var k apikey.Key
	var scopes string
	var created int64
	var revoked *int64
	if err := row.Scan(&k.ID, &k.Name, &k.Hash, &scopes, &created, &revoked); err != nil {
		return apikey.Key{}, err
	}
	k.CreatedAt, k.RevokedAt = timeOf(&created), timeOf(revoked)
	if err := json.Unmarshal([]byte(scopes), &k.Scopes); err != nil {
		return apikey.Key{}, fmt.Errorf("scopes of API key %s: %w", k.ID, err)
	}
	return k, nil
}

// CreateKey implements apikey.Store.
func (s *Store) CreateKey(ctx context.Context, k apikey.Key) (err error) {
	ctx, end := s.database.Start(ctx, "INSERT", "api_keys")
	defer func() { end(err) }()
	scopes, err := json.Marshal(k.Scopes)
	if err != nil {
		return fmt.Errorf("sqlite: insert api key: %w", err)
	}
	var held apikey.Key
	err = s.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO api_keys (`+keyColumns+`) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
			k.ID, record.Text(k.Name), k.Hash, string(scopes), record.Time(k.CreatedAt).UnixMicro(), micros(k.RevokedAt))
		if err != nil {
			return err
		}
		held, err = scanKey(tx.QueryRowContext(ctx, `SELECT `+keyColumns+` FROM api_keys WHERE id = ?`, k.ID))
		return err
	})
	if err != nil {
		return fmt.Errorf("sqlite: insert api key: %w", err)
	}
	return record.SameKey(held, k)
}

// KeyByID implements apikey.Store.
func (s *Store) KeyByID(ctx context.Context, id string) (_ apikey.Key, err error) {
	ctx, end := s.database.Start(ctx, "SELECT", "api_keys")
	defer func() { end(err) }()
	k, err := read(ctx, func() (apikey.Key, error) {
		return scanKey(s.readers.QueryRowContext(ctx, `SELECT `+keyColumns+` FROM api_keys WHERE id = ?`, id))
	})
	if errors.Is(err, sql.ErrNoRows) {
		return apikey.Key{}, record.NoKey(id)
	}
	if err != nil {
		return apikey.Key{}, fmt.Errorf("sqlite: select api key: %w", err)
	}
	return k, nil
}

// Keys implements apikey.Store.
func (s *Store) Keys(ctx context.Context) (_ []apikey.Key, err error) {
	ctx, end := s.database.Start(ctx, "SELECT", "api_keys")
	defer func() { end(err) }()
	keys, err := selectAll(ctx, s.readers, scanKey, `SELECT `+keyColumns+` FROM api_keys ORDER BY created_at, id`)
	if err != nil {
		return nil, fmt.Errorf("sqlite: select api keys: %w", err)
	}
	return keys, nil
}

// RevokeKey implements apikey.Store.
func (s *Store) RevokeKey(ctx context.Context, id string, at time.Time) (err error) {
	ctx, end := s.database.Start(ctx, "UPDATE", "api_keys")
	defer func() { end(err) }()
	var found int64
	err = s.write(ctx, func(tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, `UPDATE api_keys SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?`,
			record.Time(at).UnixMicro(), id)
		if err != nil {
			return err
		}
		found, err = result.RowsAffected()
		return err
	})
	if err != nil {
		return fmt.Errorf("sqlite: revoke api key: %w", err)
	}
	if found == 0 {
		return record.NoKey(id)
	}
	return nil
}
