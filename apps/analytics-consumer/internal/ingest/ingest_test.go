package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/apps/analytics-consumer/internal/ingest"
	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/store"
	"github.com/linktrail/linktrail/internal/store/dbtrace"
)

const (
	firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"
	group   = "analytics-consumer"
)

var clickTime = time.Date(2026, 5, 1, 12, 30, 0, 0, time.UTC)

func TestHandle(t *testing.T) {
	t.Run("OKWritesClicksAndRollups", func(t *testing.T) {
		r := newRig(t)
		batch := r.records(3, false)
		batch = append(batch, r.record(false, func(c *click.Click) { c.UserAgent = "curl/8.14.1" }))
		r.mustHandle(batch)
		r.wantStats(3, 1)
		r.wantCount("linktrail_clicks_written_total", 4)
		r.wantCount("linktrail_clicks_duplicate_total", 0)
		if spans := r.spans.Ended(); len(spans) != 0 {
			t.Errorf("%d spans for clicks that were not sampled", len(spans))
		}
	})
	t.Run("OKDeliveredAgain", func(t *testing.T) {
		r := newRig(t)
		batch := r.records(5, false)
		r.mustHandle(batch[:3])
		r.restart()
		r.mustHandle(batch)
		r.mustHandle(append(batch[2:4:4], batch[2]))
		r.wantStats(5, 0)
		r.wantCount("linktrail_clicks_written_total", 2)
		r.wantCount("linktrail_clicks_duplicate_total", 6)
	})
	t.Run("OKNothing", func(t *testing.T) {
		newRig(t).mustHandle(nil)
	})
	t.Run("OKUndecodableBecomesDeadLetter", func(t *testing.T) {
		r := newRig(t)
		bad := clickstream.Record{Value: []byte("{torn"), Topic: clickstream.DefaultTopic, Partition: 3, Offset: 7}
		r.mustHandle(append(r.records(2, false), bad))
		r.wantStats(2, 0)
		r.wantLetters(map[string]string{"{torn": "undecodable: click: not the JSON of a click"})
		r.wantDead("undecodable", 1)
	})
	t.Run("OKNewerVersionBecomesDeadLetter", func(t *testing.T) {
		r := newRig(t)
		newer := r.record(false)
		newer.Value = []byte(strings.Replace(string(newer.Value), `"v":1`, `"v":2`, 1))
		r.mustHandle(append(r.records(2, false), newer))
		r.wantStats(2, 0)
		r.wantLetters(map[string]string{string(newer.Value): "newer_version: click: version 2 is newer than 1, the newest that this linktrail reads"})
		r.wantDead("newer_version", 1)
		r.wantDead("undecodable", 0)
	})
	t.Run("OKAllUndecodable", func(t *testing.T) {
		r := newRig(t)
		r.mustHandle([]clickstream.Record{{Value: []byte("a")}, {Value: []byte("b")}})
		r.wantDead("undecodable", 2)
	})
	t.Run("OKRefusedBecomesDeadLetter", func(t *testing.T) {
		r := newRig(t)
		batch := r.records(9, false)
		r.store.refuse[idOf(t, batch[4])] = sqlError("22P05")
		r.store.refuse[idOf(t, batch[8])] = sqliteError(275)
		r.mustHandle(batch)
		r.wantStats(7, 0)
		r.wantLetters(map[string]string{string(batch[4].Value): "refused: store: sql 22P05", string(batch[8].Value): "refused: store: sqlite 275"})
		r.wantDead("refused", 2)
		r.wantCount("linktrail_clicks_written_total", 7)
	})
	t.Run("ErrStoreAway", func(t *testing.T) {
		for _, away := range []error{errors.New("connection refused"), sqlError("57P01"), sqlError("53300"), sqliteError(5)} {
			r := newRig(t)
			batch := r.records(2, false)
			r.store.away = away
			if err := r.ingester.Handle(t.Context(), batch); !errors.Is(err, away) {
				t.Fatalf("got %v, want %v", err, away)
			}
			r.wantLetters(nil)
			r.wantStats(0, 0)
			r.store.away = nil
			r.mustHandle(batch)
			r.wantStats(2, 0)
			r.wantCount("linktrail_clicks_written_total", 2)
		}
	})
	t.Run("ErrStoreHangs", func(t *testing.T) {
		r := newRig(t)
		i := ingest.New(ingest.Config{Store: mute{}, DeadLetters: r.dead, Group: group, WriteTimeout: 10 * time.Millisecond})
		if err := i.Handle(t.Context(), r.records(2, false)); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v, want the end of the attempt's time", err)
		}
		r.wantLetters(nil)
	})
	t.Run("ErrDeadLettersAway", func(t *testing.T) {
		r := newRig(t)
		batch := append(r.records(2, false), clickstream.Record{Value: []byte("x")})
		r.dead.away = errors.New("no broker")
		if err := r.ingester.Handle(t.Context(), batch); !errors.Is(err, r.dead.away) {
			t.Fatalf("got %v", err)
		}
		r.wantDead("undecodable", 0)
		r.dead.away = nil
		r.mustHandle(batch)
		r.wantStats(2, 0)
		r.wantDead("undecodable", 1)
	})
	t.Run("ErrStoppedIsNoRefusal", func(t *testing.T) {
		r := newRig(t)
		batch := r.records(2, false)
		r.store.refuse[idOf(t, batch[0])] = sqlError("22000")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.ingester.Handle(ctx, batch); err == nil {
			t.Fatal("no error though the batch had to be let go of")
		}
		r.wantLetters(nil)
	})
}

// rig is an Ingester on a SQLite store with a link, and all that is seen of it.
type rig struct {
	t        *testing.T
	store    *faultyStore
	link     link.Link
	dead     *deadLetters
	spans    *tracetest.SpanRecorder
	registry *prometheus.Registry
	ingester *ingest.Ingester
	offset   int64
}

func newRig(t *testing.T) *rig {
	t.Helper()
	cfg := store.Config{DSN: "sqlite:" + filepath.Join(t.TempDir(), "linktrail.db")}
	if err := store.Migrate(t.Context(), cfg, nil); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	l, err := s.CreateLink(t.Context(), link.Link{Code: "abcdefg", URL: "https://example.com/", RedirectStatus: 302})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, store: &faultyStore{Store: s, refuse: map[uuid.UUID]error{}}, link: l, dead: &deadLetters{}}
	r.restart()
	return r
}

// restart begins anew with the store as it is, as another process would.
func (r *rig) restart() {
	r.spans, r.registry = tracetest.NewSpanRecorder(), prometheus.NewRegistry()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r.spans))
	r.t.Cleanup(func() {
		if err := provider.Shutdown(context.Background()); err != nil {
			r.t.Error(err)
		}
	})
	r.ingester = ingest.New(ingest.Config{
		Store: r.store, DeadLetters: r.dead, Group: group, Registerer: r.registry, TracerProvider: provider,
	})
}

// record makes the record of a new click. A sampled one has a producer span in the click's trace.
func (r *rig) record(sampled bool, change ...func(*click.Click)) clickstream.Record {
	r.t.Helper()
	r.offset++
	at := clickTime.Add(time.Duration(r.offset) * time.Second)
	traceID := trace.TraceID{1, 15: byte(r.offset), 14: byte(r.offset >> 8)}
	flags := trace.FlagsSampled.WithSampled(sampled)
	c := click.Click{
		ID: click.NewID(at), LinkID: r.link.ID, Code: r.link.Code, Time: at, UserAgent: firefox,
		TraceID: traceID, SpanID: trace.SpanID{1}, Sampled: sampled,
	}
	for _, f := range change {
		f(&c)
	}
	return clickstream.Record{
		Value: c.AppendJSON(nil),
		Producer: trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: traceID, SpanID: trace.SpanID{2, 7: byte(r.offset), 6: byte(r.offset >> 8)}, TraceFlags: flags, Remote: true}),
		Topic: clickstream.DefaultTopic, Partition: 5, Offset: r.offset,
	}
}

func (r *rig) records(n int, sampled bool) []clickstream.Record {
	var batch []clickstream.Record
	for range n {
		batch = append(batch, r.record(sampled))
	}
	return batch
}

func (r *rig) mustHandle(batch []clickstream.Record) {
	r.t.Helper()
	if err := r.ingester.Handle(r.t.Context(), batch); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) wantStats(clicks, bots int64) {
	r.t.Helper()
	q, err := click.StatsQuery{LinkID: r.link.ID, From: clickTime.Add(-time.Hour), To: clickTime.Add(24 * time.Hour)}.Check()
	if err != nil {
		r.t.Fatal(err)
	}
	stats, err := r.store.ClickStats(r.t.Context(), q)
	if err != nil {
		r.t.Fatal(err)
	}
	if stats.Clicks != clicks || stats.Bots != bots {
		r.t.Fatalf("the rollups count %d clicks and %d bots, want %d and %d", stats.Clicks, stats.Bots, clicks, bots)
	}
	rows, err := r.store.LatestClicks(r.t.Context(), r.link.ID, uuid.UUID{}, click.MaxLatest)
	if err != nil {
		r.t.Fatal(err)
	}
	if int64(len(rows)) != clicks+bots {
		r.t.Fatalf("%d rows, want %d", len(rows), clicks+bots)
	}
}

func (r *rig) wantLetters(want map[string]string) {
	r.t.Helper()
	got := make(map[string]string)
	for value, reason := range r.dead.letters {
		if prefix := want[value]; prefix != "" && strings.HasPrefix(reason, prefix) {
			reason = prefix
		}
		got[value] = reason
	}
	if want == nil {
		want = map[string]string{}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		r.t.Fatalf("dead letters: -want +got\n%s", diff)
	}
}

// wantCount wants a counter, or with a reason the dead letters of that reason, to be at want.
func (r *rig) wantCount(name string, want int, reason ...string) {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() != name || len(reason) > 0 && m.GetLabel()[0].GetValue() != reason[0] {
				continue
			}
			if got := int(m.GetCounter().GetValue()); got != want {
				r.t.Errorf("%s %v is %d, want %d", name, reason, got, want)
			}
			return
		}
	}
	r.t.Errorf("there is no %s %v", name, reason)
}

func (r *rig) wantDead(reason string, want int) {
	r.t.Helper()
	r.wantCount("linktrail_clicks_dead_letter_total", want, reason)
}

// faultyStore is a store that can be away and can refuse single clicks.
type faultyStore struct {
	store.Store
	away   error
	refuse map[uuid.UUID]error
}

func (s *faultyStore) WriteClicks(ctx context.Context, batch []click.Click) (int, error) {
	if s.away != nil {
		return 0, fmt.Errorf("store: %w", s.away)
	}
	for _, c := range batch {
		if err := s.refuse[c.ID]; err != nil {
			return 0, fmt.Errorf("store: %w", err)
		}
	}
	return s.Store.WriteClicks(ctx, batch)
}

func (s *faultyStore) Database() dbtrace.Database {
	return dbtrace.Database{System: "postgresql", Namespace: "linktrail", Address: "db.example", Port: 5432}
}

// mute is a store that never answers.
type mute struct{}

func (mute) WriteClicks(ctx context.Context, _ []click.Click) (int, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

func (mute) Database() dbtrace.Database { return dbtrace.Database{System: "postgresql"} }

type deadLetters struct {
	mu      sync.Mutex
	away    error
	letters map[string]string
}

func (d *deadLetters) Send(_ context.Context, r clickstream.Record, reason string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.away != nil {
		return d.away
	}
	if d.letters == nil {
		d.letters = make(map[string]string)
	}
	d.letters[string(r.Value)] = reason
	return nil
}

type sqlError string

func (e sqlError) Error() string    { return "sql " + string(e) }
func (e sqlError) SQLState() string { return string(e) }

type sqliteError int

func (e sqliteError) Error() string { return fmt.Sprintf("sqlite %d", int(e)) }
func (e sqliteError) Code() int     { return int(e) }

func idOf(t *testing.T, r clickstream.Record) uuid.UUID {
	t.Helper()
	c, err := click.Decode(r.Value)
	if err != nil {
		t.Fatal(err)
	}
	return c.ID
}
