package main

import (
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	franz "github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/clickstream/journal"
	"github.com/linktrail/linktrail/internal/tracequery"
)

// leftJournal makes a journal as a url-api leaves it that could not send, and returns its folder and its clicks.
func leftJournal(t *testing.T, clicks int) (dir string, ids map[uuid.UUID]trace.SpanContext) {
	t.Helper()
	dir, ids = filepath.Join(t.TempDir(), "journal"), make(map[uuid.UUID]trace.SpanContext)
	j, err := journal.Open(journal.Config{Dir: dir, SegmentBytes: 64 << 10, MaxBytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	for n := range clicks {
		now := time.Now().UTC()
		var sc trace.SpanContextConfig
		_, _ = rand.Read(sc.TraceID[:])
		_, _ = rand.Read(sc.SpanID[:])
		sc.TraceFlags = trace.TraceFlags(n % 2)
		parent := trace.NewSpanContext(sc)
		c := click.Click{ID: click.NewID(now), LinkID: 1, Code: "aZ3x9Qk", Time: now, UserAgent: browser, TraceID: sc.TraceID, SpanID: sc.SpanID}
		if err := j.Append(&journal.Record{ID: c.ID, Appended: now, Parent: parent, Value: c.AppendJSON(nil)}); err != nil {
			t.Fatal(err)
		}
		ids[c.ID] = parent
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, ids
}

type journalState struct {
	Open     bool
	Waiting  int
	Damaged  int
	Segments []struct {
		File   string
		Damage []struct{ What string }
	}
	Records []struct {
		ID    string
		Click struct{ Code string }
	}
}

func TestJournalInspect(t *testing.T) {
	dir, ids := leftJournal(t, 500)
	var state journalState
	wantJSON(t, &state, "journal", "inspect", dir, "--records", "-1")
	if state.Open || state.Waiting != 500 || state.Damaged != 0 || len(state.Records) != 500 || len(state.Segments) < 2 {
		t.Fatalf("%+v", state)
	}
	for _, r := range state.Records {
		if _, ok := ids[uuid.MustParse(r.ID)]; !ok || r.Click.Code != "aZ3x9Qk" {
			t.Fatalf("%+v", r)
		}
	}
	drawn := want(t, 0, "journal", "inspect", dir).stdout
	for _, piece := range []string{"open by            nobody", "clicks that wait   500", "aZ3x9Qk", "and 490 more"} {
		if !strings.Contains(drawn, piece) {
			t.Errorf("it does not say %q:\n%s", piece, drawn)
		}
	}

	// One that a process has open is shown, and not sent.
	j, err := journal.Open(journal.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	wantJSON(t, &state, "journal", "inspect", dir)
	if !state.Open || state.Waiting != 500 {
		t.Errorf("%+v", state)
	}
	if got := want(t, 6, "journal", "ship", dir, "--kafka", "127.0.0.1:1").stderr; !strings.Contains(got, "another process has this journal open") {
		t.Errorf("%s", got)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}

	// Damage is told, and what it is.
	file, err := os.OpenFile(state.Segments[0].File, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt([]byte("oops"), 200); err != nil {
		t.Fatal(err)
	}
	_ = file.Close()
	got := want(t, 1, "journal", "inspect", dir)
	if !strings.Contains(got.stdout, "no record with a right checksum") || !strings.Contains(got.stderr, "the journal is damaged in 1 places") {
		t.Errorf("%s%s", got.stdout, got.stderr)
	}

	if got := want(t, 2, "journal", "inspect", t.TempDir()).stderr; !strings.Contains(got, "is no folder of a journal") {
		t.Errorf("%s", got)
	}
}

type shipResult struct{ Found, Sent, Refused, Left, Damaged int }

func TestJournalShip(t *testing.T) {
	brokers := strings.Join(testenv.Kafka(t).Brokers, ",")
	topic := "ship-" + strings.ToLower(rand.Text()[:10])
	want(t, 0, "migrate", "--store", "sqlite:"+filepath.Join(t.TempDir(), "l.db"), "--kafka", brokers, "--topic", topic)

	t.Run("Err nowhere", func(t *testing.T) {
		dir, _ := leftJournal(t, 1)
		want(t, 2, "journal", "ship", dir)
		want(t, 2, "journal", "ship", t.TempDir(), "--kafka", brokers)
		want(t, 2, "journal", "ship", dir, "--kafka", brokers, "--timeout", "-1s")
	})

	t.Run("Err nobody answers", func(t *testing.T) {
		dir, _ := leftJournal(t, 3)
		want(t, 5, "journal", "ship", dir, "--kafka", testenv.FreeAddr(t))
		var state journalState
		if wantJSON(t, &state, "journal", "inspect", dir); state.Waiting != 3 {
			t.Errorf("%d of 3 wait", state.Waiting)
		}
	})

	t.Run("Err not in time", func(t *testing.T) {
		dir, _ := leftJournal(t, 3)
		got := linktrail(t, "journal", "ship", dir, "--kafka", brokers, "--topic", topic+"-not-there", "--timeout", "2s")
		if got.code != 5 || !strings.Contains(got.stderr, "after 2s 0 of 3 clicks are sent") {
			t.Errorf("exit code %d: %s", got.code, got.stderr)
		}
		var state journalState
		if wantJSON(t, &state, "journal", "inspect", dir); state.Waiting != 3 {
			t.Errorf("%d of 3 wait", state.Waiting)
		}
	})

	t.Run("OK all of it, with its spans", func(t *testing.T) {
		dir, ids := leftJournal(t, 2000)
		spans := filepath.Join(t.TempDir(), "spans")
		config := filepath.Join(t.TempDir(), "url-api.yaml")
		MustWrite(t, config, "ClickStream:\n  Driver: kq\n  Brokers: ["+brokers+"]\n  Topic: "+topic+
			"\nTelemetry:\n  Name: url-api\n  Batcher: file\n  Endpoint: "+filepath.Join(spans, "url-api.jsonl")+"\n  Sampler: 1.0\n")
		if err := os.Mkdir(spans, 0o700); err != nil {
			t.Fatal(err)
		}
		var result shipResult
		wantJSON(t, &result, "journal", "ship", dir, "--config", config)
		if result != (shipResult{Found: 2000, Sent: 2000}) {
			t.Errorf("%+v", result)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*.journal*")); len(left) != 0 {
			t.Errorf("%v is left", left)
		}
		client, err := franz.NewClient(franz.SeedBrokers(testenv.Kafka(t).Brokers...), franz.ConsumeTopics(topic),
			franz.ConsumeResetOffset(franz.NewOffset().AtStart()))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		for len(ids) > 0 {
			fetches := client.PollFetches(t.Context())
			if err := fetches.Err(); err != nil {
				t.Fatal(err)
			}
			fetches.EachRecord(func(r *franz.Record) {
				var c struct {
					ID uuid.UUID `json:"id"`
				}
				if err := json.Unmarshal(r.Value, &c); err != nil {
					t.Fatal(err)
				}
				parent, ok := ids[c.ID]
				if !ok {
					t.Fatalf("click %s came twice, or is none of the journal's", c.ID)
				}
				delete(ids, c.ID)
				for _, h := range r.Headers {
					if h.Key == "traceparent" && !strings.Contains(string(h.Value), parent.TraceID().String()) {
						t.Errorf("%s is sent in the trace %s, want %s", c.ID, h.Value, parent.TraceID())
					}
				}
				if parent.IsSampled() && len(ids)%200 == 0 {
					got, err := tracequery.Files(spans).Trace(t.Context(), parent.TraceID().String())
					if err != nil || len(got.Spans) != 1 || got.Spans[0].Name != "send "+topic {
						t.Errorf("the trace of %s: %+v, %v", c.ID, got, err)
					}
				}
			})
		}
		// Nothing is left to do.
		if wantJSON(t, &result, "journal", "ship", dir, "--config", config); result.Found != 0 {
			t.Errorf("%+v", result)
		}
	})
}
