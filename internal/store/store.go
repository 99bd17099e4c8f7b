// Package store opens and migrates the database that links, clicks and API keys are kept in: PostgreSQL in production,
// SQLite where everything runs on one machine. Both keep the promises that package storetest checks.
package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/linktrail/linktrail/internal/apikey"
	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/store/dbtrace"
	"github.com/linktrail/linktrail/internal/store/postgres"
	"github.com/linktrail/linktrail/internal/store/record"
	"github.com/linktrail/linktrail/internal/store/repair"
	"github.com/linktrail/linktrail/internal/store/sqlite"
)

// Store is all that linktrail keeps. It is safe for concurrent use, by several processes on one database too.
//
// Errors that mean that the database is away or broke are not *link.Error; an error of kind NotFound, Conflict or Invalid
// is. Calls end when their context does.
type Store interface {
	link.Store
	click.Store
	apikey.Store
	Retainer
	Purger
	repair.Store
	// Ping reports whether the database can be reached and is migrated.
	Ping(ctx context.Context) error
	// Close waits for the calls under way and lets the connections go.
	Close() error
	// System is the db.system.name of OpenTelemetry: "postgresql" or "sqlite".
	System() string
	// Database describes the database for spans that callers make, such as the consumer's "INSERT clicks": WriteClicks
	// makes none itself, every other method makes its own.
	Database() dbtrace.Database
}

// Retainer removes old clicks.
type Retainer interface {
	// Retain removes the clicks from before a time: PostgreSQL drops their partitions, SQLite deletes them in small
	// transactions. From its start on no such click is stored any more. It may be called by several processes at once, and
	// again after a failure; progress is told of each thing that is gone. It needs a role that owns the table clicks.
	Retain(ctx context.Context, r record.Retention, progress func(record.Removed)) error
	// KeptFrom returns the latest Before that Retain was called with, the zero time when it never was.
	KeptFrom(ctx context.Context) (time.Time, error)
}

// Purger has what only who looks after a store needs, beside the purges of link.Store.
type Purger interface {
	// PurgeDeleted bans the clicks of the links that had a code and were deleted, as PurgeLink does those of a link. It returns
	// how many links these were; none is no error, and one banned before counts again while clicks of it are stored. It reads
	// all clicks, as of a link that was deleted before schema version 4 they alone tell: it is found while one is stored.
	PurgeDeleted(ctx context.Context, code string) (links int, err error)
	// MissingClicks returns those of the clicks that should be stored and are not: neither is their link purged, nor are they
	// from before what the retention keeps.
	MissingClicks(ctx context.Context, clicks []click.Click) ([]click.Click, error)
	// RecheckPurged has PurgeClicks look again at purged links of which there are clicks or rollups all the same: linktrail
	// before it knew purges may have written some.
	RecheckPurged(ctx context.Context) error
}

// Partitioner is implemented by stores whose clicks are partitioned by month.
type Partitioner interface {
	// EnsurePartitions makes the partitions of the month of now and of the three after it, and of the months that the
	// default partition holds clicks of, and moves those there. Call it at the start and then daily. It may be called by
	// several processes at once; writers wait while clicks are moved, and none fails.
	EnsurePartitions(ctx context.Context, now time.Time) error
}

var (
	_ Store       = (*postgres.Store)(nil)
	_ Store       = (*sqlite.Store)(nil)
	_ Partitioner = (*postgres.Store)(nil)
)

// Config says where the store is. It can be a block of go-zero's YAML.
type Config struct {
	// DSN is postgres://user:password@host:port/database?options, with libpq's options, or sqlite:PATH.
	DSN string
	// MaxConns is the most connections to the database; with SQLite the most readers, there is always one writer.
	MaxConns int `json:",default=16,range=[1:1000]"`
	// ConnectTimeout is how long making one connection to PostgreSQL may take.
	ConnectTimeout time.Duration `json:",default=5s"`
}

const (
	defaultMaxConns       = 16
	defaultConnectTimeout = 5 * time.Second
)

// Open opens a store that has been migrated; the error for one that has not says what to type. A PostgreSQL that cannot
// be reached is no error here: the pool connects when it is used, and Ping tells when it could.
func Open(ctx context.Context, c Config) (Store, error) {
	kind, where, err := c.parse()
	if err != nil {
		return nil, err
	}
	if kind == kindSQLite {
		s, err := sqlite.Open(ctx, where, c.maxConns())
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	s, err := postgres.Open(ctx, where, c.maxConns(), c.connectTimeout())
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Migrate brings the database to the newest schema, under a lock: any number may run at once. The version of linktrail
// before this one keeps working on it. SQLite's file and its folder are made. progress, unless nil, is told each step.
func Migrate(ctx context.Context, c Config, progress func(string)) error {
	if progress == nil {
		progress = func(string) {}
	}
	kind, where, err := c.parse()
	if err != nil {
		return err
	}
	if kind == kindSQLite {
		return sqlite.Migrate(ctx, where, progress)
	}
	return postgres.Migrate(ctx, where, c.connectTimeout(), progress)
}

// Check says what is wrong with the configuration itself, before anything is opened.
func (c Config) Check() error {
	_, _, err := c.parse()
	return err
}

type kind int

const (
	kindPostgres kind = iota
	kindSQLite
)

// parse never quotes the DSN, which may hold a password.
func (c Config) parse() (kind, string, error) {
	scheme, rest, ok := strings.Cut(c.DSN, ":")
	switch {
	case c.DSN == "":
		return 0, "", errors.New("Store.DSN is not set; it is postgres://… or sqlite:PATH")
	case !ok:
		return 0, "", errors.New("Store.DSN has no scheme; it is postgres://… or sqlite:PATH")
	case scheme == "sqlite" && rest == "":
		return 0, "", errors.New("Store.DSN sqlite: needs a path, such as sqlite:data/linktrail.db")
	case scheme == "sqlite":
		return kindSQLite, rest, nil
	case scheme == "postgres", scheme == "postgresql":
		return kindPostgres, c.DSN, nil
	}
	return 0, "", fmt.Errorf("Store.DSN: scheme %q is not one of postgres, postgresql, sqlite", scheme)
}

func (c Config) maxConns() int {
	if c.MaxConns <= 0 {
		return defaultMaxConns
	}
	return c.MaxConns
}

func (c Config) connectTimeout() time.Duration {
	if c.ConnectTimeout <= 0 {
		return defaultConnectTimeout
	}
	return c.ConnectTimeout
}
