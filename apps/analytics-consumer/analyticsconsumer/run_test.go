package analyticsconsumer_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/linktrail/linktrail/apps/analytics-consumer/analyticsconsumer"
	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/driver"
	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/store"
	"github.com/linktrail/linktrail/internal/tracequery"
)

// stopDeadline is far beyond Drain because of kq: kafka-go's readers, when a rebalance is under way, wait for its end
// before they leave their group, which is up to 30 s.
const stopDeadline = time.Minute

const firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"

func TestRun(t *testing.T) {
	w := newWorld(t)
	stop := w.start()
	w.mustProduce(w.newClick().AppendJSON(nil), []byte("{torn"))
	const traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	traced := &kgo.Record{Topic: w.topic, Value: w.newClick().AppendJSON(nil),
		Headers: []kgo.RecordHeader{{Key: "traceparent", Value: []byte("00-" + traceID + "-00f067aa0ba902b7-01")}}}
	if err := w.kafka.ProduceSync(t.Context(), traced).FirstErr(); err != nil {
		t.Fatal(err)
	}
	w.wantClicks(func(n int64) bool { return n == 2 })
	if letter := w.mustLetter(); string(letter.Value) != "{torn" {
		t.Errorf("the dead letter is %q", letter.Value)
	}
	stop()
	w.wantSpans(traceID, "process "+w.topic, "INSERT clicks")

	// While it is away clicks wait; nothing is written twice.
	again := w.newClick().AppendJSON(nil)
	w.mustProduce(again)
	stop = w.start()
	w.mustProduce(again, w.newClick().AppendJSON(nil))
	w.wantClicks(func(n int64) bool { return n == 4 })
	metrics := w.get("/metrics")
	for _, want := range []string{"linktrail_clicks_written_total 2", "linktrail_clicks_duplicate_total 1"} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("no %q among the metrics", want)
		}
	}
	stop()
}

// TestRunOnServers stops the service again and again while clicks come, on real servers and with either driver.
func TestRunOnServers(t *testing.T) {
	for _, name := range []string{clickstream.DriverKgo, clickstream.DriverKq} {
		t.Run(name, func(t *testing.T) {
			c := clickstream.Config{
				Driver: name, Brokers: testenv.Kafka(t).Brokers, Topic: fmt.Sprintf("consumer-%s-%d", name, time.Now().UnixNano()),
			}.WithDefaults()
			if err := driver.MakeTopics(t.Context(), c, 3, 1); err != nil {
				t.Fatal(err)
			}
			w := newWorldOn(t, testenv.Postgres(t), c)
			c.Driver = clickstream.DriverKgo // kq asks for no acknowledgement, so it could lose some here
			publisher, err := driver.Publisher(c, driver.Options{})
			if err != nil {
				t.Fatal(err)
			}
			const rounds, each = 3, 1000
			for round := range int64(rounds) {
				stop := w.start()
				for range each {
					publisher.Publish(t.Context(), *w.newClick())
				}
				w.wantClicks(func(n int64) bool { return n > round*each })
				stop()
			}
			closing, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if err := publisher.Close(closing); err != nil {
				t.Fatal(err)
			}
			stop := w.start()
			defer stop()
			w.wantClicks(func(n int64) bool { return n == rounds*each })
		})
	}
}

// TestStoreAway takes the way to PostgreSQL from the service for longer than a silent member may stay in its group.
func TestStoreAway(t *testing.T) {
	c := clickstream.Config{Brokers: testenv.Kafka(t).Brokers, Topic: fmt.Sprintf("consumer-away-%d", time.Now().UnixNano())}.WithDefaults()
	if err := driver.MakeTopics(t.Context(), c, 3, 1); err != nil {
		t.Fatal(err)
	}
	dsn, err := url.Parse(testenv.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	gate := newGate(t, dsn.Host)
	w := newWorldOn(t, dsn.String(), c)
	dsn.Host = gate.addr
	w.setDSN(dsn.String())
	stop := w.start()
	defer stop()
	publish := func(n int) {
		for range n {
			w.mustProduce(w.newClick().AppendJSON(nil))
		}
	}
	publish(10)
	w.wantClicks(func(n int64) bool { return n == 10 })

	gate.shut()
	publish(10)
	wantMetrics := func(want ...string) {
		t.Helper()
		w.poll("metrics", func() error {
			got := w.get("/metrics")
			for _, line := range want {
				if !strings.Contains(got, line+"\n") {
					return fmt.Errorf("no %q among them", line)
				}
			}
			return nil
		})
	}
	wantMetrics("linktrail_consumer_stalled 1", "linktrail_clicks_consumer_lag 10")
	const session = 45 * time.Second // of a kgo consumer
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for start := time.Now(); time.Since(start) < session+5*time.Second; <-tick.C {
		if body := w.get("/readyz"); !strings.Contains(body, `"ready":true`) {
			t.Fatalf("not ready after %v: %s", time.Since(start), body)
		}
	}
	wantMetrics("linktrail_consumer_stalled 1", "linktrail_clicks_commit_failures_total 0")
	gate.open(t)
	w.wantClicks(func(n int64) bool { return n == 20 })
	wantMetrics("linktrail_consumer_stalled 0", "linktrail_consumer_stalled_seconds 0", "linktrail_clicks_consumer_lag 0",
		"linktrail_clicks_written_total 20", "linktrail_clicks_duplicate_total 0")
}

// gate is a way to a server that can be shut: then connections end, and new ones are refused.
type gate struct {
	addr, server string

	mu       sync.Mutex
	listener net.Listener
	conns    []net.Conn
}

func newGate(t *testing.T, server string) *gate {
	t.Helper()
	g := &gate{addr: testenv.FreeAddr(t), server: server}
	g.open(t)
	t.Cleanup(func() {
		if g.listener != nil {
			g.shut()
		}
	})
	return g
}

func (g *gate) open(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	g.mu.Lock()
	g.listener = listener
	g.mu.Unlock()
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", g.server)
			if err != nil {
				_ = in.Close()
				continue
			}
			g.mu.Lock()
			if g.listener != listener { // shut meanwhile
				_, _ = in.Close(), out.Close()
			}
			g.conns = append(g.conns, in, out)
			g.mu.Unlock()
			pass := func(dst, src net.Conn) {
				_, _ = io.Copy(dst, src)
				_, _ = dst.Close(), src.Close()
			}
			go pass(in, out)
			go pass(out, in)
		}
	}()
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	_ = g.listener.Close()
	g.listener = nil
	for _, c := range g.conns {
		_ = c.Close()
	}
	g.conns = nil
}

func TestRunErr(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	for name, tt := range map[string]struct{ old, new, want string }{
		"Batcher":     {"Batcher: file", "Batcher: jaeger", `Telemetry.Batcher: "jaeger"`},
		"Driver":      {"Driver: kgo", "Driver: rabbit", `value "rabbit" is not defined in options "[kgo kq]"`},
		"Brokers":     {"Brokers:", "Brokers: []\n  Ignored:", "ClickStream.Brokers"},
		"Drain":       {"Drain: 5s", "Drain: -5s", "Drain: -5s is not a positive duration"},
		"Store":       {"DSN: sqlite:", "DSN: mysql:", `scheme "mysql" is not one of postgres, postgresql, sqlite`},
		"NotMigrated": {"DSN: sqlite:", "DSN: sqlite:no", "linktrail migrate"},
		"TakenPort":   {"Addr: ", "Addr: " + taken.Addr().String() + " # ", "Ops.Addr: cannot listen on"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			config, err := os.ReadFile(w.config)
			if err != nil {
				t.Fatal(err)
			}
			changed := strings.Replace(string(config), tt.old, tt.new, 1)
			if changed == string(config) {
				t.Fatalf("no %q in the configuration", tt.old)
			}
			if err := os.WriteFile(w.config, []byte(changed), 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			err = analyticsconsumer.Run(ctx, w.config)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// world is what the service works with: a Kafka, a store with a link, a configuration.
type world struct {
	t      *testing.T
	store  store.Store
	link   link.Link
	kafka  *kgo.Client
	topic  string
	config string
	ops    string
	spans  string
}

// newWorld is a world within this process: kfake and SQLite.
func newWorld(t *testing.T) *world {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1),
		kfake.SeedTopics(2, clickstream.DefaultTopic, clickstream.DefaultTopic+clickstream.DeadLetterSuffix))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "linktrail.db")
	return newWorldOn(t, dsn, clickstream.Config{Driver: clickstream.DriverKgo, Brokers: cluster.ListenAddrs()})
}

func newWorldOn(t *testing.T, dsn string, c clickstream.Config) *world {
	t.Helper()
	c = c.WithDefaults()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers...), kgo.ConsumeTopics(c.Topic+clickstream.DeadLetterSuffix))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	cfg := store.Config{DSN: dsn}
	if err := store.Migrate(t.Context(), cfg, nil); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	l, err := s.CreateLink(t.Context(), link.Link{Code: "abcdefg", URL: "https://example.com/", RedirectStatus: 302})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, store: s, link: l, kafka: client, topic: c.Topic, ops: testenv.FreeAddr(t),
		config: filepath.Join(t.TempDir(), "analytics-consumer.yaml"), spans: filepath.Join(t.TempDir(), "analytics-consumer.jsonl")}
	config := fmt.Sprintf(`Name: analytics-consumer
Log:
  Level: error
  Stat: false
Store:
  DSN: %s
ClickStream:
  Driver: %s
  Topic: %s
  Group: %s
  MaxBatch: 500
  Conns: 3
  Brokers:
    - %s
Drain: 5s
Telemetry:
  Sampler: 1
  Batcher: file
  Endpoint: %s
Ops:
  Addr: %s
`, dsn, c.Driver, c.Topic, c.Topic, strings.Join(c.Brokers, "\n    - "), w.spans, w.ops)
	if err := os.WriteFile(w.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

// setDSN has the service, and not the test, reach the store in another way.
func (w *world) setDSN(dsn string) {
	w.t.Helper()
	content, err := os.ReadFile(w.config)
	if err != nil {
		w.t.Fatal(err)
	}
	lines := strings.Split(string(content), "\n")
	for i := range lines {
		if strings.HasPrefix(lines[i], "  DSN: ") {
			lines[i] = "  DSN: " + dsn
		}
	}
	if err := os.WriteFile(w.config, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// start runs the service until it is ready and returns what stops it.
func (w *world) start() (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- analyticsconsumer.Run(ctx, w.config) }()
	w.t.Cleanup(cancel)
	w.poll("ready", func() error {
		select {
		case err := <-ended:
			w.t.Fatalf("it ended: %v", err)
		default:
		}
		resp, err := http.Get("http://" + w.ops + "/readyz")
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", resp.Status, body)
		}
		return nil
	})
	return func() {
		w.t.Helper()
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				w.t.Fatalf("it ended with %v", err)
			}
		case <-time.After(stopDeadline):
			w.t.Fatalf("not stopped after %v", stopDeadline)
		}
	}
}

func (w *world) newClick() *click.Click {
	at := time.Now().UTC()
	return &click.Click{ID: click.NewID(at), LinkID: w.link.ID, Code: w.link.Code, Time: at, UserAgent: firefox}
}

func (w *world) mustProduce(values ...[]byte) {
	w.t.Helper()
	for _, v := range values {
		if err := w.kafka.ProduceSync(w.t.Context(), &kgo.Record{Topic: w.topic, Value: v}).FirstErr(); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) mustLetter() *kgo.Record {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	fetches := w.kafka.PollFetches(ctx)
	if err := fetches.Err(); err != nil || fetches.NumRecords() != 1 {
		w.t.Fatalf("%d dead letters, %v", fetches.NumRecords(), err)
	}
	return fetches.Records()[0]
}

// wantClicks waits until the rollups count as many clicks as enough says.
func (w *world) wantClicks(enough func(int64) bool) {
	w.t.Helper()
	q, err := click.StatsQuery{LinkID: w.link.ID, From: time.Now().Add(-2 * time.Hour), To: time.Now().Add(time.Hour)}.Check()
	if err != nil {
		w.t.Fatal(err)
	}
	w.poll("clicks", func() error {
		stats, err := w.store.ClickStats(w.t.Context(), q)
		if err == nil && !enough(stats.Clicks) {
			err = fmt.Errorf("%d clicks", stats.Clicks)
		}
		return err
	})
}

// wantSpans wants spans of a trace to be in the file as soon as the service has stopped, each below the one before it.
func (w *world) wantSpans(traceID string, names ...string) {
	w.t.Helper()
	found, err := tracequery.Files(filepath.Dir(w.spans)).Trace(w.t.Context(), traceID)
	if err != nil {
		w.t.Fatal(err)
	}
	parent := "00f067aa0ba902b7"
	for _, name := range names {
		i := slices.IndexFunc(found.Spans, func(s tracequery.Span) bool { return s.Name == name && s.Service == "analytics-consumer" })
		if i < 0 {
			w.t.Fatalf("no %s among %v", name, found.Spans)
		}
		if found.Spans[i].ParentID != parent {
			w.t.Errorf("the parent of %s is %s, want %s", name, found.Spans[i].ParentID, parent)
		}
		parent = found.Spans[i].SpanID
	}
	if len(found.Spans) != len(names) {
		w.t.Errorf("%d spans, want %d", len(found.Spans), len(names))
	}
}

func (w *world) get(path string) string {
	w.t.Helper()
	resp, err := http.Get("http://" + w.ops + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(body)
}

// poll waits until check passes.
func (w *world) poll(what string, check func() error) {
	w.t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Fatalf("%s: still %v after 30 s", what, err)
		}
	}
}
