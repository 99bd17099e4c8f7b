package telemetry

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// memory is an exporter that keeps the names of spans.
type memory struct {
	mu    sync.Mutex
	names map[string]int
	block chan struct{} // when set, exports wait for it or for their context
	deaf  bool          // exports wait for block alone
	fail  error
	calls atomic.Int64
	shut  atomic.Bool
}

func newMemory() *memory { return &memory{names: map[string]int{}} }

func (m *memory) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	m.calls.Add(1)
	if m.deaf {
		<-m.block
	} else if m.block != nil {
		select {
		case <-m.block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if m.fail != nil {
		return m.fail
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, span := range spans {
		m.names[span.Name()]++
	}
	return nil
}

func (m *memory) Shutdown(context.Context) error {
	m.shut.Store(true)
	return nil
}

func (m *memory) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.names)
}

// MustProvider makes a provider that exports to inner (nil: nowhere), without
// making it global, and ends it with the test.
func MustProvider(t *testing.T, inner sdktrace.SpanExporter, opts ...Option) *Provider {
	t.Helper()
	p, err := newProvider(Default(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	if inner != nil {
		p.processor.current.Store(p.pipelineTo(inner))
	}
	t.Cleanup(func() { _ = p.Shutdown(expired()) })
	return p
}

// MustGather returns the provider's metrics, by name{label value}.
func MustGather(t *testing.T, p *Provider) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	p.Register(registry)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			name := family.GetName()
			for _, label := range metric.GetLabel() {
				name += "{" + label.GetValue() + "}"
			}
			values[name] = metric.GetGauge().GetValue() + metric.GetCounter().GetValue()
		}
	}
	return values
}

// expired is a context whose time is up.
func expired() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// within is a context with a deadline that ends with the test.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// end makes a span of that name and ends it.
func end(p *Provider, name string) {
	_, span := p.TracerProvider().Tracer("test").Start(context.Background(), name)
	span.End()
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx := within(t, time.Minute)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("did not happen in time: %s", what)
		}
	}
}

func dropped(p *Provider) (n uint64) {
	for i := range p.counts.dropped {
		n += p.counts.dropped[i].Load()
	}
	return n
}

// Spans end on many goroutines while exporters are exchanged as fast as can be:
// each arrives once.
func TestSwapLosesNothing(t *testing.T) {
	const workers, each, swaps = 16, 2000, 60
	p := MustProvider(t, nil, WithQueueLimit(workers*each), WithBatchDelay(5*time.Millisecond))
	exporters := []*memory{newMemory()}
	p.processor.current.Store(p.pipelineTo(exporters[0]))

	var ending, swapping sync.WaitGroup
	half := make(chan struct{}) // closed when the workers are half-way
	var ended atomic.Int64
	for w := range workers {
		ending.Go(func() {
			for i := range each {
				end(p, fmt.Sprintf("%d-%d", w, i))
				if ended.Add(1) == workers*each/2 {
					close(half)
				}
			}
		})
	}
	swapping.Go(func() {
		for i := range swaps {
			next := newMemory()
			exporters = append(exporters, next)
			d, err := p.exchange(inForce{cfg: Default()}, p.pipelineTo(next))
			if err != nil {
				t.Errorf("swap %d: %v", i, err)
				return
			}
			if <-d.done; d.err != nil {
				t.Errorf("swap %d: %v", i, d.err)
			}
			if i == swaps/2 {
				<-half // at least half of the swaps happen under load
			}
		}
	})
	ending.Wait()
	swapping.Wait()
	if err := p.Shutdown(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}

	seen := map[string]int{}
	for _, exporter := range exporters {
		if !exporter.shut.Load() {
			t.Error("an exporter was not shut down")
		}
		for name, n := range exporter.names {
			seen[name] += n
		}
	}
	if len(seen) != workers*each {
		t.Errorf("%d spans arrived, want %d", len(seen), workers*each)
	}
	for name, n := range seen {
		if n != 1 {
			t.Errorf("span %s arrived %d times", name, n)
		}
	}
	if got := p.counts.exported.Load(); got != workers*each || dropped(p) != 0 {
		t.Errorf("counted %d exported and %d dropped, want %d and 0", got, dropped(p), workers*each)
	}
}

// The old collector never answers: requests go on, and what it holds reaches the
// new one.
func TestSwapFromHungCollector(t *testing.T) {
	hung := newMemory()
	hung.block = make(chan struct{})
	p := MustProvider(t, hung, WithBatchDelay(time.Millisecond))
	for i := range 1000 {
		end(p, fmt.Sprint("before-", i))
	}
	eventually(t, "the collector hangs", func() bool { return hung.calls.Load() > 0 })

	next := newMemory()
	old, err := p.exchange(inForce{cfg: Default()}, p.pipelineTo(next))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "spans go to the new exporter while the old one hangs", func() bool {
		end(p, "during")
		next.mu.Lock()
		defer next.mu.Unlock()
		return next.names["during"] > 0
	})
	old.giveUp()
	if <-old.done; !errors.Is(old.err, errUndelivered) {
		t.Errorf("the drain says %v, want that the old exporter did not deliver", old.err)
	}
	if err := p.ForceFlush(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	if got := next.count(); got != 1001 {
		t.Errorf("%d different spans arrived, want the 1000 that were queued and the later one", got)
	}
	if dropped(p) != 0 {
		t.Errorf("%d spans were dropped", dropped(p))
	}
}

func TestSwapRefused(t *testing.T) {
	kept := newMemory()
	p := MustProvider(t, kept)
	wrong := Default()
	wrong.Sampler = 2
	named := Default()
	named.Name = "other"
	for name, tc := range map[string]struct {
		cfg  Config
		want string
	}{
		"ErrValue": {wrong, "Telemetry.Sampler: 2"},
		"ErrName":  {named, `Telemetry.Name: "" cannot become "other" without a restart`},
	} {
		t.Run(name, func(t *testing.T) {
			if err := p.swap(inForce{cfg: tc.cfg}); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
	end(p, "after")
	if err := p.ForceFlush(within(t, time.Minute)); err != nil || kept.count() != 1 {
		t.Errorf("the present exporter got %d spans (%v), want 1: a refused swap changes nothing", kept.count(), err)
	}
	if err := p.Shutdown(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	if err := p.swap(inForce{cfg: Config{Batcher: BatcherFile, Endpoint: filepath.Join(t.TempDir(), "spans.jsonl"), Sampler: 1}}); err == nil {
		t.Error("a swap after Shutdown succeeds")
	}
}

func TestSwapSampler(t *testing.T) {
	out := newMemory()
	p := MustProvider(t, out)
	none := Default()
	none.Sampler = 0
	if err := p.swap(inForce{cfg: none}); err != nil {
		t.Fatal(err)
	}
	end(p, "unsampled")
	parent := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, Remote: true})
	_, span := p.TracerProvider().Tracer("test").Start(trace.ContextWithRemoteSpanContext(context.Background(), parent), "child")
	span.End()
	if err := p.ForceFlush(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	if out.names["unsampled"] != 0 || out.names["child"] != 1 {
		t.Errorf("got %v, want the child of a sampled parent alone", out.names)
	}
}

func TestIgnoreRemoteFlags(t *testing.T) {
	// The ratio takes a trace id by its last eight bytes (TraceIdRatioBased).
	low, high := trace.TraceID{1}, trace.TraceID{15: 255, 8: 255}
	for name, tc := range map[string]struct {
		opts    []Option
		ratio   float64
		id      trace.TraceID
		flags   trace.TraceFlags
		sampled bool
	}{
		"followed, sampled":                     {nil, 0, high, trace.FlagsSampled, true},
		"followed, not sampled":                 {nil, 1, low, 0, false},
		"ignored, sampled":                      {[]Option{IgnoreRemoteFlags()}, 0, high, trace.FlagsSampled, false},
		"ignored, not sampled":                  {[]Option{IgnoreRemoteFlags()}, 1, low, 0, true},
		"ignored, an id that the ratio takes":   {[]Option{IgnoreRemoteFlags()}, 0.5, low, 0, true},
		"ignored, an id that the ratio forgoes": {[]Option{IgnoreRemoteFlags()}, 0.5, high, trace.FlagsSampled, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := MustProvider(t, nil, tc.opts...)
			cfg := Default()
			cfg.Sampler = tc.ratio
			must(t, p.swap(inForce{cfg: cfg}))
			parent := trace.NewSpanContext(trace.SpanContextConfig{TraceID: tc.id, SpanID: trace.SpanID{2}, TraceFlags: tc.flags, Remote: true})
			tracer := p.TracerProvider().Tracer("test")
			ctx, span := tracer.Start(trace.ContextWithRemoteSpanContext(context.Background(), parent), "server")
			_, child := tracer.Start(ctx, "child")
			if got := span.SpanContext(); got.IsSampled() != tc.sampled || got.TraceID() != tc.id {
				t.Errorf("sampled %t in trace %s, want %t in the parent's", got.IsSampled(), got.TraceID(), tc.sampled)
			}
			if child.SpanContext().IsSampled() != tc.sampled {
				t.Error("a child within the process does not follow")
			}
		})
	}
}

func TestDisabledStillMakesIDs(t *testing.T) {
	cfg := Default()
	cfg.Disabled = true
	p, err := newProvider(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Shutdown(context.Background()) }()
	_, span := p.TracerProvider().Tracer("test").Start(context.Background(), "x")
	defer span.End()
	if sc := span.SpanContext(); !sc.IsValid() || sc.IsSampled() {
		t.Errorf("got %+v, want ids and no sampling", sc)
	}
}

// A collector that hangs costs spans beyond the queue's limit, all counted, and no
// request's time.
func TestQueueFull(t *testing.T) {
	const limit, total = 100, 5000
	hung := newMemory()
	hung.block = make(chan struct{})
	p := MustProvider(t, hung, WithQueueLimit(limit), WithBatchDelay(time.Millisecond))

	var ending sync.WaitGroup
	start := time.Now()
	for w := range 10 {
		ending.Go(func() {
			for i := range total / 10 {
				end(p, fmt.Sprint(w, "-", i))
			}
		})
	}
	ending.Wait()
	if took := time.Since(start); took > time.Minute {
		t.Errorf("%d spans took %v with a hung collector", total, took)
	}
	if got := p.counts.dropped[dropQueueFull].Load(); got != total-limit {
		t.Errorf("%d dropped, want %d", got, total-limit)
	}
	metrics := MustGather(t, p)
	for name, want := range map[string]float64{
		"linktrail_telemetry_queue_limit_spans":               limit,
		"linktrail_telemetry_queue_spans":                     limit,
		"linktrail_telemetry_spans_dropped_total{queue_full}": total - limit,
		"linktrail_telemetry_spans_dropped_total{stopped}":    0,
		"linktrail_telemetry_spans_exported_total":            0,
		"linktrail_telemetry_export_failures_total":           0,
	} {
		if got, ok := metrics[name]; !ok || got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}

	close(hung.block)
	if err := p.Shutdown(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	if got := hung.count(); got != limit {
		t.Errorf("%d spans arrived once the collector answered, want the %d that were queued", got, limit)
	}
	if n := p.counts.exported.Load() + dropped(p); n != total {
		t.Errorf("%d spans accounted for, want %d", n, total)
	}
}

func TestExportFails(t *testing.T) {
	refusing := newMemory()
	refusing.fail = errors.New("refused")
	p := MustProvider(t, refusing, WithBatchDelay(time.Hour))
	for i := range 7 {
		end(p, fmt.Sprint(i))
	}
	if err := p.ForceFlush(within(t, time.Minute)); !errors.Is(err, refusing.fail) {
		t.Errorf("ForceFlush says %v, want the collector's refusal", err)
	}
	if got := p.counts.dropped[dropExportFailed].Load(); got != 7 || p.counts.failures.Load() != 1 {
		t.Errorf("counted %d spans in %d batches, want 7 in 1", got, p.counts.failures.Load())
	}
}

func TestShutdownDeadline(t *testing.T) {
	for name, deaf := range map[string]bool{"collector hangs": false, "exporter ignores its context": true} {
		t.Run(name, func(t *testing.T) {
			hung := newMemory()
			hung.block, hung.deaf = make(chan struct{}), deaf
			defer close(hung.block)
			p := MustProvider(t, hung, WithBatchDelay(time.Millisecond))
			for i := range 3000 {
				end(p, fmt.Sprint(i))
			}
			start := time.Now()
			err := p.Shutdown(within(t, 200*time.Millisecond))
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("took %v, want little more than the deadline", took)
			}
			if !errors.Is(err, errUndelivered) {
				t.Errorf("got %v, want that spans were not exported", err)
			}
			if !deaf {
				if got := p.counts.dropped[dropStopped].Load(); got != 3000 {
					t.Errorf("%d counted as lost by the stop, want 3000", got)
				}
			}
		})
	}
}

// An exchange whose old exporter hangs does not keep Shutdown from flushing the
// new one.
func TestShutdownDuringSwap(t *testing.T) {
	hung, next := newMemory(), newMemory()
	hung.block = make(chan struct{})
	p := MustProvider(t, hung, WithBatchDelay(time.Millisecond))
	end(p, "old")
	old, err := p.exchange(inForce{cfg: Default()}, p.pipelineTo(next))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the exchange", func() bool { end(p, "new"); return next.count() > 0 })
	end(p, "last")
	start := time.Now()
	if err := p.Shutdown(within(t, time.Second)); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("took %v", took)
	}
	if <-old.done; !errors.Is(old.err, errUndelivered) {
		t.Errorf("the drain says %v", old.err)
	}
	for _, name := range []string{"old", "new", "last"} {
		if next.names[name] == 0 {
			t.Errorf("span %q is lost", name)
		}
	}
}

func TestAfterShutdown(t *testing.T) {
	out := newMemory()
	p := MustProvider(t, out)
	tracer := p.TracerProvider().Tracer("test")
	_, late := tracer.Start(context.Background(), "late")
	if err := p.Shutdown(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	if err := p.Shutdown(within(t, time.Minute)); err != nil {
		t.Errorf("the second Shutdown: %v", err)
	}
	if err := p.ForceFlush(t.Context()); err != nil {
		t.Errorf("ForceFlush after it: %v", err)
	}
	late.End()
	if !out.shut.Load() {
		t.Error("the exporter was not shut down")
	}
}

func BenchmarkOnEnd(b *testing.B) {
	p, err := newProvider(Default(), WithQueueLimit(1<<20))
	if err != nil {
		b.Fatal(err)
	}
	p.processor.current.Store(p.pipelineTo(newMemory()))
	defer func() { _ = p.Shutdown(expired()) }()
	tracer := p.TracerProvider().Tracer("test")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, span := tracer.Start(context.Background(), "x")
			span.End()
		}
	})
}
