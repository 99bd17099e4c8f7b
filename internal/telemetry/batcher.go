package telemetry

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/linktrail/linktrail/internal/telemetry/otlp"
)

const (
	// batchSize is the most spans that are exported at once: about half a megabyte, of the four that a collector takes.
	batchSize = 1024
	// keptBatches is for how many batches memory is kept that is used again.
	keptBatches = 8
	// batchTimeout is how long exporting one batch may take; exporters have shorter deadlines of their own.
	batchTimeout = 30 * time.Second
)

// batcher gathers spans and has a goroutine of its own export them, one batch at
// a time. It does what the SDK's batch processor does, but that it wakes that
// goroutine once a batch and not once a span: a wake-up costs as much as making
// the span. It has no bound: whoever adds spans keeps it.
type batcher struct {
	export sdktrace.SpanExporter
	read   bool // it wants spans that have been read
	size   int
	delay  time.Duration

	mu      sync.Mutex
	waiting queue
	spare   queue // takes the place of waiting; the goroutine's

	full    chan struct{}   // holds one token: a batch is full
	flushes chan chan error // each is told when what waits by now is exported
	stop    chan context.Context
	stopped chan struct{} // closed when the exporter is shut down
	err     error         // of the exporter's shutdown, once stopped is closed
}

// queue is spans that wait. Those that are bytes are copied: they lie one after the
// other, so that the core which exports them need not fetch each from where another
// core has made it.
type queue struct {
	spans   []sdktrace.ReadOnlySpan // of the SDK
	written []otlp.Span
	bytes   []byte // of written
}

func (q *queue) len() int { return len(q.spans) + len(q.written) }

func (q *queue) add(span sdktrace.ReadOnlySpan) {
	written, ok := span.(*otlp.Span)
	if !ok {
		q.spans = append(q.spans, span)
		return
	}
	var kept otlp.Span
	kept, q.bytes = written.CopyTo(q.bytes)
	q.written = append(q.written, kept)
}

// all returns all spans, good until clear: those that are bytes as they are, or read.
func (q *queue) all(read bool) []sdktrace.ReadOnlySpan {
	for i := range q.written {
		if span := &q.written[i]; read {
			q.spans = append(q.spans, span.Read())
		} else {
			q.spans = append(q.spans, span)
		}
	}
	return q.spans
}

// clear empties the queue; what was in it can be collected.
func (q *queue) clear() {
	if cap(q.written) > keptBatches*batchSize { // after a collector was away
		*q = queue{}
		return
	}
	clear(q.spans)
	clear(q.written)
	*q = queue{q.spans[:0], q.written[:0], q.bytes[:0]}
}

func newBatcher(export sdktrace.SpanExporter, read bool, size int, delay time.Duration) *batcher {
	b := &batcher{
		export: export, read: read, size: size, delay: delay,
		full: make(chan struct{}, 1), flushes: make(chan chan error), stop: make(chan context.Context, 1), stopped: make(chan struct{}),
	}
	go b.run()
	return b
}

// add queues a span. It does not block, and must not be called after shutdown.
func (b *batcher) add(span sdktrace.ReadOnlySpan) {
	b.mu.Lock()
	b.waiting.add(span)
	n := b.waiting.len()
	b.mu.Unlock()
	if n == b.size { // the goroutine takes all that waits, so each batch passes here
		select {
		case b.full <- struct{}{}:
		default:
		}
	}
}

// run ends with shutdown.
func (b *batcher) run() {
	defer close(b.stopped)
	tick := time.NewTicker(b.delay)
	defer tick.Stop()
	for {
		select {
		case <-b.full:
			b.report(b.drain())
		case <-tick.C:
			b.report(b.drain())
		case flushed := <-b.flushes:
			flushed <- b.drain()
		case ctx := <-b.stop:
			b.report(b.drain())
			b.err = b.export.Shutdown(ctx)
			return
		}
	}
}

func (b *batcher) report(err error) {
	if err != nil {
		otel.Handle(err)
	}
}

// drain exports what waits, and returns the first error.
func (b *batcher) drain() (first error) {
	b.mu.Lock()
	b.waiting, b.spare = b.spare, b.waiting
	b.mu.Unlock()
	for rest := b.spare.all(b.read); len(rest) > 0; {
		n := min(len(rest), b.size)
		ctx, cancel := context.WithTimeout(context.Background(), batchTimeout)
		if err := b.export.ExportSpans(ctx, rest[:n]); err != nil && first == nil {
			first = err
		}
		cancel()
		rest = rest[n:]
	}
	b.spare.clear()
	return first
}

// flush exports what waits by now, at most until ctx ends.
func (b *batcher) flush(ctx context.Context) error {
	flushed := make(chan error, 1)
	select {
	case b.flushes <- flushed:
	case <-b.stopped:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-flushed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// shutdown exports what waits and shuts the exporter down, and returns when that
// is done or ctx ends. It must be called once.
func (b *batcher) shutdown(ctx context.Context) error {
	b.stop <- ctx
	select {
	case <-b.stopped:
		return b.err
	case <-ctx.Done():
		return ctx.Err()
	}
}
