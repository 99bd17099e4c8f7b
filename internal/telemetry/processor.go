package telemetry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/linktrail/linktrail/internal/telemetry/otlp"
)

// processor is the one SpanProcessor the provider ever has. It hands spans to the
// current pipeline, which can be exchanged at any time: the SDK's own way, to
// unregister one and register another, holds the provider's lock while the old
// exporter drains and loses the spans that end in between.
//
// OnEnd never blocks.
type processor struct {
	current atomic.Pointer[pipeline] // nil: nothing is exported
	stopped atomic.Bool
	counts  *counts
}

var _ sdktrace.SpanProcessor = (*processor)(nil)

// OnStart does nothing.
func (p *processor) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd queues a sampled span for export.
func (p *processor) OnEnd(span sdktrace.ReadOnlySpan) {
	if span.SpanContext().IsSampled() {
		p.queue(span)
	}
}

// queue queues a span for export.
func (p *processor) queue(span sdktrace.ReadOnlySpan) {
	for {
		pipe := p.current.Load()
		if pipe == nil {
			if p.stopped.Load() {
				p.counts.dropped[dropStopped].Add(1)
			}
			return
		}
		if pipe.acquire() {
			pipe.onEnd(span)
			pipe.release()
			return
		}
		// It was exchanged since: the pointer holds its successor by now.
	}
}

// redeliver queues a span that an exporter before the present one could not
// deliver.
func (p *processor) redeliver(span sdktrace.ReadOnlySpan) {
	switch {
	case p.current.Load() != nil:
		p.queue(span)
	case p.stopped.Load():
		p.counts.dropped[dropStopped].Add(1)
	default: // nothing is exported any more
		p.counts.dropped[dropExportFailed].Add(1)
	}
}

// ForceFlush exports what has ended by now.
func (p *processor) ForceFlush(ctx context.Context) error {
	pipe := p.current.Load()
	if pipe == nil {
		return nil
	}
	return pipe.flush(ctx)
}

// Shutdown drains the current pipeline, at most until ctx ends. Spans that end
// after it are counted as dropped. A second call does nothing.
func (p *processor) Shutdown(ctx context.Context) error {
	if p.current.Load() != nil {
		p.stopped.Store(true)
	}
	pipe := p.current.Swap(nil)
	if pipe == nil {
		return nil
	}
	return pipe.close(ctx)
}

// pipeline is a bounded queue before a batch processor before an exporter.
//
// The SDK's batch processor does not tell what it drops, and a span that comes
// while it shuts down can get lost without a trace. So the bound is kept here, and
// whoever hands in a span holds a reference: close begins only when all have let
// go.
type pipeline struct {
	batches *batcher
	export  *exporter
	limit   int64 // spans that may wait or be on their way
	counts  *counts

	refs atomic.Int64  // the owner's and one for each OnEnd under way; 0 is final
	idle chan struct{} // closed when refs reaches 0
}

// newPipeline starts a pipeline; close ends it. delay is how long a batch may wait
// to be filled, 0 for BatchDelay. Spans that cannot be delivered before a
// close ends go to leftover, one after the other.
func newPipeline(inner sdktrace.SpanExporter, limit int, delay time.Duration, counts *counts, leftover func(sdktrace.ReadOnlySpan)) *pipeline {
	p := &pipeline{limit: int64(limit), counts: counts, idle: make(chan struct{})}
	p.refs.Store(1)
	p.export = newCountingExporter(inner, counts, leftover)
	_, takesBytes := inner.(*otlp.Exporter)
	p.batches = newBatcher(p.export, !takesBytes, min(limit, batchSize), cmp.Or(delay, BatchDelay))
	return p
}

// acquire takes a reference; false when the pipeline is closing.
func (p *pipeline) acquire() bool {
	for {
		n := p.refs.Load()
		if n == 0 {
			return false
		}
		if p.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (p *pipeline) release() {
	if p.refs.Add(-1) == 0 {
		close(p.idle)
	}
}

// onEnd queues a span or, when the queue is full, drops and counts it. The caller
// holds a reference.
func (p *pipeline) onEnd(span sdktrace.ReadOnlySpan) {
	if p.export.pending.Add(1) > p.limit {
		p.export.pending.Add(-1)
		p.counts.dropped[dropQueueFull].Add(1)
		return
	}
	p.batches.add(span)
}

func (p *pipeline) flush(ctx context.Context) error { return p.batches.flush(ctx) }

// abandonGrace is how long close waits, once its time is up, for an exporter to
// notice.
const abandonGrace = 200 * time.Millisecond

// errUndelivered says that an exporter could not deliver all it held before its
// time was up.
var errUndelivered = errors.New("spans were not exported in time")

// close exports what is queued, at most until ctx ends, and closes the exporter.
// It must be called once, after the pipeline is current no more.
func (p *pipeline) close(ctx context.Context) error {
	p.release()
	<-p.idle // never long: OnEnd does not block

	stop := context.AfterFunc(ctx, p.export.abandon)
	defer stop()
	err := p.batches.shutdown(ctx)
	if ctx.Err() == nil {
		return err
	}

	// The time is up. The batcher's goroutine now finds each export cancelled at once.
	p.export.abandon()
	grace := time.NewTimer(abandonGrace)
	defer grace.Stop()
	select {
	case <-p.export.closed:
	case <-grace.C:
		err = errors.Join(err, errors.New("the exporter does not stop"))
	}
	return fmt.Errorf("%w: %w", errUndelivered, err)
}

// depth is how many spans wait or are on their way.
func (p *pipeline) depth() int64 { return p.export.pending.Load() }

// exporter counts what becomes of spans, and can be told to give up.
type exporter struct {
	inner    sdktrace.SpanExporter
	counts   *counts
	leftover func(sdktrace.ReadOnlySpan)

	retired   atomic.Bool  // another pipeline has taken the place: it gets what this one cannot deliver
	pending   atomic.Int64 // spans accepted and not yet exported or given up
	abandoned context.Context
	abandon   context.CancelFunc
	closed    chan struct{} // closed when the inner exporter is shut down
}

func newCountingExporter(inner sdktrace.SpanExporter, counts *counts, leftover func(sdktrace.ReadOnlySpan)) *exporter {
	e := &exporter{inner: inner, counts: counts, leftover: leftover, closed: make(chan struct{})}
	e.abandoned, e.abandon = context.WithCancel(context.Background())
	return e
}

// ExportSpans exports a batch. Once abandoned it passes the batch on to leftover
// instead, and once retired a batch that failed; not one that the collector has
// answered, and has rejected a part of.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	defer e.pending.Add(-int64(len(spans)))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.abandoned, cancel)()

	err := e.abandoned.Err()
	if err == nil {
		err = e.inner.ExportSpans(ctx, spans)
	}
	var rejected *otlp.Rejected
	switch {
	case err == nil:
		e.counts.exported.Add(uint64(len(spans)))
		return nil
	case errors.As(err, &rejected):
		n := min(uint64(rejected.Spans), uint64(len(spans)))
		e.counts.exported.Add(uint64(len(spans)) - n)
		if n == 0 {
			otel.Handle(err)
			return nil
		}
		e.counts.failures.Add(1)
		e.counts.dropped[dropExportFailed].Add(n)
		return err
	case e.abandoned.Err() != nil || e.retired.Load():
		for _, span := range spans {
			e.leftover(span)
		}
		return nil
	}
	e.counts.failures.Add(1)
	e.counts.dropped[dropExportFailed].Add(uint64(len(spans)))
	return err
}

// Shutdown is called once, by the batcher, after the last batch.
func (e *exporter) Shutdown(ctx context.Context) error {
	defer close(e.closed)
	defer e.abandon()
	return e.inner.Shutdown(ctx)
}
