package sqlite_test

import (
	"database/sql"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/store"
	"github.com/linktrail/linktrail/internal/store/sqlite"
	"github.com/linktrail/linktrail/internal/store/storetest"
)

func fresh(t *testing.T) store.Config {
	return store.Config{DSN: "sqlite:" + filepath.Join(t.TempDir(), "new folder", "link trail?.db")}
}

func TestStore(t *testing.T) { storetest.Run(t, fresh) }

func TestMigrate(t *testing.T) {
	t.Run("OK others cannot read the file", func(t *testing.T) {
		c := fresh(t)
		storetest.MustMigrate(t, c)
		file := c.DSN[len("sqlite:"):]
		for path, want := range map[string]os.FileMode{file: 0o600, filepath.Dir(file): 0o700} {
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: mode %v, %v; want %v", path, info.Mode().Perm(), err, want)
			}
		}
	})
	t.Run("OK opening makes no file", func(t *testing.T) {
		c := fresh(t)
		if s, err := store.Open(t.Context(), c); err == nil {
			t.Fatal("opened", s.Close())
		}
		if _, err := os.Stat(filepath.Dir(c.DSN[len("sqlite:"):])); !os.IsNotExist(err) {
			t.Errorf("got %v, want no folder", err)
		}
	})
}

// TestLatestClicksPlan asks the planner: a page of the latest clicks must not cost more with every click that there is.
func TestLatestClicksPlan(t *testing.T) {
	c := fresh(t)
	storetest.MustMigrate(t, c)
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: c.DSN[len("sqlite:"):]}).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	for name, tt := range map[string]struct {
		linkID int64
		index  string
	}{"OK all links": {click.AllLinks, "PRIMARY KEY"}, "OK one link": {2, "clicks_link_id"}} {
		t.Run(name, func(t *testing.T) {
			query, args := sqlite.LatestQuery(tt.linkID, uuid.Nil, 50)
			var id, parent, unused int
			var plan string
			if err := db.QueryRowContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...).Scan(&id, &parent, &unused, &plan); err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(plan, "SEARCH clicks USING") || !strings.Contains(plan, tt.index) || strings.Contains(plan, "SORT") {
				t.Errorf("the newest clicks are not read from %s: %s", tt.index, plan)
			}
		})
	}
}

// mustHold takes the file's write lock and returns the function that gives it back.
func mustHold(t *testing.T, c store.Config) (release func()) {
	t.Helper()
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: c.DSN[len("sqlite:"):], RawQuery: "_txlock=immediate"}).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := tx.Rollback(); err != nil {
			t.Errorf("release: %v", err)
		}
	}
}

// TestRollupsOfTheVersionBefore writes and reads rollups as linktrail did before there were quarters.
func TestRollupsOfTheVersionBefore(t *testing.T) {
	c := fresh(t)
	storetest.MustMigrate(t, c)
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: c.DSN[len("sqlite:"):]}).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	storetest.CheckVersionBefore(t, storetest.MustOpen(t, c), func(total, value string, hour time.Time) error {
		_, err := db.ExecContext(t.Context(), `INSERT INTO click_rollups (link_id, dimension, hour, value, clicks, bots)
			VALUES (1, 'total', ?1, ?2, 2, 1), (1, 'browser', ?1, ?3, 2, 0)
			ON CONFLICT (link_id, dimension, hour, value) DO UPDATE SET clicks = clicks + excluded.clicks, bots = bots + excluded.bots`,
			hour.UnixMicro(), total, value)
		return err
	}, func() (clicks int64, err error) {
		err = db.QueryRowContext(t.Context(), `SELECT sum(clicks) FROM click_rollups WHERE link_id = 1 AND dimension = 'browser'`).Scan(&clicks)
		return clicks, err
	})
}
