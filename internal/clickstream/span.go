package clickstream

import (
	"context"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/linktrail/linktrail/internal/telemetry/otlp"
)

const tracerName = "github.com/linktrail/linktrail/internal/clickstream"

// Sends makes the spans `send {topic}`, by OpenTelemetry's conventions for Kafka. Safe for concurrent use.
type Sends struct {
	tracer trace.Tracer
	name   string
	kind   []trace.SpanStartOption
	common *otlp.Attributes // those that all have
	rooms  sync.Pool        // of *[maxOwn]attribute.KeyValue
}

// maxOwn is the most attributes that a click has beside the common ones.
const maxOwn = 3

// NewSends returns the Sends of a publisher. A nil provider is OpenTelemetry's global one. server.address is set when
// there is but one broker to name.
func NewSends(provider trace.TracerProvider, c Config, clientID string) *Sends {
	if provider == nil {
		provider = otel.GetTracerProvider()
	}
	attrs := []attribute.KeyValue{
		semconv.MessagingSystemKafka,
		semconv.MessagingOperationName("send"),
		semconv.MessagingOperationTypeSend,
		semconv.MessagingDestinationName(c.Topic),
		semconv.MessagingClientID(clientID),
	}
	if len(c.Brokers) == 1 {
		if host, port, err := net.SplitHostPort(c.Brokers[0]); err == nil {
			attrs = append(attrs, semconv.ServerAddress(host))
			if n, err := strconv.Atoi(port); err == nil {
				attrs = append(attrs, semconv.ServerPort(n))
			}
		}
	}
	return &Sends{
		tracer: provider.Tracer(tracerName, trace.WithSchemaURL(semconv.SchemaURL)),
		name:   "send " + c.Topic,
		kind:   []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindProducer)},
		common: otlp.NewAttributes(attrs...),
		rooms:  sync.Pool{New: func() any { return new([maxOwn]attribute.KeyValue) }},
	}
}

// Send is the span of one click on its way. It must be ended, by Sent or by Dropped.
type Send struct {
	sends *Sends
	span  trace.Span
	id    uuid.UUID
}

// Start starts the span of a click, by its id, which is taken now. It is below the span in ctx, whose end it may outlive. The
// context that it returns travels in the record. Below a span that is not sampled there is none to make: that span's own
// context travels on.
func (s *Sends) Start(ctx context.Context, id uuid.UUID) (Send, trace.SpanContext) {
	return s.start(ctx, id, s.kind)
}

// StartAt is Start for a click that was taken before.
func (s *Sends) StartAt(ctx context.Context, id uuid.UUID, taken time.Time) (Send, trace.SpanContext) {
	return s.start(ctx, id, []trace.SpanStartOption{s.kind[0], trace.WithTimestamp(taken)})
}

func (s *Sends) start(ctx context.Context, id uuid.UUID, options []trace.SpanStartOption) (Send, trace.SpanContext) {
	if parent := trace.SpanContextFromContext(ctx); parent.IsValid() && !parent.IsSampled() {
		return Send{span: noop.Span{}}, parent
	}
	_, span := s.tracer.Start(ctx, s.name, options...)
	return Send{sends: s, span: span, id: id}, span.SpanContext()
}

// Sent ends the span of a record which lies at offset of partition now; -1 when the driver does not know.
func (s Send) Sent(partition int32, offset int64) {
	if s.span.IsRecording() {
		s.describe(partition, offset)
	}
	s.span.End()
}

// Dropped ends the span of a click that was not sent. errorType is a word for its kind, description is for people.
func (s Send) Dropped(errorType, description string) {
	if s.span.IsRecording() {
		s.describe(-1, -1)
		s.span.SetAttributes(semconv.ErrorTypeKey.String(errorType))
		s.span.SetStatus(codes.Error, description)
	}
	s.span.End()
}

func (s Send) describe(partition int32, offset int64) {
	s.sends.common.SetOn(s.span)
	room := s.sends.rooms.Get().(*[maxOwn]attribute.KeyValue)
	attrs := room[:0]
	attrs = append(attrs, semconv.MessagingMessageID(s.id.String()))
	if partition >= 0 {
		attrs = append(attrs, semconv.MessagingDestinationPartitionID(strconv.Itoa(int(partition))))
		if offset >= 0 {
			attrs = append(attrs, semconv.MessagingKafkaOffset(int(offset)))
		}
	}
	s.span.SetAttributes(attrs...) // it keeps a copy
	s.sends.rooms.Put(room)
}

// StartProcess starts the span `process {topic}` of one record: a child of the producer's span, as the messaging
// conventions allow for a single message, and linked to it, as they want. A record whose producer is not known or was
// not sampled begins no trace: the span returned records nothing, and neither do those below it.
func StartProcess(ctx context.Context, tracer trace.Tracer, r Record, group string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	ctx = trace.ContextWithRemoteSpanContext(ctx, r.Producer)
	if !r.Producer.IsSampled() {
		return ctx, trace.SpanFromContext(ctx)
	}
	attrs := []attribute.KeyValue{
		semconv.MessagingSystemKafka,
		semconv.MessagingOperationName("process"),
		semconv.MessagingOperationTypeProcess,
		semconv.MessagingDestinationName(r.Topic),
		semconv.MessagingConsumerGroupName(group),
	}
	if r.Partition >= 0 {
		attrs = append(attrs, semconv.MessagingDestinationPartitionID(strconv.Itoa(int(r.Partition))), semconv.MessagingKafkaOffset(int(r.Offset)))
	}
	options = append([]trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithLinks(trace.Link{SpanContext: r.Producer}),
		trace.WithAttributes(attrs...),
	}, options...)
	return tracer.Start(ctx, "process "+r.Topic, options...)
}
