// Package postgres keeps links, clicks and API keys in PostgreSQL, 14 or newer.
//
// Clicks are partitioned by month, by the time in their UUIDv7. Writers of clicks hold a shared advisory lock, which
// EnsurePartitions takes exclusively while it adds a partition, so that none of them meets a partition half made.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/linktrail/linktrail/internal/store/dbtrace"
)

// Advisory lock keys; they are linktrail's alone within its database.
const (
	lockMigrate    int64 = 0x6c696e6b_01 // "link", 1
	lockPartitions int64 = 0x6c696e6b_02
)

// idleInTransaction is how long the server waits for the next statement of a transaction that holds locks others wait for.
// It would otherwise keep them for two hours when the writer's machine is gone without a word.
const idleInTransaction = "30s"

// Store is a PostgreSQL database. It is safe for concurrent use.
type Store struct {
	pool     *pgxpool.Pool
	database dbtrace.Database
	migrated atomic.Bool // the schema has been seen to be new enough
}

// Open makes the pool. It fails when the DSN is wrong, when the server refuses user or database, and when the schema is
// not migrated; a server that cannot be reached within the timeout is left to Ping and to the calls.
func Open(ctx context.Context, dsn string, maxConns int, connectTimeout time.Duration) (*Store, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("Store.DSN: %w", err)
	}
	prepare(config.ConnConfig, connectTimeout)
	config.MaxConns = int32(maxConns)
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	s := &Store{pool: pool, database: describe(config.ConnConfig)}
	probe, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := s.Ping(probe); err != nil && !away(err) {
		pool.Close()
		return nil, err
	}
	return s, nil
}

// prepare sets what linktrail wants of every connection unless the DSN says otherwise.
func prepare(c *pgx.ConnConfig, connectTimeout time.Duration) {
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "linktrail"
	}
}

func describe(c *pgx.ConnConfig) dbtrace.Database {
	d := dbtrace.Database{System: dbtrace.SystemPostgreSQL, Namespace: c.Database, Address: c.Host, Port: int(c.Port)}
	if strings.HasPrefix(c.Host, "/") {
		d.Port = 0
	}
	return d
}

// notMigratedError says what to do about a schema that is too old.
type notMigratedError struct{ have, want int64 }

func (e notMigratedError) Error() string {
	return fmt.Sprintf("the database is not migrated: its schema is at version %d, this linktrail needs %d; run `linktrail migrate`",
		e.have, e.want)
}

// away reports whether err may pass by itself: the server is not there yet. What a server that answered said about the
// user, the database or the schema does not.
func away(err error) bool {
	if _, ok := errors.AsType[notMigratedError](err); ok {
		return false
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		const invalidCatalogName, invalidAuthorization = "3D000", "28"
		return e.Code != invalidCatalogName && !strings.HasPrefix(e.Code, invalidAuthorization)
	}
	return true
}

// Ping reports whether the server answers and the schema is new enough.
func (s *Store) Ping(ctx context.Context) error {
	if s.migrated.Load() {
		if err := s.pool.Ping(ctx); err != nil {
			return fmt.Errorf("postgres: ping: %w", err)
		}
		return nil
	}
	want, err := newestVersion()
	if err != nil {
		return err
	}
	have, err := schemaVersion(ctx, s.pool)
	if err != nil {
		return fmt.Errorf("postgres: read the schema's version: %w", err)
	}
	if have < want {
		return notMigratedError{have, want}
	}
	s.migrated.Store(true)
	return nil
}

// Close waits for the calls under way and closes the connections.
func (s *Store) Close() error {
	s.pool.Close()
	return nil
}

// System returns "postgresql".
func (s *Store) System() string { return s.database.System }

// Database describes the server for spans.
func (s *Store) Database() dbtrace.Database { return s.database }

// readCommitted is what the upserts need: a statement after a row lock sees what the lock's holder before committed.
var readCommitted = pgx.TxOptions{IsoLevel: pgx.ReadCommitted}

// optionalTime returns nil, which is NULL, for the zero time.
func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func timeOf(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}
