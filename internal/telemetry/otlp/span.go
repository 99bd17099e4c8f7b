package otlp

import (
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Origin is what all spans of a tracer have in common.
type Origin struct {
	Scope    instrumentation.Scope
	Resource *resource.Resource
}

// Span is a span that has ended, as the bytes of the protocol's Span message, which an Exporter copies. Other exporters
// take what Read makes of it: all other methods of a ReadOnlySpan are missing.
type Span struct {
	sdktrace.ReadOnlySpan // nil

	origin *Origin
	fields []byte
}

// CopyTo appends the bytes to room, which it returns, and makes a copy of the span that lies there.
func (s *Span) CopyTo(room []byte) (Span, []byte) {
	at := len(room)
	room = append(room, s.fields...)
	return Span{origin: s.origin, fields: room[at:len(room):len(room)]}, room
}

// Resource returns that of its provider.
func (s *Span) Resource() *resource.Resource { return s.origin.Resource }

// InstrumentationScope returns that of its tracer.
func (s *Span) InstrumentationScope() instrumentation.Scope { return s.origin.Scope }

// Read returns the span as others know it. Of its parent's context it has what the protocol has; the rest is taken to be
// as in its own.
func (s *Span) Read() sdktrace.ReadOnlySpan {
	var m tracepb.Span
	if err := proto.Unmarshal(s.fields, &m); err != nil {
		otel.Handle(err)
	}
	self := spanContext(m.GetTraceId(), m.GetSpanId(), m.GetTraceState(), m.GetFlags())
	stub := tracetest.SpanStub{
		Name: m.GetName(), SpanContext: self.WithRemote(false), SpanKind: trace.SpanKind(m.GetKind()), // the same numbers
		StartTime: timeOf(m.GetStartTimeUnixNano()), EndTime: timeOf(m.GetEndTimeUnixNano()), Attributes: attributesOf(m.GetAttributes()),
		DroppedAttributes: int(m.GetDroppedAttributesCount()), DroppedEvents: int(m.GetDroppedEventsCount()), DroppedLinks: int(m.GetDroppedLinksCount()),
		Resource: s.origin.Resource, InstrumentationScope: s.origin.Scope,
	}
	if id := m.GetParentSpanId(); len(id) > 0 {
		stub.Parent = self.WithSpanID(trace.SpanID(id))
	}
	switch m.GetStatus().GetCode() {
	case tracepb.Status_STATUS_CODE_OK:
		stub.Status.Code = codes.Ok
	case tracepb.Status_STATUS_CODE_ERROR:
		stub.Status = sdktrace.Status{Code: codes.Error, Description: m.GetStatus().GetMessage()}
	}
	for _, e := range m.GetEvents() {
		stub.Events = append(stub.Events, sdktrace.Event{
			Name: e.GetName(), Time: timeOf(e.GetTimeUnixNano()), Attributes: attributesOf(e.GetAttributes()),
			DroppedAttributeCount: int(e.GetDroppedAttributesCount()),
		})
	}
	for _, l := range m.GetLinks() {
		stub.Links = append(stub.Links, sdktrace.Link{
			SpanContext: spanContext(l.GetTraceId(), l.GetSpanId(), l.GetTraceState(), l.GetFlags()), Attributes: attributesOf(l.GetAttributes()),
			DroppedAttributeCount: int(l.GetDroppedAttributesCount()),
		})
	}
	return stub.Snapshot()
}

// spanContext is what a span or a link begins with and its flags say.
func spanContext(traceID, spanID []byte, state string, flags uint32) trace.SpanContext {
	known, err := trace.ParseTraceState(state) // it was one
	if err != nil {
		otel.Handle(err)
	}
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID(traceID), SpanID: trace.SpanID(spanID), TraceState: known,
		TraceFlags: trace.TraceFlags(flags & uint32(tracepb.SpanFlags_SPAN_FLAGS_TRACE_FLAGS_MASK)),
		Remote:     flags&uint32(tracepb.SpanFlags_SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK) != 0,
	})
}

func timeOf(nanoseconds uint64) time.Time { return time.Unix(0, int64(nanoseconds)) }

func attributesOf(list []*commonpb.KeyValue) []attribute.KeyValue {
	var attributes []attribute.KeyValue
	for _, kv := range list {
		attributes = append(attributes, attribute.KeyValue{Key: attribute.Key(kv.GetKey()), Value: valueOf(kv.GetValue())})
	}
	return attributes
}

// valueOf returns a value as it was, but that a list of which all are text is always a list of text, and so on.
func valueOf(v *commonpb.AnyValue) attribute.Value {
	switch v := v.GetValue().(type) {
	case *commonpb.AnyValue_StringValue:
		return attribute.StringValue(v.StringValue)
	case *commonpb.AnyValue_BoolValue:
		return attribute.BoolValue(v.BoolValue)
	case *commonpb.AnyValue_IntValue:
		return attribute.Int64Value(v.IntValue)
	case *commonpb.AnyValue_DoubleValue:
		return attribute.Float64Value(v.DoubleValue)
	case *commonpb.AnyValue_BytesValue:
		return attribute.ByteSliceValue(v.BytesValue)
	case *commonpb.AnyValue_KvlistValue:
		return attribute.MapValue(attributesOf(v.KvlistValue.GetValues())...)
	case *commonpb.AnyValue_ArrayValue:
		var values []attribute.Value
		for _, v := range v.ArrayValue.GetValues() {
			values = append(values, valueOf(v))
		}
		return listOf(values)
	default:
		return attribute.Value{}
	}
}

// listOf returns a list of values.
func listOf(values []attribute.Value) attribute.Value {
	of := attribute.STRING
	for i, v := range values {
		if i > 0 && v.Type() != of {
			return attribute.SliceValue(values...)
		}
		of = v.Type()
	}
	switch of {
	case attribute.STRING:
		return attribute.StringSliceValue(all(values, attribute.Value.AsString))
	case attribute.BOOL:
		return attribute.BoolSliceValue(all(values, attribute.Value.AsBool))
	case attribute.INT64:
		return attribute.Int64SliceValue(all(values, attribute.Value.AsInt64))
	case attribute.FLOAT64:
		return attribute.Float64SliceValue(all(values, attribute.Value.AsFloat64))
	default:
		return attribute.SliceValue(values...)
	}
}

func all[T any](values []attribute.Value, as func(attribute.Value) T) []T {
	list := make([]T, len(values))
	for i, v := range values {
		list[i] = as(v)
	}
	return list
}
