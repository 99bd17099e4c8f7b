package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// versionTable is goose's, under a name of ours.
const versionTable = "linktrail_schema"

// lockSuffix makes the name of an empty file beside the database, which a migration locks. It is a file of its own as the
// database cannot be put into WAL mode while it is locked.
const lockSuffix = "-migrate"

// Migrate makes the file and its folder where they are missing, for their owner only, and runs the migrations that are
// missing. Others that are started meanwhile wait.
func Migrate(ctx context.Context, file string, progress func(string)) (err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("sqlite: migrate: %w", err)
	}
	unlock, err := lockFile(ctx, file+lockSuffix)
	if err != nil {
		return fmt.Errorf("sqlite: lock %s for the migration: %w", file, err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := touch(file); err != nil {
		return fmt.Errorf("sqlite: migrate: %w", err)
	}
	db, err := connect(file, 1, "_pragma", "synchronous(FULL)", "_pragma", "foreign_keys(1)", "_txlock", "immediate")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := useWAL(ctx, db); err != nil {
		return fmt.Errorf("sqlite: put %s into WAL mode: %w", file, err)
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("sqlite: migrate: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithTableName(versionTable),
		goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("sqlite: migrate: %w", err)
	}
	results, err := whileBusy(ctx, func() ([]*goose.MigrationResult, error) { return provider.Up(ctx) })
	for _, r := range results {
		progress(fmt.Sprintf("applied %s in %s", path.Base(r.Source.Path), r.Duration.Round(time.Millisecond)))
	}
	if err != nil {
		return fmt.Errorf("sqlite: migrate %s: %w", file, err)
	}
	version, err := provider.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("sqlite: migrate %s: %w", file, err)
	}
	progress(fmt.Sprintf("the schema is at version %d", version))
	return nil
}

// touch makes an empty file that its owner alone can read; SQLite gives the files beside it the same mode.
func touch(file string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// lockFile takes an exclusive lock by SQLite's own means, which every system has and which ends with the process.
func lockFile(ctx context.Context, file string) (unlock func() error, err error) {
	if err := touch(file); err != nil {
		return nil, err
	}
	db, err := connect(file, 1, "_txlock", "exclusive")
	if err != nil {
		return nil, err
	}
	tx, err := whileBusy(ctx, func() (*sql.Tx, error) { return db.BeginTx(ctx, nil) })
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return func() error { return errors.Join(ignoreDone(tx.Rollback()), db.Close()) }, nil
}

// useWAL is kept in the file: whoever opens it later finds it in that mode.
func useWAL(ctx context.Context, db *sql.DB) error {
	mode, err := whileBusy(ctx, func() (mode string, err error) {
		err = db.QueryRowContext(ctx, `PRAGMA journal_mode = WAL`).Scan(&mode)
		return mode, err
	})
	if err == nil && mode != "wal" {
		err = fmt.Errorf("the file stays in mode %q; network file systems cannot do it", mode)
	}
	return err
}

// newestVersion is the version of the newest embedded migration, by its file's name.
func newestVersion() (int64, error) {
	entries, err := migrations.ReadDir("migrations")
	if err != nil {
		return 0, fmt.Errorf("sqlite: read the migrations: %w", err)
	}
	return goose.NumericComponent(entries[len(entries)-1].Name())
}

// schemaVersion is the newest migration that the file has, 0 when it has none.
func schemaVersion(ctx context.Context, db *sql.DB) (int64, error) {
	return read(ctx, func() (version int64, err error) {
		var tables int
		err = db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?`, versionTable).Scan(&tables)
		if err != nil || tables == 0 {
			return 0, err
		}
		err = db.QueryRowContext(ctx, `SELECT coalesce(max(version_id), 0) FROM `+versionTable+` WHERE is_applied`).Scan(&version)
		return version, err
	})
}
