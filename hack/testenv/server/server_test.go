package server

import (
	"context"
	"crypto/x509"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/linktrail/linktrail/hack/testenv"
)

// MustStart starts servers of its own, whatever the environment gives.
func MustStart(t *testing.T, o Options) *Session {
	t.Helper()
	for _, d := range definitions() {
		for _, variable := range d.variables {
			t.Setenv(variable, "")
		}
	}
	o.Progress = t.Output()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	session, err := Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := session.Stop(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
	for _, variable := range session.Env() {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	return session
}

func TestKafkaAnswersOnBothListeners(t *testing.T) {
	MustStart(t, Options{Only: []string{"kafka"}, TempDir: t.TempDir()})
	kafka := testenv.Kafka(t)
	pem, err := os.ReadFile(kafka.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatalf("%s has no certificate", kafka.CAFile)
	}
	ask := func(options ...kgo.Opt) error {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		return hasBroker(ctx, append(options, kgo.RequestRetries(0))...)
	}
	secure := func(mechanism sasl.Mechanism) error {
		return ask(kgo.SeedBrokers(kafka.TLSBrokers...), kgo.DialTLSConfig(clientTLS(pool)), kgo.SASL(mechanism))
	}
	user := scram.Auth{User: kafka.Username, Pass: kafka.Password}

	t.Run("OK", func(t *testing.T) {
		for name, err := range map[string]error{
			"plaintext":     ask(kgo.SeedBrokers(kafka.Brokers...)),
			"SCRAM-SHA-512": secure(user.AsSha512Mechanism()),
			"SCRAM-SHA-256": secure(user.AsSha256Mechanism()),
			"PLAIN":         secure(plain.Auth{User: user.User, Pass: user.Pass}.AsMechanism()),
		} {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	t.Run("ErrWrongPassword", func(t *testing.T) {
		if err := secure(scram.Auth{User: user.User, Pass: "wrong"}.AsSha512Mechanism()); err == nil {
			t.Error("a wrong password was let in")
		}
	})
	t.Run("ErrUnknownAuthority", func(t *testing.T) {
		err := ask(kgo.SeedBrokers(kafka.TLSBrokers...), kgo.DialTLSConfig(clientTLS(x509.NewCertPool())), kgo.SASL(user.AsSha512Mechanism()))
		if err == nil {
			t.Error("a client that does not know the authority was satisfied")
		}
	})
}

func TestPostgresIsEmptyAndDropped(t *testing.T) {
	// Not below t.TempDir, which the user that PostgreSQL runs as cannot enter.
	session := MustStart(t, Options{Only: []string{"postgres"}})
	var database string
	t.Run("during", func(t *testing.T) {
		conn := mustConnect(t, testenv.Postgres(t))
		var tables int
		if err := conn.QueryRow(t.Context(), "SELECT current_database(), (SELECT count(*) FROM pg_tables WHERE schemaname = 'public')").Scan(&database, &tables); err != nil {
			t.Fatal(err)
		}
		if tables != 0 {
			t.Errorf("a new database has %d tables", tables)
		}
	})
	t.Run("after", func(t *testing.T) {
		var left bool
		conn := mustConnect(t, strings.TrimPrefix(session.Env()[0], testenv.EnvPostgres+"="))
		if err := conn.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", database).Scan(&left); err != nil {
			t.Fatal(err)
		}
		if left {
			t.Errorf("database %s outlives its test", database)
		}
	})
}

func mustConnect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func TestStopLeavesNothing(t *testing.T) {
	session := MustStart(t, Options{Only: []string{"redis", "jaeger"}, TempDir: t.TempDir()})
	pids := mustReadPids(t, session.Dir)
	if len(pids) != 2 {
		t.Fatalf("processes: %v, want 2", pids)
	}
	if err := session.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if syscall.Kill(pid, 0) == nil {
			t.Errorf("process %d lives on", pid)
		}
	}
	if exists(session.Dir) {
		t.Errorf("%s is still there", session.Dir)
	}
}

func TestStartKeepsWhatTheEnvironmentGives(t *testing.T) {
	t.Setenv(testenv.EnvRedis, "redis.example:6379")
	wanted, err := Options{Only: []string{"redis", "postgres"}, Progress: t.Output()}.selected()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range wanted {
		if d.name == "redis" {
			t.Error("redis is started although its address is given")
		}
	}
	if _, err := (Options{Only: []string{"mysql"}}).selected(); err == nil {
		t.Error("an unknown server is accepted")
	}
}

func TestMissingServerIsNamed(t *testing.T) {
	message := redis().cannot("redis-server").Error()
	for _, want := range []string{"no redis", "redis-server", "Docker", testenv.EnvRedis} {
		if !strings.Contains(message, want) {
			t.Errorf("%q is not in: %s", want, message)
		}
	}
}

func mustReadPids(t *testing.T, dir string) []int {
	t.Helper()
	text, err := os.ReadFile(dir + "/" + pidsFile)
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for line := range strings.Lines(string(text)) {
		field, _, _ := strings.Cut(line, " ")
		pid, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// TestOutage ends servers, by force too, and begins them again: at the same address, with what they had.
func TestOutage(t *testing.T) {
	session := MustStart(t, Options{Only: []string{"postgres"}, Durable: true})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	dsn := os.Getenv(testenv.EnvPostgres)
	ask := func(statement string, to ...any) error {
		conn, err := pgx.Connect(ctx, dsn)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(ctx) }()
		if len(to) > 0 {
			return conn.QueryRow(ctx, statement).Scan(to...)
		}
		_, err = conn.Exec(ctx, statement)
		return err
	}
	if err := ask("CREATE TABLE kept (n int)"); err != nil {
		t.Fatal(err)
	}
	for i, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		if err := ask("INSERT INTO kept VALUES (1)"); err != nil {
			t.Fatal(err)
		}
		if err := session.End(ctx, "postgres", signal); err != nil {
			t.Fatal(err)
		}
		if err := ask("SELECT 1"); err == nil {
			t.Errorf("%v: it still answers", signal)
		}
		if err := session.Begin(ctx, "postgres"); err != nil {
			t.Fatal(err)
		}
		var n int
		if err := ask("SELECT count(*) FROM kept", &n); err != nil || n != i+1 {
			t.Errorf("%v: %d rows, %v", signal, n, err)
		}
	}
	t.Run("Err", func(t *testing.T) {
		if err := session.End(ctx, "kafka", syscall.SIGTERM); err == nil {
			t.Error("a server that was not started ends")
		}
	})
}
