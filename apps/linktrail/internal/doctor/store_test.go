package doctor

import (
	"context"
	"crypto/rand"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/linktrail/linktrail/apps/linktrail/internal/up"
	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/store"
)

func MustMigrate(t *testing.T, dsn string) {
	t.Helper()
	if err := store.Migrate(t.Context(), store.Config{DSN: dsn}, nil); err != nil {
		t.Fatal(err)
	}
}

func MustExec(t *testing.T, dsn string, statements ...string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

func examineStore(t *testing.T, dsn string) Report {
	t.Helper()
	return examine(t, System{Store: &store.Config{DSN: dsn}}, patience)
}

func TestPostgres(t *testing.T) {
	dsn := testenv.Postgres(t)
	with := func(change func(*url.URL)) string {
		u, err := url.Parse(dsn)
		if err != nil {
			t.Fatal(err)
		}
		change(u)
		return u.String()
	}
	t.Run("ErrNotMigrated", func(t *testing.T) {
		wantProblem(t, examineStore(t, dsn), checkStore, KindSchema, "there is no schema", "linktrail migrate --store")
	})
	MustMigrate(t, dsn)
	t.Run("OK", func(t *testing.T) { wantOK(t, examineStore(t, dsn), checkStore, "PostgreSQL 1", "schema version") })
	t.Run("ErrDatabase", func(t *testing.T) {
		r := examineStore(t, with(func(u *url.URL) { u.Path = "/there_is_none" }))
		wantProblem(t, r, checkStore, KindDatabase, `no database "there_is_none"`, "CREATE DATABASE there_is_none")
	})
	t.Run("ErrRole", func(t *testing.T) {
		r := examineStore(t, with(func(u *url.URL) { u.User = url.UserPassword("there_is_nobody", secret) }))
		wantProblem(t, r, checkStore, KindCredentials, "there_is_nobody")
	})
	t.Run("ErrPrivileges", func(t *testing.T) {
		role := "linktrail_test_" + strings.ToLower(rand.Text()[:10])
		MustExec(t, dsn, "CREATE ROLE "+role+" LOGIN", "GRANT SELECT ON linktrail_schema, links TO "+role)
		t.Cleanup(func() { MustExec(t, dsn, "DROP OWNED BY "+role, "DROP ROLE "+role) })
		c := &store.Config{DSN: with(func(u *url.URL) { u.User = url.User(role) })}
		r := examine(t, System{Store: c}, patience)
		wantProblem(t, r, checkStore, KindPermission, "links DELETE, links INSERT, links UPDATE", "GRANT", "clicks INSERT", "does not own the table clicks")
		// Each service needs its own alone.
		of := func(role string) System {
			return System{Services: []Service{{Name: "mine", File: "mine.yaml", role: role, store: c}}}
		}
		if said := find(t, examine(t, of(up.URLAPI), patience), checkStore).Problems; len(said) != 1 ||
			!strings.Contains(said[0].Detail, "deleted_links INSERT") || strings.Contains(said[0].Detail, "clicks INSERT") {
			t.Errorf("url-api lacks %+v", said)
		}
		MustExec(t, dsn, "GRANT SELECT ON clicks, click_rollups TO "+role)
		wantOK(t, examine(t, of(up.AnalyticsRPC), patience), checkStore)
	})
	t.Run("ErrReadOnly", func(t *testing.T) {
		name := with(func(*url.URL) {})
		u, _ := url.Parse(name)
		MustExec(t, dsn, "ALTER DATABASE "+strings.Trim(u.Path, "/")+" SET default_transaction_read_only = on")
		wantProblem(t, examineStore(t, dsn), checkStore, KindReadOnly, "nothing can be written", "primary")
		MustExec(t, dsn, "SET default_transaction_read_only = off", "ALTER DATABASE "+strings.Trim(u.Path, "/")+" RESET default_transaction_read_only")
	})
	t.Run("ErrNewer", func(t *testing.T) {
		MustExec(t, dsn, "INSERT INTO linktrail_schema (version_id, is_applied) VALUES (987, true)")
		wantProblem(t, examineStore(t, dsn), checkStore, KindSchema, "a newer linktrail migrated it", "987")
		MustExec(t, dsn, "DELETE FROM linktrail_schema WHERE version_id = 987")
	})
	t.Run("ErrOlder", func(t *testing.T) {
		MustExec(t, dsn, "DELETE FROM linktrail_schema WHERE version_id = (SELECT max(version_id) FROM linktrail_schema)")
		wantProblem(t, examineStore(t, dsn), checkStore, KindSchema, "not migrated", "linktrail migrate")
	})
	t.Run("ErrTLS", func(t *testing.T) {
		r := examineStore(t, with(func(u *url.URL) { u.RawQuery = "sslmode=require" }))
		wantProblem(t, r, checkStore, KindTLS, "does not speak TLS", "sslmode=disable")
	})
}

// refuses is a PostgreSQL that answers whoever connects with an error.
func refuses(code, message string) func(net.Conn) {
	return func(conn net.Conn) {
		backend := pgproto3.NewBackend(conn, conn)
		for {
			start, err := backend.ReceiveStartupMessage()
			if err != nil {
				return
			}
			if _, is := start.(*pgproto3.SSLRequest); is {
				if _, err := io.WriteString(conn, "N"); err != nil {
					return
				}
				continue
			}
			backend.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: code, Message: message})
			_ = backend.Flush()
			return
		}
	}
}

// TestPostgresRefuses plays what the tests' own server, which trusts everyone, never says.
func TestPostgresRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		code, message string
		kind          Kind
		words         []string
	}{
		"ErrPassword":  {"28P01", `password authentication failed for user "linktrail"`, KindCredentials, []string{"linktrail", "ALTER ROLE linktrail"}},
		"ErrHBA":       {"28000", `no pg_hba.conf entry for host "10.0.0.1", user "linktrail", database "linktrail", no encryption`, KindCredentials, []string{"pg_hba.conf", "sslmode=require"}},
		"ErrFull":      {"53300", "sorry, too many clients already", KindUnavailable, []string{"too many clients", "max_connections"}},
		"ErrStarting":  {"57P03", "the database system is starting up", KindUnavailable, []string{"starting up", "wait"}},
		"ErrForbidden": {"42501", `permission denied for database "linktrail"`, KindPermission, []string{"GRANT CONNECT ON DATABASE linktrail TO linktrail"}},
	} {
		t.Run(name, func(t *testing.T) {
			dsn := "postgres://linktrail:" + secret + "@" + serve(t, refuses(c.code, c.message)) + "/linktrail"
			wantProblem(t, examineStore(t, dsn), checkStore, c.kind, c.words...)
		})
	}
	t.Run("ErrNoPassword", func(t *testing.T) {
		t.Setenv("PGPASSWORD", "")
		dsn := "postgres://linktrail@" + serve(t, refuses("28P01", "password authentication failed")) + "/linktrail"
		wantProblem(t, examineStore(t, dsn), checkStore, KindCredentials, "none is given", "PGPASSWORD")
	})
}

func TestSQLite(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	MustWrite(t, path("text"), strings.Repeat("this is no database, but a letter to a friend. ", 100))
	MustWrite(t, path("empty"), "")
	MustMigrate(t, "sqlite:"+path("good"))
	for name, c := range map[string]struct {
		file  string
		kind  Kind
		words []string
	}{
		"ErrMissing":     {"none", KindFile, []string{"there is no file", "linktrail migrate --store sqlite:"}},
		"ErrFolder":      {"", KindFile, []string{"is a folder"}},
		"ErrNoDatabase":  {"text", KindFile, []string{"not a SQLite database", "--store"}},
		"ErrNotMigrated": {"empty", KindSchema, []string{"there is no schema", "linktrail migrate"}},
	} {
		t.Run(name, func(t *testing.T) {
			wantProblem(t, examineStore(t, "sqlite:"+path(c.file)), checkStore, c.kind, c.words...)
		})
	}
	t.Run("OK", func(t *testing.T) {
		wantOK(t, examineStore(t, "sqlite:"+path("good")), checkStore, "SQLite 3", "schema version")
	})
	t.Run("OK it leaves nothing behind", func(t *testing.T) {
		names, err := filepath.Glob(filepath.Join(dir, ".*"))
		if err != nil || len(names) > 0 {
			t.Errorf("it left %q: %v", names, err)
		}
	})
	t.Run("OK a folder that was moved", func(t *testing.T) {
		old, now := filepath.Join(t.TempDir(), "old"), filepath.Join(t.TempDir(), "now")
		if err := os.MkdirAll(filepath.Join(old, "etc"), 0o700); err != nil {
			t.Fatal(err)
		}
		MustMigrate(t, "sqlite:"+filepath.Join(old, "linktrail.db"))
		MustWrite(t, filepath.Join(old, "etc", "analytics-rpc.yaml"), "ListenOn: 127.0.0.1:1\nStore: {DSN: sqlite:"+filepath.Join(old, "linktrail.db")+"}\n")
		if err := os.Rename(old, now); err != nil {
			t.Fatal(err)
		}
		services, err := ReadServices(now)
		if err != nil || len(services) != 1 {
			t.Fatalf("%d services: %v", len(services), err)
		}
		wantOK(t, examine(t, System{Services: services}, patience), checkStore)
	})
}
