package postgres_test

import (
	"context"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/store"
	"github.com/linktrail/linktrail/internal/store/storetest"
)

func fresh(t *testing.T) store.Config {
	t.Helper()
	return store.Config{DSN: testenv.Postgres(t)}
}

func TestStore(t *testing.T) { storetest.Run(t, fresh) }

func mustURL(t *testing.T, c store.Config) *url.URL {
	t.Helper()
	u, err := url.Parse(c.DSN)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestOpen(t *testing.T) {
	t.Run("OK a server that comes later", func(t *testing.T) {
		c := fresh(t)
		storetest.MustMigrate(t, c)
		real := mustURL(t, c)
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := listener.Addr().String()
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
		away := *real
		away.Host = address
		c.DSN = away.String()
		s := storetest.MustOpen(t, c)
		if err := s.Ping(t.Context()); err == nil {
			t.Fatal("ping of a server that is away succeeds")
		}
		if _, err := s.LinkByCode(t.Context(), "x"); link.KindOf(err) != link.KindInternal {
			t.Fatalf("got %v, want a fault that is no answer", err)
		}
		testenv.ComeBack(t, address, real.Host)
		deadline, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		for err := s.Ping(deadline); err != nil; err = s.Ping(deadline) {
			if deadline.Err() != nil {
				t.Fatalf("ping: %v", err)
			}
		}
		storetest.MustCreate(t, s, "works")
	})
	t.Run("ErrDatabase", func(t *testing.T) {
		u := mustURL(t, fresh(t))
		u.Path = "/there_is_none"
		if s, err := store.Open(t.Context(), store.Config{DSN: u.String()}); err == nil {
			t.Error("opened", s.Close())
		} else if !strings.Contains(err.Error(), "there_is_none") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("ErrDSN keeps the password to itself", func(t *testing.T) {
		for _, dsn := range []string{"postgres://u:s3cret@localhost/x?sslmode=perhaps", "postgres://u:s3cret@localhost:port/x"} {
			s, err := store.Open(t.Context(), store.Config{DSN: dsn})
			if err == nil {
				t.Fatal("opened", s.Close())
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("error holds the password: %v", err)
			}
			if err := store.Migrate(t.Context(), store.Config{DSN: dsn}, nil); err == nil || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("migrate: %v", err)
			}
		}
	})
	t.Run("ErrDeadline", func(t *testing.T) {
		c := fresh(t)
		storetest.MustMigrate(t, c)
		s := storetest.MustOpen(t, c)
		storetest.MustCreate(t, s, "locked")
		tx, err := mustConnect(t, c).Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback(context.Background()) }()
		if _, err := tx.Exec(t.Context(), `LOCK TABLE links`); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := s.LinkByCode(ctx, "locked"); err == nil || link.KindOf(err) != link.KindInternal {
			t.Errorf("got %v, want the deadline's error", err)
		}
	})
}

// TestRollupsOfTheVersionBefore writes and reads rollups as linktrail did before there were quarters.
func TestRollupsOfTheVersionBefore(t *testing.T) {
	c := fresh(t)
	storetest.MustMigrate(t, c)
	conn, err := pgx.Connect(t.Context(), c.DSN)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	storetest.CheckVersionBefore(t, storetest.MustOpen(t, c), func(total, value string, hour time.Time) error {
		_, err := conn.Exec(t.Context(), `INSERT INTO click_rollups AS r (link_id, dimension, hour, value, clicks, bots)
			VALUES (1, 'total', $1, $2, 2, 1), (1, 'browser', $1, $3, 2, 0)
			ON CONFLICT (link_id, dimension, hour, value) DO UPDATE SET clicks = r.clicks + excluded.clicks, bots = r.bots + excluded.bots`,
			hour, total, value)
		return err
	}, func() (clicks int64, err error) {
		err = conn.QueryRow(t.Context(), `SELECT sum(clicks)::bigint FROM click_rollups WHERE link_id = 1 AND dimension = 'browser'`).Scan(&clicks)
		return clicks, err
	})
}
