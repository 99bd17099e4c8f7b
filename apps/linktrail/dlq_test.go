package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"
	"sigs.k8s.io/yaml"

	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/click"
)

// letter is what `linktrail dlq list -o json` says of one.
type letter struct {
	Partition, Offset int64
	Time, Reason      string
	Origin            *struct{ Partition, Offset int64 }
	Value             string
	Bytes             int
	Cut               bool
}

func (l letter) place() string { return fmt.Sprintf("%d:%d", l.Partition, l.Offset) }

// TestDeadLetters has the services put records aside and a person deal with them, on a real Kafka and PostgreSQL.
func TestDeadLetters(t *testing.T) {
	kafka, dsn := testenv.Kafka(t), testenv.Postgres(t)
	topic := "dlq-" + strings.ToLower(rand.Text()[:10])
	stream := map[string]any{"ClickStream": map[string]any{"Topic": topic, "Group": topic}}
	content, err := yaml.Marshal(map[string]any{"postgres": dsn, "kafka": strings.Join(kafka.Brokers, ","),
		"no-example": true, "services": map[string]any{"url-api": stream, "analytics-consumer": stream}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "up.yaml")
	MustWrite(t, file, string(content))
	r := start(t, t.TempDir(), "--config", file)
	code := r.create("")
	db, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(context.Background()) }()
	execute := func(statement string) {
		t.Helper()
		if _, err := db.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	var link int64
	if err := db.QueryRow(t.Context(), `SELECT id FROM links WHERE code = $1`, code).Scan(&link); err != nil {
		t.Fatal(err)
	}
	dlq := func(args ...string) []string { return append(append([]string{"dlq"}, args...), "--data", r.data) }
	list := func(want int, args ...string) []letter {
		t.Helper()
		var got struct {
			Letters []letter
			Count   int
		}
		eventually(t, fmt.Sprintf("%d dead letters", want), func() error {
			wantJSON(t, &got, dlq(append([]string{"list"}, args...)...)...)
			if got.Count != want {
				return fmt.Errorf("there are %+v", got)
			}
			return nil
		})
		return got.Letters
	}
	list(0)

	at := time.Now().UTC()
	good := click.Click{ID: click.NewID(at), LinkID: link, Code: code, Time: at, Language: "xx", UserAgent: browser}
	newer := strings.Replace(string(good.AppendJSON(nil)), `"v":1`, `"v":2`, 1)
	execute(`ALTER TABLE clicks ADD CONSTRAINT poison CHECK (language <> 'xx')`)
	client, err := kgo.NewClient(kgo.SeedBrokers(kafka.Brokers...), kgo.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, value := range []string{"{torn\x1b", newer, string(good.AppendJSON(nil))} {
		record := &kgo.Record{Value: []byte(value), Headers: []kgo.RecordHeader{{Key: "from", Value: []byte("elsewhere")}}}
		if err := client.ProduceSync(t.Context(), record).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	list(3)
	table := want(t, 0, dlq("list", "--limit", "1")...)
	if lines := strings.Split(strings.TrimSpace(table.stdout), "\n"); len(lines) != 2 || !strings.HasPrefix(lines[0], "LETTER ") || strings.Contains(table.stdout, "\x1b") {
		t.Errorf("the table is\n%q", table.stdout)
	}
	if !strings.Contains(table.stderr, "there are 2 more") {
		t.Errorf("nothing says that there are more: %s", table.stderr)
	}
	for reason, part := range map[string]string{
		"undecodable": "not the JSON of a click", "newer_version": "version 2 is newer than 1", "refused": "violates check constraint",
	} {
		l := list(1, "--reason", reason)[0]
		if !strings.HasPrefix(l.Reason, reason+": ") || !strings.Contains(l.Reason, part) || l.Origin == nil || l.Value == "" || l.Bytes == 0 || l.Cut {
			t.Errorf("%s: %+v", reason, l)
		}
	}

	t.Run("ErrUsage", func(t *testing.T) {
		for _, args := range [][]string{
			{"retry"}, {"retry", "0:1", "--all"}, {"retry", "--all", "--reason", "refused"}, {"retry", "first"}, {"drop", "--all"},
			{"list", "--limit", "0"}, {"list", "--limit", "3", "--all"}, {"list", "--topic", "x"}, {"list", "--config", "no-such.yaml"},
			{"list", "--config", file, "--kafka", "localhost:1"}, {"list", "--kafka", "localhost"}, {"list", "more"},
		} {
			want(t, 2, dlq(args...)...)
		}
		want(t, 2, "dlq", "list", "--data", t.TempDir())
		want(t, 2, "dlq", "list", "--config", filepath.Join(r.data, "etc", "analytics-rpc.yaml"))
		list(3)
	})
	t.Run("ErrNotFound", func(t *testing.T) {
		want(t, 3, dlq("retry", "0:100000")...)
		want(t, 3, dlq("drop", "7:0", "--yes")...)
		if got := want(t, 3, "dlq", "list", "--kafka", kafka.Brokers[0], "--topic", topic+"-no"); !strings.Contains(got.stderr, "linktrail migrate") {
			t.Error(got.stderr)
		}
	})
	t.Run("ErrAway", func(t *testing.T) {
		want(t, 5, "dlq", "list", "--kafka", testenv.FreeAddr(t))
	})
	t.Run("OKMended", func(t *testing.T) {
		l := list(1, "--reason", "refused")[0]
		execute(`ALTER TABLE clicks DROP CONSTRAINT poison`)
		if got := want(t, 0, dlq("retry", l.place())...); got.stdout != "retried 1 dead letters\n" {
			t.Errorf("it printed %q", got.stdout)
		}
		r.wantClicks(code, 1)
		list(0, "--reason", "refused")
		want(t, 3, dlq("retry", l.place())...)
	})
	t.Run("OKNotMended", func(t *testing.T) {
		before := list(1, "--reason", "newer_version")[0]
		want(t, 0, dlq("retry", "--reason", "newer_version")...)
		after := list(1, "--reason", "newer_version")[0]
		if after.place() == before.place() || after.Value != before.Value || *after.Origin == *before.Origin {
			t.Errorf("it was %+v and is %+v", before, after)
		}
	})
	t.Run("OKDrop", func(t *testing.T) {
		if got := want(t, 2, dlq("drop", "--all")...); !strings.Contains(got.stderr, "2 dead letters") {
			t.Error(got.stderr)
		}
		list(2)
		var done struct{ Dropped int }
		wantJSON(t, &done, dlq("drop", "--reason", "undecodable", "--yes")...)
		if done.Dropped != 1 {
			t.Errorf("%d dropped", done.Dropped)
		}
		list(1)
		want(t, 0, dlq("drop", "--all", "--yes")...)
		list(0)
		want(t, 0, dlq("drop", "--all")...) // nothing to confirm
	})
	r.wantClicks(code, 1)
}
