// Package telemetry makes a service's spans and brings them out of the process:
// go-zero's `Telemetry:` block on a tracer provider of linktrail's own, whose
// exporter and sampler can be exchanged while the process runs.
//
// A service loads and starts it before anything else, and sets Telemetry.Disabled
// in every configuration it hands to go-zero or kq, whose agent would otherwise
// replace the provider. See docs/adr/0003-own-tracer-provider.md.
//
// A collector that is slow, away or never answers costs spans, which are counted,
// and never a request's time.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/zeromicro/go-zero/core/logx"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Defaults of a pipeline. The environment variables of the OpenTelemetry
// specification, OTEL_BSP_MAX_QUEUE_SIZE and OTEL_BSP_SCHEDULE_DELAY, take
// precedence.
const (
	// QueueLimit is how many spans may wait for export; the next is dropped and
	// counted.
	QueueLimit = 8192
	// BatchDelay is how long a span waits for its batch to fill.
	BatchDelay = time.Second
)

// swapDeadline is how long an exporter that was exchanged may take to deliver
// what it holds; what is left then goes to its successor.
const swapDeadline = 10 * time.Second

// maxDrains is how many exporters that were exchanged may still deliver. One more
// has the first of them give up.
const maxDrains = 4

// drainShare is what that one still gets: enough for a collector that answers, so
// that no batch is cut off which the collector has and its successor would get again.
const drainShare = 300 * time.Millisecond

// Provider makes the process's tracers. Its methods are safe for concurrent use.
type Provider struct {
	name      string
	sdk       *sdktrace.TracerProvider
	resource  *resource.Resource // what all spans are of
	processor processor
	sampler   sampler

	notebooks sync.Pool // of *notebook
	counts    counts
	settings  settings

	base     Config // the service's own block
	dir      string // of the overlay; empty when there is none
	first    target // what the overlay held at the start
	follower *follower

	mu       sync.Mutex // one exchange at a time; never held while an exporter drains
	stopped  bool
	inForce  inForce
	refused  *Refusal
	draining []*drain       // exporters that were exchanged and still deliver, the oldest first
	drains   sync.WaitGroup // the same
	hurry    context.Context
	hurryUp  context.CancelFunc // has them give up
}

// settings are what an Option changes.
type settings struct {
	queueLimit    int
	batchDelay    time.Duration
	overlay       string
	ignoresRemote bool
	swapDeadline  time.Duration
	pace          pace
}

// Option changes how a Provider works.
type Option func(*settings)

// WithBatchDelay has spans exported after d at the latest instead of BatchDelay.
func WithBatchDelay(d time.Duration) Option { return func(s *settings) { s.batchDelay = d } }

// WithQueueLimit lets n spans wait for export instead of QueueLimit.
func WithQueueLimit(n int) Option { return func(s *settings) { s.queueLimit = n } }

// WithOverlay has the overlay folder dir followed until Shutdown: what its files
// hold is in force within two seconds. "" is none. The folder need not exist. A
// wrong overlay is no error of Start: the service's own block is then in force.
func WithOverlay(dir string) Option { return func(s *settings) { s.overlay = dir } }

// IgnoreRemoteFlags has the sampler apply its ratio to traces that began elsewhere
// too, by their ids, whatever their sampled flag says. The parent stays the parent.
func IgnoreRemoteFlags() Option { return func(s *settings) { s.ignoresRemote = true } }

// Start makes the provider and installs it as OpenTelemetry's global one, with
// W3C trace context as the only propagator (baggage is not linktrail's to carry)
// and an error handler that logs at most once in ErrorInterval. It connects to
// nothing and does not wait for a collector. Wrong values are an error that names
// key, value and what is allowed. Shutdown ends it.
func Start(cfg Config, opts ...Option) (*Provider, error) {
	p, err := newProvider(cfg, opts...)
	if err != nil {
		return nil, err
	}
	otel.SetErrorHandler(&errorLog{interval: ErrorInterval, now: time.Now, log: logExportError})
	otel.SetTextMapPropagator(propagation.TraceContext{})
	otel.SetTracerProvider(p.sdk)
	logx.Infow("telemetry started", logx.Field("config", p.inForce.cfg.String()), logx.Field("overlay", p.dir))
	p.follow()
	return p, nil
}

// newProvider is Start without the global part and without following the overlay.
func newProvider(cfg Config, opts ...Option) (*Provider, error) {
	p := &Provider{name: cfg.Name, base: cfg, settings: settings{
		queueLimit:   envInt("OTEL_BSP_MAX_QUEUE_SIZE", QueueLimit),
		batchDelay:   time.Duration(envInt("OTEL_BSP_SCHEDULE_DELAY", int(BatchDelay.Milliseconds()))) * time.Millisecond,
		swapDeadline: swapDeadline,
		pace:         usualPace,
	}}
	for _, opt := range opts {
		opt(&p.settings)
	}
	if p.settings.overlay != "" {
		dir, err := filepath.Abs(p.settings.overlay)
		if err != nil {
			return nil, fmt.Errorf("TelemetryOverlay: %w", err)
		}
		p.dir = dir
	}
	p.hurry, p.hurryUp = context.WithCancel(context.Background())
	p.processor.counts = &p.counts
	p.sampler.ignoresRemote = p.settings.ignoresRemote
	if err := p.begin(cfg); err != nil {
		return nil, err
	}
	p.resource, _ = resource.Merge(resource.Environment(), newResource(cfg.Name)) // the SDK does it too, and reports
	p.sdk = sdktrace.NewTracerProvider(
		sdktrace.WithResource(p.resource),
		sdktrace.WithSampler(&p.sampler),
		sdktrace.WithSpanProcessor(&p.processor),
	)
	return p, nil
}

// newPipeline starts the pipeline of a checked configuration, nil when it exports
// nothing.
func (p *Provider) newPipeline(cfg Config) (*pipeline, error) {
	if !cfg.exports() {
		return nil, nil
	}
	inner, err := newExporter(cfg)
	if err != nil {
		return nil, err
	}
	return p.pipelineTo(inner), nil
}

func (p *Provider) pipelineTo(inner sdktrace.SpanExporter) *pipeline {
	return newPipeline(inner, p.settings.queueLimit, p.settings.batchDelay, &p.counts, func(span sdktrace.ReadOnlySpan) {
		p.processor.redeliver(span)
	})
}

// swap puts a configuration in the place of the present one. No request
// waits for it, it waits for no collector, and no span is lost by it: from the
// exchange on spans go to the new exporter, while the old one delivers what it
// holds, for swapDeadline at most; the rest goes to the new one. An exporter that
// stays as it is goes on. An error changes nothing.
func (p *Provider) swap(next inForce) error {
	if next.cfg.Name != p.name {
		return errRenamed(p.name, next.cfg.Name)
	}
	if err := next.cfg.Validate(); err != nil {
		return err
	}
	p.mu.Lock()
	present := p.inForce
	p.mu.Unlock()
	if present.exportsLike(next) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.sampler.set(next.cfg)
		p.inForce = next
		return nil
	}
	pipe, err := p.newPipeline(next.cfg)
	if err != nil {
		return err
	}
	_, err = p.exchange(next, pipe)
	return err
}

// errStopped says that the provider is shut down.
var errStopped = errors.New("telemetry: shut down")

// drain is an exporter that was exchanged and still delivers what it holds.
type drain struct {
	giveUp context.CancelFunc
	done   chan struct{} // closed when it has ended
	err    error         // valid then; wraps errUndelivered when spans went to its successor
}

// exchange puts a pipeline in the place of the present one and has that one end on
// its own.
func (p *Provider) exchange(next inForce, pipe *pipeline) (*drain, error) {
	ctx, giveUp := context.WithTimeout(p.hurry, p.settings.swapDeadline)
	d := &drain{giveUp: giveUp, done: make(chan struct{})}

	p.mu.Lock()
	if p.stopped {
		p.mu.Unlock()
		giveUp()
		if pipe != nil {
			_ = pipe.close(ctx)
		}
		return nil, errStopped
	}
	p.sampler.set(next.cfg)
	p.inForce = next
	old := p.processor.current.Swap(pipe)
	if old != nil {
		old.export.retired.Store(true) // from now on what it cannot deliver goes to its successor
	}
	var oldest *drain
	if len(p.draining) >= maxDrains {
		oldest = p.draining[0]
	}
	p.draining = append(p.draining, d)
	p.drains.Add(1)
	p.mu.Unlock()

	go func() {
		defer p.drains.Done()
		defer giveUp()
		if old != nil {
			d.err = old.close(ctx)
		}
		p.mu.Lock()
		p.draining = slices.DeleteFunc(p.draining, func(other *drain) bool { return other == d })
		p.mu.Unlock()
		close(d.done)
	}()
	if oldest != nil {
		defer time.AfterFunc(drainShare, oldest.giveUp).Stop()
		<-oldest.done // then soon: close waits abandonGrace at most
	}
	return d, nil
}

// TracerProvider is the provider Start has made global.
func (p *Provider) TracerProvider() trace.TracerProvider { return p.sdk }

// ForceFlush exports the spans that have ended by now, at most until ctx ends.
func (p *Provider) ForceFlush(ctx context.Context) error { return p.processor.ForceFlush(ctx) }

// Register adds the provider's metrics, linktrail_telemetry_*, to a registry. It
// panics, as MustRegister does, when that has them already.
func (p *Provider) Register(r prometheus.Registerer) { r.MustRegister(newCollector(p)) }

// Shutdown exports what has ended and stops, at most until ctx ends, whatever the
// collector does. It comes after the last request and the last publish; spans that
// end later are dropped and counted. The error says that spans were lost. A second
// call does nothing.
func (p *Provider) Shutdown(ctx context.Context) error {
	p.mu.Lock()
	if p.stopped {
		p.mu.Unlock()
		return nil
	}
	p.stopped = true
	p.mu.Unlock()

	p.unfollow(ctx)
	p.awaitDrains(ctx)
	// The pipeline first: the SDK holds its own lock while it shuts processors down.
	err := p.processor.Shutdown(ctx)
	if sdkErr := p.sdk.Shutdown(ctx); err == nil {
		err = sdkErr
	}
	if err != nil {
		return fmt.Errorf("telemetry: shutdown: %w", err)
	}
	return nil
}

// awaitDrains waits for the exporters that were exchanged. It grants them half of
// the time there is: the present one needs its share.
func (p *Provider) awaitDrains(ctx context.Context) {
	defer p.hurryUp()
	defer context.AfterFunc(ctx, p.hurryUp)()
	if deadline, ok := ctx.Deadline(); ok {
		defer time.AfterFunc(time.Until(deadline)/2, p.hurryUp).Stop()
	}
	p.drains.Wait()
}

// envInt reads a positive number from the environment.
func envInt(name string, otherwise int) int {
	n, err := strconv.Atoi(os.Getenv(name))
	if err != nil || n <= 0 {
		return otherwise
	}
	return n
}
