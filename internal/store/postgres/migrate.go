package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrations embed.FS

// versionTable is goose's, under a name of ours: two programs may share a database.
const versionTable = "linktrail_schema"

// How often, in seconds, and how many times a migration asks for the lock that another one holds.
const (
	lockPeriod   = 1
	lockAttempts = 600
)

// Migrate runs the migrations that are missing under an advisory lock, then makes the partitions of clicks.
func Migrate(ctx context.Context, dsn string, connectTimeout time.Duration, progress func(string)) (err error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return fmt.Errorf("Store.DSN: %w", err)
	}
	prepare(config, connectTimeout)
	db := stdlib.OpenDB(*config)
	defer func() { err = errors.Join(err, db.Close()) }()
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockID(lockMigrate), lock.WithLockTimeout(lockPeriod, lockAttempts))
	if err != nil {
		return fmt.Errorf("postgres: migrate: %w", err)
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("postgres: migrate: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithSessionLocker(locker),
		goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("postgres: migrate: %w", err)
	}
	results, err := provider.Up(ctx)
	for _, r := range results {
		progress(fmt.Sprintf("applied %s in %s", path.Base(r.Source.Path), r.Duration.Round(time.Millisecond)))
	}
	if err != nil {
		return fmt.Errorf("postgres: migrate: %w", err)
	}
	version, err := provider.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("postgres: migrate: %w", err)
	}
	progress(fmt.Sprintf("the schema is at version %d", version))
	return ensureNow(ctx, dsn, connectTimeout)
}

// ensureNow makes the partitions, so that a fresh database has them before the first click.
func ensureNow(ctx context.Context, dsn string, connectTimeout time.Duration) error {
	s, err := Open(ctx, dsn, 1, connectTimeout)
	if err != nil {
		return err
	}
	return errors.Join(s.EnsurePartitions(ctx, time.Now()), s.Close())
}

// newestVersion is the version of the newest embedded migration, by its file's name.
func newestVersion() (int64, error) {
	entries, err := migrations.ReadDir("migrations")
	if err != nil {
		return 0, fmt.Errorf("postgres: read the migrations: %w", err)
	}
	return goose.NumericComponent(entries[len(entries)-1].Name())
}

// schemaVersion is the newest migration that the database has, 0 when it has none.
func schemaVersion(ctx context.Context, pool *pgxpool.Pool) (int64, error) {
	var version int64
	err := pool.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM `+versionTable+` WHERE is_applied`).Scan(&version)
	const undefinedTable = "42P01"
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == undefinedTable {
		return 0, nil
	}
	return version, err
}
