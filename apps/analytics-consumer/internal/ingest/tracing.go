package ingest

import (
	"context"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/store/dbtrace"
)

const tracerName = "github.com/linktrail/linktrail/apps/analytics-consumer/internal/ingest"

// maxLinks is the most links a span has: the SDK's limit, beyond which it would drop the first ones.
const maxLinks = 128

// tracing makes the spans of a batch, each with the times at which things happened, once it is known how they ended.
type tracing struct {
	tracer   trace.Tracer
	group    string
	database dbtrace.Database
	insert   []attribute.KeyValue
}

func newTracing(p trace.TracerProvider, group string, database dbtrace.Database) tracing {
	return tracing{
		tracer:   p.Tracer(tracerName, trace.WithSchemaURL(semconv.SchemaURL)),
		group:    group,
		database: database,
		insert:   database.Attributes("INSERT", "clicks"),
	}
}

// record makes the spans of a batch: for each click whose producer was sampled `process click-events` in the click's own
// trace with `INSERT clicks` below it, and for a batch of several one span in a trace of its own, which links to their
// producer spans.
func (t tracing) record(b *batch) {
	var links []trace.Link
	var topic string
	for n := range b.items {
		it := &b.items[n]
		if !it.record.Producer.IsSampled() {
			continue
		}
		t.process(b, it)
		topic = it.record.Topic
		if len(links) < maxLinks {
			links = append(links, trace.Link{SpanContext: it.record.Producer})
		}
	}
	if len(links) > 0 && len(b.items) > 1 {
		t.batch(b, topic, links)
	}
}

func (t tracing) process(b *batch, it *item) {
	ctx, span := clickstream.StartProcess(context.Background(), t.tracer, it.record, t.group, trace.WithTimestamp(b.started))
	defer span.End(trace.WithTimestamp(b.ended))
	if it.click.ID != uuid.Nil {
		span.SetAttributes(semconv.MessagingMessageID(it.click.ID.String()))
	}
	if it.size > 0 {
		t.write(ctx, it)
	}
	switch {
	case it.reason != "":
		fail(span, it.reason, "a dead letter: "+it.reason)
	case it.writeErr != nil:
		fail(span, "write_failed", "not written; it will be tried again")
	case it.size == 0:
		fail(span, "write_failed", "not tried; an earlier part of the batch failed")
	}
}

// write makes the span of the write that held the click. A batch insert serves many clicks and has a span in the trace
// of each; db.operation.batch.size tells how many, so that nobody counts statements twice. The conventions would leave it
// out for a lone click; that every such span has it is easier to rely on.
func (t tracing) write(ctx context.Context, it *item) {
	_, span := t.tracer.Start(ctx, dbtrace.SpanName("INSERT", "clicks"), trace.WithSpanKind(trace.SpanKindClient),
		trace.WithTimestamp(it.started), trace.WithAttributes(t.insert...),
		trace.WithAttributes(semconv.DBOperationBatchSize(it.size)))
	dbtrace.Fail(span, it.writeErr)
	span.End(trace.WithTimestamp(it.ended))
}

func (t tracing) batch(b *batch, topic string, links []trace.Link) {
	const operation = "ingest"
	_, span := t.tracer.Start(context.Background(), operation+" "+topic,
		trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindConsumer), trace.WithTimestamp(b.started), trace.WithLinks(links...),
		trace.WithAttributes(
			semconv.MessagingSystemKafka,
			semconv.MessagingOperationName(operation),
			semconv.MessagingOperationTypeProcess,
			semconv.MessagingDestinationName(topic),
			semconv.MessagingConsumerGroupName(t.group),
			semconv.MessagingBatchMessageCount(len(b.items)),
		))
	if b.err != nil {
		fail(span, "write_failed", "not written; it will be tried again")
	}
	span.End(trace.WithTimestamp(b.ended))
}

func fail(span trace.Span, kind, description string) {
	span.SetAttributes(semconv.ErrorTypeKey.String(kind))
	span.SetStatus(codes.Error, description)
}
