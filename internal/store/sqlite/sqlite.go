// Package sqlite keeps links, clicks and API keys in one SQLite file, for linktrail on one machine.
//
// The file is in WAL mode and shared by processes: a Store has one connection for writing, whose transactions begin
// IMMEDIATE, and several for reading. Commits are synchronous FULL: an offset of the click stream is committed after its
// clicks, and a power cut must not take back the clicks alone.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	sqlitedriver "modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"

	"github.com/linktrail/linktrail/internal/store/dbtrace"
)

const (
	// busyStep is how long SQLite itself waits for another process's lock; between steps the context is looked at.
	busyStep = 250 * time.Millisecond
	// busyLimit is how long a write waits altogether when its context has no deadline.
	busyLimit = 30 * time.Second
)

// Store is a SQLite file. It is safe for concurrent use, and so is the file.
type Store struct {
	path     string
	writer   *sql.DB
	readers  *sql.DB
	database dbtrace.Database
}

// Open opens a file that Migrate has made. readers is the most reading connections.
func Open(ctx context.Context, path string, readers int) (*Store, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no database at %s; run `linktrail migrate`", path)
	} else if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	writer, err := connect(path, 1, "_pragma", "synchronous(FULL)", "_pragma", "foreign_keys(1)", "_txlock", "immediate")
	if err != nil {
		return nil, err
	}
	reader, err := connect(path, readers, "_pragma", "query_only(1)")
	if err != nil {
		return nil, errors.Join(err, writer.Close())
	}
	s := &Store{path: path, writer: writer, readers: reader,
		database: dbtrace.Database{System: dbtrace.SystemSQLite, Namespace: filepath.Base(path)}}
	if err := s.Ping(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// connect makes a pool whose connections have the parameters, given as names and values. It never makes the file.
func connect(path string, conns int, params ...string) (*sql.DB, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	query := url.Values{"mode": {"rw"}, "_pragma": {fmt.Sprintf("busy_timeout(%d)", busyStep.Milliseconds())}}
	for i := 0; i < len(params); i += 2 {
		query.Add(params[i], params[i+1])
	}
	dsn := url.URL{Scheme: "file", Path: filepath.ToSlash(absolute), RawQuery: query.Encode()}
	connector, err := sqlitedriver.NewConnector(dsn.String())
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

// Ping reports whether the file can be read and its schema is new enough.
func (s *Store) Ping(ctx context.Context) error {
	want, err := newestVersion()
	if err != nil {
		return err
	}
	have, err := schemaVersion(ctx, s.readers)
	if err != nil {
		return fmt.Errorf("sqlite: read the schema's version of %s: %w", s.path, err)
	}
	if have < want {
		return fmt.Errorf("the database %s is not migrated: its schema is at version %d, this linktrail needs %d; run `linktrail migrate`",
			s.path, have, want)
	}
	return nil
}

// Close waits for the calls under way and closes the file.
func (s *Store) Close() error {
	if err := errors.Join(s.readers.Close(), s.writer.Close()); err != nil {
		return fmt.Errorf("sqlite: close: %w", err)
	}
	return nil
}

// System returns "sqlite".
func (s *Store) System() string { return s.database.System }

// Database describes the file for spans.
func (s *Store) Database() dbtrace.Database { return s.database }

// write runs f in a transaction that holds the file's write lock from its start. Waiting for the lock ends with ctx.
func (s *Store) write(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := whileBusy(ctx, func() (*sql.Tx, error) { return s.writer.BeginTx(ctx, nil) })
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		return errors.Join(err, ignoreDone(tx.Rollback()))
	}
	return tx.Commit()
}

// read runs f again while another process keeps the file busy: in WAL mode that is only while it recovers or closes it.
func read[T any](ctx context.Context, f func() (T, error)) (T, error) { return whileBusy(ctx, f) }

func whileBusy[T any](ctx context.Context, f func() (T, error)) (T, error) {
	limit := time.Now().Add(busyLimit)
	for {
		result, err := f()
		if err == nil || !isBusy(err) || time.Now().After(limit) {
			return result, err
		}
		if ctx.Err() != nil {
			return result, errors.Join(ctx.Err(), err)
		}
	}
}

func isBusy(err error) bool {
	e, ok := errors.AsType[*sqlitedriver.Error](err)
	if !ok {
		return false
	}
	primary := e.Code() & 0xff
	return primary == sqlitelib.SQLITE_BUSY || primary == sqlitelib.SQLITE_LOCKED
}

// ignoreDone drops the complaint about a transaction which its context has ended already.
func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// micros is how times are kept; the zero time is NULL.
func micros(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	n := t.UnixMicro()
	return &n
}

func timeOf(n *int64) time.Time {
	if n == nil {
		return time.Time{}
	}
	return time.UnixMicro(*n).UTC()
}
