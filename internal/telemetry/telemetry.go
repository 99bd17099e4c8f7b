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
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/zeromicro/go-zero/core/logx"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
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

// Provider makes the process's tracers. Its methods are safe for concurrent use.
type Provider struct {
	name      string
	sdk       *sdktrace.TracerProvider
	processor processor
	sampler   sampler
	counts    counts
	settings  settings

	mu      sync.Mutex // one exchange at a time; never held while an exporter drains
	stopped bool
	drains  sync.WaitGroup // exporters that were exchanged and still deliver
	hurry   context.Context
	hurryUp context.CancelFunc // has them give up
}

// settings are what an Option changes.
type settings struct {
	queueLimit int
	batchDelay time.Duration
}

// Option changes how a Provider works.
type Option func(*settings)

// WithBatchDelay has spans exported after d at the latest instead of BatchDelay.
func WithBatchDelay(d time.Duration) Option { return func(s *settings) { s.batchDelay = d } }

// WithQueueLimit lets n spans wait for export instead of QueueLimit.
func WithQueueLimit(n int) Option { return func(s *settings) { s.queueLimit = n } }

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
	logx.Infow("telemetry started", logx.Field("config", cfg.String()))
	return p, nil
}

// newProvider is Start without the global part.
func newProvider(cfg Config, opts ...Option) (*Provider, error) {
	p := &Provider{name: cfg.Name, settings: settings{
		queueLimit: envInt("OTEL_BSP_MAX_QUEUE_SIZE", QueueLimit),
		batchDelay: time.Duration(envInt("OTEL_BSP_SCHEDULE_DELAY", int(BatchDelay.Milliseconds()))) * time.Millisecond,
	}}
	for _, opt := range opts {
		opt(&p.settings)
	}
	p.hurry, p.hurryUp = context.WithCancel(context.Background())
	p.processor.counts = &p.counts
	first, err := p.newPipeline(cfg)
	if err != nil {
		return nil, err
	}
	p.sampler.set(cfg)
	p.processor.current.Store(first)
	p.sdk = sdktrace.NewTracerProvider(
		sdktrace.WithResource(newResource(cfg.Name)),
		sdktrace.WithSampler(&p.sampler),
		sdktrace.WithSpanProcessor(&p.processor),
	)
	return p, nil
}

// newPipeline checks a configuration and starts its pipeline, nil when it exports
// nothing.
func (p *Provider) newPipeline(cfg Config) (*pipeline, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
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
		if p.processor.current.Load() == nil {
			p.counts.dropped[dropStopped].Add(1)
			return
		}
		p.processor.OnEnd(span)
	})
}

// swap puts another exporter and sampler in the place of the present ones. No
// request waits for it and no span is lost by it: from the exchange on spans go
// to the new exporter, while swap itself waits, at most until ctx ends or
// swapDeadline has passed, for the old one to deliver what it holds; the rest goes
// to the new one. A configuration that is wrong, or has another Name, is refused
// and changes nothing. An error that wraps errUndelivered comes after the
// exchange and only tells that the old exporter did not deliver all itself.
func (p *Provider) swap(ctx context.Context, cfg Config) error {
	if cfg.Name != p.name {
		return fmt.Errorf("Telemetry.Name: %q cannot become %q without a restart", p.name, cfg.Name)
	}
	next, err := p.newPipeline(cfg)
	if err != nil {
		return err
	}
	return p.exchange(ctx, cfg, next)
}

func (p *Provider) exchange(ctx context.Context, cfg Config, next *pipeline) error {
	ctx, cancel := context.WithTimeout(ctx, swapDeadline)
	defer cancel()
	defer context.AfterFunc(p.hurry, cancel)()

	p.mu.Lock()
	if p.stopped {
		p.mu.Unlock()
		if next != nil {
			_ = next.close(ctx)
		}
		return errors.New("telemetry: shut down")
	}
	p.drains.Add(1)
	defer p.drains.Done()
	p.sampler.set(cfg)
	old := p.processor.current.Swap(next)
	p.mu.Unlock()

	if old == nil {
		return nil
	}
	return old.close(ctx)
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
