package ingest_test

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	_ "modernc.org/sqlite"

	"github.com/linktrail/linktrail/apps/analytics-consumer/internal/ingest"
	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/store"
)

// TestRefused has real databases say no to one click of a batch.
func TestRefused(t *testing.T) {
	t.Run("PostgreSQL", func(t *testing.T) {
		dsn := testenv.Postgres(t)
		wantPoisonAside(t, store.Config{DSN: dsn}, func() error {
			conn, err := pgx.Connect(t.Context(), dsn)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close(t.Context()) }()
			_, err = conn.Exec(t.Context(), `ALTER TABLE clicks ADD CHECK (language <> 'poison')`)
			return err
		})
	})
	t.Run("SQLite", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "linktrail.db")
		wantPoisonAside(t, store.Config{DSN: "sqlite:" + path}, func() error {
			db, err := sql.Open("sqlite", path)
			if err != nil {
				return err
			}
			defer func() { _ = db.Close() }()
			_, err = db.ExecContext(t.Context(), `CREATE TRIGGER poison BEFORE INSERT ON clicks WHEN NEW.language = 'poison'
				BEGIN SELECT RAISE(ABORT, 'poison'); END`)
			return err
		})
	})
}

// wantPoisonAside wants a click whose language is "poison" among the dead letters and the rest of its batch in the store.
// lay makes the database refuse such clicks.
func wantPoisonAside(t *testing.T, cfg store.Config, lay func() error) {
	t.Helper()
	if err := store.Migrate(t.Context(), cfg, nil); err != nil {
		t.Fatal(err)
	}
	if err := lay(); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	l, err := s.CreateLink(t.Context(), link.Link{Code: "abcdefg", URL: "https://example.com/", RedirectStatus: 302})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, store: &faultyStore{Store: s}, link: l, dead: &deadLetters{}, registry: prometheus.NewRegistry()}
	r.ingester = ingest.New(ingest.Config{Store: s, DeadLetters: r.dead, Group: group, Registerer: r.registry})
	poison := r.record(false, func(c *click.Click) { c.Language = "poison" })
	batch := append(append(r.records(7, false), poison), r.records(13, false)...)
	r.mustHandle(batch)
	r.wantStats(20, 0)
	r.wantLetters(map[string]string{string(poison.Value): "refused: "})
}
