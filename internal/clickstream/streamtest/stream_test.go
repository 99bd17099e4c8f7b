package streamtest

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kadm"
	franz "github.com/twmb/franz-go/pkg/kgo"
	"github.com/zeromicro/go-zero/core/logx"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/driver"
	"github.com/linktrail/linktrail/internal/clickstream/journal"
)

// patience is how long the tests wait for what must happen.
const patience = 90 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv("SHOWLOG") == "" {
		logx.SetLevel(logx.SevereLevel)
	}
	// With a propagator that knows baggage, which the services' does not: none may be sent all the same.
	otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}))
	if file := os.Getenv(childFile); file != "" {
		if dir := os.Getenv(childJournal); dir != "" {
			os.Exit(publishUntilKilled(file, dir))
		}
		os.Exit(consumeUntilKilled(file))
	}
	// These tests wait most of the time, for sessions that end and for brokers that are away.
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// stream is a topic and a group of a test's own.
type stream struct {
	clickstream.Config
	journal  journal.Config // in front of the publisher, where it has a folder
	registry *prometheus.Registry
	spans    *tracetest.SpanRecorder
	provider *sdktrace.TracerProvider
}

// variant is a driver, how it reaches the brokers, and whether a journal is in front of its publisher.
type variant struct {
	driver  string
	secure  bool
	journal bool
}

func (v variant) String() string {
	switch {
	case v.secure:
		return v.driver + " over SASL_SSL"
	case v.journal:
		return v.driver + " behind a journal"
	}
	return v.driver
}

func newStream(t *testing.T, v variant, partitions int) *stream {
	t.Helper()
	server := testenv.Kafka(t)
	s := &stream{
		Config: clickstream.Config{
			Driver:       v.driver,
			Brokers:      server.Brokers,
			Topic:        "streamtest-" + strings.ToLower(rand.Text()),
			Group:        "streamtest-" + strings.ToLower(rand.Text()),
			LingerMillis: 5,
			Conns:        2,
		}.WithDefaults(),
		spans: tracetest.NewSpanRecorder(),
	}
	s.provider = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(s.spans),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.AlwaysSample())))
	if v.secure {
		s.Brokers = server.TLSBrokers
		s.TLS = clickstream.TLS{Enabled: true, CAFile: server.CAFile}
		s.SASL = clickstream.SASL{Mechanism: clickstream.SASLScramSHA512, Username: server.Username, Password: server.Password}
	}
	if v.journal {
		s.journal = smallJournal(t.TempDir())
	}
	MustMakeTopics(t, s.Config, partitions)
	if v.driver == clickstream.DriverKq {
		s.awaitKq(t, partitions)
	}
	return s
}

func MustMakeTopics(t *testing.T, c clickstream.Config, partitions int) {
	t.Helper()
	if err := driver.MakeTopics(t.Context(), c, partitions, 1); err != nil {
		t.Fatal(err)
	}
	client := MustDial(t)
	defer client.Close()
	eventually(t, func() error {
		ends, err := kadm.NewClient(client).ListEndOffsets(t.Context(), c.Topic)
		if err == nil {
			err = ends.Error()
		}
		if err == nil && len(ends[c.Topic]) < partitions {
			err = fmt.Errorf("%d of %d partitions", len(ends[c.Topic]), partitions)
		}
		return err
	})
	t.Cleanup(func() {
		client := MustDial(t)
		defer client.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if _, err := kadm.NewClient(client).DeleteTopics(ctx, c.Topic, c.Topic+clickstream.DeadLetterSuffix); err != nil {
			t.Errorf("delete topics: %v", err)
		}
	})
}

// awaitKq waits until kafka-go, of which a process has one connection pool, knows a topic that was made after the
// process started. Until then kq's pusher loses what it is given.
func (s *stream) awaitKq(t *testing.T, partitions int) {
	t.Helper()
	client := kafka.Client{Addr: kafka.TCP(s.Brokers...)}
	eventually(t, func() error {
		response, err := client.Metadata(t.Context(), &kafka.MetadataRequest{Topics: []string{s.Topic}})
		if err != nil {
			return err
		}
		if len(response.Topics) != 1 || len(response.Topics[0].Partitions) != partitions {
			return errors.New("kafka-go does not know the topic yet")
		}
		return response.Topics[0].Error
	})
}

// MustDial returns a plain client, to look at what the drivers did.
func MustDial(t *testing.T, options ...franz.Opt) *franz.Client {
	t.Helper()
	client, err := franz.NewClient(append([]franz.Opt{franz.SeedBrokers(testenv.Kafka(t).Brokers...)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// with returns the same stream for another driver, which must not need what that one cannot do.
func (s *stream) with(t *testing.T, driverName string) *stream {
	other := *s
	other.Driver = driverName
	if driverName == clickstream.DriverKq {
		other.Brokers, other.TLS, other.SASL = testenv.Kafka(t).Brokers, clickstream.TLS{}, clickstream.SASL{}
	}
	return &other
}

func (s *stream) publisher(t *testing.T) clickstream.Publisher {
	t.Helper()
	s.registry = prometheus.NewRegistry()
	p, err := driver.Publisher(s.Config, driver.Options{Registerer: s.registry, TracerProvider: s.provider, Journal: s.journal})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = p.Close(ctx) // closed already where it matters
	})
	return p
}

// sent is a click and its server span.
type sent struct {
	click  click.Click
	server trace.SpanContext
}

// publish makes n server spans and publishes a click below each, from a context that ends at once.
func (s *stream) publish(t *testing.T, p clickstream.Publisher, n int) map[uuid.UUID]sent {
	t.Helper()
	all := make(map[uuid.UUID]sent)
	for range n {
		ctx, cancel := context.WithCancel(context.Background())
		ctx, span := s.provider.Tracer("door").Start(ctx, "GET /{code}", trace.WithSpanKind(trace.SpanKindServer))
		c := newClick(span.SpanContext())
		p.Publish(ctx, c)
		cancel()
		span.End()
		all[c.ID] = sent{click: c, server: span.SpanContext()}
	}
	return all
}

func newClick(sc trace.SpanContext) click.Click {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return click.Click{
		ID: click.NewID(now), LinkID: 7, Code: "aZ3x9Qk", Time: now,
		Referrer: "https://news.example/", UserAgent: "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", Language: "de",
		Client: netip.MustParsePrefix("203.0.113.0/24"), Country: "DE",
		TraceID: sc.TraceID(), SpanID: sc.SpanID(), Sampled: sc.IsSampled(),
	}
}

func MustClose(t *testing.T, p clickstream.Publisher) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := p.Close(ctx); err != nil {
		t.Fatalf("close: %v", err)
	}
}

// running is a consumer whose Run goes on.
type running struct {
	consumer clickstream.Consumer
	cancel   context.CancelFunc
	ended    chan error
}

func (s *stream) consume(t *testing.T, drain time.Duration, h clickstream.Handler) *running {
	t.Helper()
	s.registry = prometheus.NewRegistry()
	c, err := driver.Consumer(s.Config, drain, driver.Options{Registerer: s.registry})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{consumer: c, cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- c.Run(ctx, h) }()
	t.Cleanup(func() { r.stop(t) })
	return r
}

// stop ends Run and waits for it. It may be called again.
func (r *running) stop(t *testing.T) {
	t.Helper()
	r.cancel()
	select {
	case err := <-r.ended:
		if err != nil {
			t.Errorf("run: %v", err)
		}
		r.ended <- nil
	case <-time.After(patience):
		t.Error("Run does not end")
	}
}

// received counts what handlers were given and took. Safe for concurrent use.
type received struct {
	mu      sync.Mutex
	times   map[uuid.UUID]int
	records map[uuid.UUID]clickstream.Record
	largest int
	odd     []string
}

func newReceived() *received {
	return &received{times: make(map[uuid.UUID]int), records: make(map[uuid.UUID]clickstream.Record)}
}

// take is a clickstream.Handler.
func (r *received) take(_ context.Context, batch []clickstream.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.largest = max(r.largest, len(batch))
	for _, record := range batch {
		c, err := click.Decode(record.Value)
		if err != nil {
			r.odd = append(r.odd, err.Error())
			continue
		}
		r.times[c.ID]++
		r.records[c.ID] = record
	}
	return nil
}

func (r *received) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.times)
}

// want waits until all clicks are there, and checks that there are no others.
func (r *received) want(t *testing.T, all map[uuid.UUID]sent) {
	t.Helper()
	eventually(t, func() error {
		if n := r.count(); n < len(all) {
			return fmt.Errorf("%d of %d clicks have arrived", n, len(all))
		}
		return nil
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range all {
		if r.times[id] == 0 {
			t.Errorf("click %s is lost", id)
		}
	}
	if len(r.times) > len(all) || len(r.odd) > 0 {
		t.Errorf("%d clicks instead of %d, and %q", len(r.times), len(all), r.odd)
	}
}

// eventually waits until f returns nil.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", patience, err)
		}
		<-tick.C
	}
}

// await waits until c is closed or has a value.
func await[T any](t *testing.T, c <-chan T, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("after %v: %s", patience, what)
	}
}

// metric returns a metric's value, that of a label's where one is named.
func (s *stream) metric(t *testing.T, name string, label ...string) float64 {
	t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			if len(label) == 0 || len(m.GetLabel()) == 1 && m.GetLabel()[0].GetValue() == label[0] {
				return value(m)
			}
		}
	}
	t.Fatalf("no metric %s%q", name, label)
	return 0
}

func value(m *dto.Metric) float64 {
	switch {
	case m.Counter != nil:
		return m.Counter.GetValue()
	case m.Gauge != nil:
		return m.Gauge.GetValue()
	default:
		return float64(m.Histogram.GetSampleCount())
	}
}

func (s *stream) wantMetric(t *testing.T, want float64, name string, label ...string) {
	t.Helper()
	if got := s.metric(t, name, label...); got != want {
		t.Errorf("%s%q is %v, want %v", name, label, got, want)
	}
}

// inTopic is how many records the topic holds.
func (s *stream) inTopic(t *testing.T) int64 {
	t.Helper()
	client := MustDial(t)
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(t.Context(), s.Topic)
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return n
}
