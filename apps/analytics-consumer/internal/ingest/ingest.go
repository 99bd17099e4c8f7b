// Package ingest writes what the click stream delivers to the store: it decodes a batch, puts aside what can never be
// written, writes the rest in one transaction and makes the spans that continue each click's trace.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/zeromicro/go-zero/core/logx"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/store/dbtrace"
)

// Store is what an Ingester needs of a store.
type Store interface {
	// WriteClicks is that of click.Store.
	WriteClicks(ctx context.Context, batch []click.Click) (written int, err error)
	// Database describes the store for the spans.
	Database() dbtrace.Database
}

// DeadLetters takes the records that can never be written.
type DeadLetters interface {
	// Send returns once the letter is safe.
	Send(ctx context.Context, r clickstream.Record, reason string) error
}

// Config is what an Ingester works with. Store and DeadLetters are required.
type Config struct {
	Store       Store
	DeadLetters DeadLetters
	// Group is the consumer group, for the spans.
	Group string
	// Registerer takes the metrics; nil keeps them unseen.
	Registerer prometheus.Registerer
	// TracerProvider makes the spans; nil is OpenTelemetry's global one.
	TracerProvider trace.TracerProvider
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// WriteTimeout is how long one attempt to write may take; 0 is DefaultWriteTimeout.
	WriteTimeout time.Duration
}

// DefaultWriteTimeout is far more than a batch needs. A database that vanished without closing its connections would
// otherwise hold up the stream for as long as the system takes to notice, a quarter of an hour.
const DefaultWriteTimeout = time.Minute

// Ingester is a handler of the click stream. Safe for concurrent use.
type Ingester struct {
	store   Store
	dead    DeadLetters
	tracing tracing
	metrics *metrics
	now     func() time.Time
	timeout time.Duration

	mu     sync.Mutex
	failed string // the first value of the batch that failed last; values hold the click's id, so no two are the same
}

// New makes an Ingester and registers its metrics.
func New(c Config) *Ingester {
	if c.TracerProvider == nil {
		c.TracerProvider = otel.GetTracerProvider()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.WriteTimeout == 0 {
		c.WriteTimeout = DefaultWriteTimeout
	}
	return &Ingester{
		store:   c.Store,
		dead:    c.DeadLetters,
		tracing: newTracing(c.TracerProvider, c.Group, c.Store.Database()),
		metrics: newMetrics(c.Registerer),
		now:     c.Now,
		timeout: c.WriteTimeout,
	}
}

// Handle is a clickstream.Handler. It returns nil once every record of the batch is in the store or among the dead
// letters. Its errors pass with time; the batch must then be handed over again, and what was written of it already is
// written once all the same.
func (i *Ingester) Handle(ctx context.Context, records []clickstream.Record) error {
	b := &batch{started: i.now(), items: make([]item, len(records))}
	i.metrics.batch.Observe(float64(len(records)))
	clicks := make([]*item, 0, len(records))
	for n, r := range records {
		it := &b.items[n]
		it.record = r
		c, err := click.Decode(r.Value)
		if err != nil {
			it.reason, it.err = reasonUndecodable, err
			if errors.Is(err, click.ErrNewer) {
				it.reason = reasonNewerVersion
			}
			continue
		}
		click.Classify(&c)
		it.click = c
		clicks = append(clicks, it)
	}
	err := i.write(ctx, clicks)
	if err == nil {
		err = i.putAside(ctx, b.items)
	}
	b.ended, b.err = i.now(), err
	i.conclude(b)
	return err
}

// batch is one call of Handle.
type batch struct {
	items          []item
	started, ended time.Time
	err            error
}

// item is one record on its way.
type item struct {
	record clickstream.Record
	click  click.Click
	// reason and err say why the record can never be written; reason is "" for a click that can.
	reason string
	err    error
	// The write that held the click last: how many clicks it held and when it was.
	size           int
	started, ended time.Time
	writeErr       error
}

// write writes clicks in one transaction. When the store refuses them, halves are tried on their own until the click at
// fault is alone: one click must not hold up the others.
func (i *Ingester) write(ctx context.Context, items []*item) error {
	if len(items) == 0 {
		return nil
	}
	clicks := make([]click.Click, len(items))
	for n, it := range items {
		clicks[n] = it.click
	}
	started := i.now()
	limited, cancel := context.WithTimeout(ctx, i.timeout)
	defer cancel()
	written, err := i.store.WriteClicks(limited, clicks)
	ended := i.now()
	for _, it := range items {
		it.size, it.started, it.ended, it.writeErr = len(items), started, ended, err
	}
	switch {
	case err == nil:
		i.metrics.duration.Observe(ended.Sub(started).Seconds())
		i.metrics.written.Add(float64(written))
		i.metrics.duplicate.Add(float64(len(items) - written))
		for _, it := range items {
			i.metrics.delay.Observe(max(0, ended.Sub(it.click.Time).Seconds()))
		}
		return nil
	case ctx.Err() != nil || !refused(err):
		return fmt.Errorf("write %d clicks: %w", len(items), err)
	case len(items) == 1:
		items[0].reason, items[0].err = reasonRefused, err
		return nil
	}
	half := len(items) / 2
	if err := i.write(ctx, items[:half]); err != nil {
		return err
	}
	return i.write(ctx, items[half:])
}

// putAside sends what can never be written to the dead letters.
func (i *Ingester) putAside(ctx context.Context, items []item) error {
	var letters int
	var last string
	for n := range items {
		it := &items[n]
		if it.reason == "" {
			continue
		}
		last = click.Cut(fmt.Sprintf("%s: %v", it.reason, it.err), maxReason)
		if err := i.dead.Send(ctx, it.record, last); err != nil {
			return fmt.Errorf("put a record among the dead letters: %w", err)
		}
		i.metrics.dead.WithLabelValues(it.reason).Inc()
		letters++
	}
	if letters > 0 {
		logx.Errorw("records became dead letters", logx.Field("records", letters), logx.Field("last_reason", last))
	}
	return nil
}

// maxReason is the most bytes of the reason in a dead letter.
const maxReason = 1024

// conclude makes the spans of a batch. While one batch fails again and again, only its first attempt makes some: an
// outage of an hour would otherwise bury each click's trace under thousands of failures.
func (i *Ingester) conclude(b *batch) {
	if len(b.items) == 0 {
		return
	}
	first := string(b.items[0].record.Value)
	i.mu.Lock()
	again := b.err != nil && i.failed == first
	i.failed = ""
	if b.err != nil {
		i.failed = first
	}
	i.mu.Unlock()
	if !again {
		i.tracing.record(b)
	}
}
