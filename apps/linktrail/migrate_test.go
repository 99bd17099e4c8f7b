package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/linktrail/linktrail/hack/testenv"
)

// TestMigrateWait starts a migration before its servers can be reached, as in a cluster where all start at once, and
// opens the way to one after the other.
func TestMigrateWait(t *testing.T) {
	t.Run("OK nobody answers", func(t *testing.T) {
		migrateWaits(t, func(t *testing.T, _ string) (gone func()) {
			t.Helper()
			return func() {}
		})
	})
	t.Run("OK a proxy answers", func(t *testing.T) {
		migrateWaits(t, func(t *testing.T, addr string) (gone func()) {
			t.Helper()
			listener, err := net.Listen("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					_, _ = conn.Read(make([]byte, 4096))
					_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
					_ = conn.Close()
				}
			}()
			return func() {
				_ = listener.Close()
				<-done
			}
		})
	})
}

// migrateWaits has what answers at first at an address, which must be gone before its server comes there.
func migrateWaits(t *testing.T, before func(t *testing.T, addr string) (gone func())) {
	dsn, err := url.Parse(testenv.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	postgres, kafka := dsn.Host, testenv.Kafka(t).Brokers[0]
	postgresAddr, kafkaAddr := testenv.FreeAddr(t), testenv.FreeAddr(t)
	postgresNotYet, kafkaNotYet := before(t, postgresAddr), before(t, kafkaAddr)
	const password = "not-to-be-printed"
	dsn.Host, dsn.User = postgresAddr, url.UserPassword(dsn.User.Username(), password)
	topic := "migrate-" + strings.ToLower(rand.Text()[:10])
	key := filepath.Join(t.TempDir(), "key")
	MustWrite(t, key, "lt_"+strings.Repeat("w", 12)+"_"+strings.Repeat("s", 43))

	var stdout, stderr output
	cmd := exec.CommandContext(t.Context(), command(), "migrate", "--wait", "5m", "--store", dsn.String(),
		"--kafka", kafkaAddr, "--topic", topic, "--admin-key-file", key)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	says := func(o *output, piece string) {
		t.Helper()
		eventually(t, "it says "+piece, func() error {
			if text := o.String(); !strings.Contains(text, piece) {
				return fmt.Errorf("it says %q", text)
			}
			return nil
		})
	}
	says(&stderr, "waiting for the store, for 5m0s at most: ")
	postgresNotYet()
	testenv.ComeBack(t, postgresAddr, postgres)
	says(&stdout, "the key wwwwwwwwwwww is registered")
	says(&stderr, "waiting for Kafka, for ")
	kafkaNotYet()
	testenv.ComeBack(t, kafkaAddr, kafka)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	says(&stdout, "made topic "+topic+" with 12 partitions")
	if strings.Contains(stdout.String()+stderr.String(), password) {
		t.Errorf("it prints the password: %s", stderr.String())
	}
}

func TestMigrateWaitErrors(t *testing.T) {
	config := filepath.Join(t.TempDir(), "url-api.yaml")
	MustWrite(t, config, "ClickStream: {Brokers: [\"127.0.0.1:1\"]}\nStore: {DSN: \"sqlite:"+filepath.Join(t.TempDir(), "links.db")+"\"}\n")
	for name, c := range map[string]struct {
		code  int
		tells string
		args  []string
	}{
		"ErrTimeIsUp":  {5, "connection refused", []string{"--store", "postgres://u:p@127.0.0.1:1/x", "--wait", "1s"}},
		"ErrKafkaAway": {5, "make topic click-events", []string{"--config", config}},
		"ErrNegative":  {2, "--wait", []string{"--wait", "-1s"}},
		"ErrBoth":      {2, "--kafka and --no-topics", []string{"--kafka", "127.0.0.1:1", "--no-topics"}},
		"ErrBroker":    {2, "host:port", []string{"--store", "sqlite:unused.db", "--kafka", "nowhere"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := linktrail(t, append([]string{"migrate"}, c.args...)...)
			if r.code != c.code || !strings.Contains(r.stderr, c.tells) {
				t.Errorf("exit code %d, want %d with %q: %s", r.code, c.code, c.tells, r.stderr)
			}
		})
	}
	t.Run("OK no topics", func(t *testing.T) { want(t, 0, "migrate", "--config", config, "--no-topics") })
	t.Run("ErrNoWait for what is no outage", func(t *testing.T) {
		began := time.Now()
		dsn, err := url.Parse(testenv.Postgres(t))
		if err != nil {
			t.Fatal(err)
		}
		dsn.Path = "/no-such-database"
		if text := want(t, 1, "migrate", "--store", dsn.String(), "--wait", "10m").stderr; !strings.Contains(text, "no-such-database") {
			t.Errorf("it says %s", text)
		}
		if took := time.Since(began); took > patience {
			t.Errorf("it took %v", took)
		}
	})
}
