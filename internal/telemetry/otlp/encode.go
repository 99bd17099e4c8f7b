package otlp

import (
	"encoding/binary"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
)

// appendResourceSpans appends the fields of a ResourceSpans (opentelemetry/proto/trace/v1/trace.proto) that holds all of
// the spans, each in its scope, whose index is at its place in of. Their resource is that of the first.
func appendResourceSpans(b []byte, spans []sdktrace.ReadOnlySpan, scopes []instrumentation.Scope, of []int) []byte {
	resource := spans[0].Resource()
	b, at := begin(b, 1, 2) // resource
	for iter := resource.Iter(); iter.Next(); {
		b = appendKeyValue(b, 1, iter.Attribute())
	}
	b = end(b, at, 2)
	for index, scope := range scopes {
		b, at = begin(b, 2, 3) // scope_spans
		b = appendScope(b, scope)
		for i, span := range spans {
			if of[i] == index {
				b = appendSpan(b, span)
			}
		}
		b = appendString(b, 3, scope.SchemaURL)
		b = end(b, at, 3)
	}
	return appendString(b, 3, resource.SchemaURL())
}

func appendScope(b []byte, scope instrumentation.Scope) []byte {
	if scope == (instrumentation.Scope{}) {
		return b
	}
	b, at := begin(b, 1, 1)
	b = appendString(b, 1, scope.Name)
	b = appendString(b, 2, scope.Version)
	for iter := scope.Attributes.Iter(); iter.Next(); {
		b = appendKeyValue(b, 3, iter.Attribute())
	}
	return end(b, at, 1)
}

// attributesField is the number of a Span's attributes.
const attributesField = 9

func appendSpan(b []byte, span sdktrace.ReadOnlySpan) []byte {
	if s, ok := span.(*Span); ok {
		return appendBytes(b, 2, s.fields)
	}
	b, at := begin(b, 2, 2)
	self, parent := span.SpanContext(), span.Parent()
	b = appendIDs(b, self)
	b = appendParent(b, parent.SpanID())
	b = appendString(b, 5, span.Name())
	b = appendVarint(b, 6, kind(span.SpanKind()))
	b = appendTime(b, 7, span.StartTime())
	b = appendTime(b, 8, span.EndTime())
	b = appendKeyValues(b, attributesField, span.Attributes())
	b = appendCount(b, 10, span.DroppedAttributes())
	for _, e := range span.Events() {
		b = appendEvent(b, e)
	}
	b = appendCount(b, 12, span.DroppedEvents())
	for _, l := range span.Links() {
		b = appendLink(b, l)
	}
	b = appendCount(b, 14, span.DroppedLinks())
	b = appendStatus(b, span.Status())
	b = appendFlags(b, 16, self.TraceFlags(), parent.IsRemote())
	return end(b, at, 2)
}

func appendParent(b []byte, id trace.SpanID) []byte {
	if !id.IsValid() {
		return b
	}
	return appendBytes(b, 4, id[:])
}

func appendEvent(b []byte, e sdktrace.Event) []byte {
	b, at := begin(b, 11, 2)
	b = appendTime(b, 1, e.Time)
	b = appendString(b, 2, e.Name)
	b = appendKeyValues(b, 3, e.Attributes)
	b = appendCount(b, 4, e.DroppedAttributeCount)
	return end(b, at, 2)
}

func appendLink(b []byte, l sdktrace.Link) []byte {
	b, at := begin(b, 13, 1)
	b = appendIDs(b, l.SpanContext)
	b = appendKeyValues(b, 4, l.Attributes)
	b = appendCount(b, 5, l.DroppedAttributeCount)
	b = appendFlags(b, 6, l.SpanContext.TraceFlags(), l.SpanContext.IsRemote())
	return end(b, at, 1)
}

// appendIDs appends the fields that a span and a link begin with.
func appendIDs(b []byte, sc trace.SpanContext) []byte {
	traceID, spanID := sc.TraceID(), sc.SpanID()
	b = appendBytes(b, 1, traceID[:])
	b = appendBytes(b, 2, spanID[:])
	if sc.TraceState().Len() > 0 {
		b = appendString(b, 3, sc.TraceState().String())
	}
	return b
}

// kind is the number of a Span.SpanKind.
func kind(k trace.SpanKind) uint64 {
	switch k {
	case trace.SpanKindInternal:
		return uint64(tracepb.Span_SPAN_KIND_INTERNAL)
	case trace.SpanKindServer:
		return uint64(tracepb.Span_SPAN_KIND_SERVER)
	case trace.SpanKindClient:
		return uint64(tracepb.Span_SPAN_KIND_CLIENT)
	case trace.SpanKindProducer:
		return uint64(tracepb.Span_SPAN_KIND_PRODUCER)
	case trace.SpanKindConsumer:
		return uint64(tracepb.Span_SPAN_KIND_CONSUMER)
	default:
		return uint64(tracepb.Span_SPAN_KIND_UNSPECIFIED)
	}
}

func appendStatus(b []byte, s sdktrace.Status) []byte {
	b, at := begin(b, 15, 1)
	b = appendString(b, 2, s.Description)
	switch s.Code {
	case codes.Ok:
		b = appendVarint(b, 3, uint64(tracepb.Status_STATUS_CODE_OK))
	case codes.Error:
		b = appendVarint(b, 3, uint64(tracepb.Status_STATUS_CODE_ERROR))
	}
	return end(b, at, 1)
}

// appendFlags says beside the W3C flags whether the other span, the parent or the one linked to, is remote.
func appendFlags(b []byte, field protowire.Number, flags trace.TraceFlags, remote bool) []byte {
	word := uint32(flags) | uint32(tracepb.SpanFlags_SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK)
	if remote {
		word |= uint32(tracepb.SpanFlags_SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)
	}
	return binary.LittleEndian.AppendUint32(protowire.AppendTag(b, field, protowire.Fixed32Type), word)
}

func appendKeyValues(b []byte, field protowire.Number, list []attribute.KeyValue) []byte {
	for _, kv := range list {
		b = appendKeyValue(b, field, kv)
	}
	return b
}

func appendKeyValue(b []byte, field protowire.Number, kv attribute.KeyValue) []byte {
	key := valid(string(kv.Key))
	switch kv.Value.Type() { // nearly all are one of these, whose length is known before they are written
	case attribute.STRING:
		text := valid(kv.Value.AsString())
		b = appendKey(b, field, key, 1+protowire.SizeBytes(len(text)))
		return appendBytes(b, 1, text)
	case attribute.INT64:
		n := uint64(kv.Value.AsInt64())
		b = appendKey(b, field, key, 1+protowire.SizeVarint(n))
		return appendVarint(b, 3, n)
	}
	b, at := begin(b, field, 1)
	b = appendString(b, 1, key)
	b = appendValue(b, 2, kv.Value)
	return end(b, at, 1)
}

// appendKey appends a KeyValue but for its value, an AnyValue of that many bytes.
func appendKey(b []byte, field protowire.Number, key string, value int) []byte {
	const short = 1<<7 - 8 // all lengths take a byte
	if len(key)+value < short && field < 16 {
		b = append(b, byte(field)<<3|byte(protowire.BytesType), byte(4+len(key)+value), 1<<3|byte(protowire.BytesType), byte(len(key)))
		b = append(b, key...)
		return append(b, 2<<3|byte(protowire.BytesType), byte(value))
	}
	b = protowire.AppendTag(b, field, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(1+protowire.SizeBytes(len(key))+1+protowire.SizeBytes(value)))
	b = appendBytes(b, 1, key)
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	return protowire.AppendVarint(b, uint64(value))
}

// appendValue appends an AnyValue (opentelemetry/proto/common/v1/common.proto). Its fields are a choice, so that also
// those are written that are zero.
func appendValue(b []byte, field protowire.Number, v attribute.Value) []byte {
	b, at := begin(b, field, 1)
	switch v.Type() {
	case attribute.EMPTY:
	case attribute.STRING:
		b = appendBytes(b, 1, valid(v.AsString()))
	case attribute.BOOL:
		b = appendVarint(b, 2, protowire.EncodeBool(v.AsBool()))
	case attribute.INT64:
		b = appendVarint(b, 3, uint64(v.AsInt64()))
	case attribute.FLOAT64:
		b = protowire.AppendFixed64(protowire.AppendTag(b, 4, protowire.Fixed64Type), math.Float64bits(v.AsFloat64()))
	case attribute.BYTESLICE:
		b = appendBytes(b, 7, v.AsByteSlice())
	case attribute.MAP:
		var list int
		b, list = begin(b, 6, 1)
		b = appendKeyValues(b, 1, v.AsMap())
		b = end(b, list, 1)
	case attribute.SLICE:
		b = appendValues(b, v.AsSlice(), func(v attribute.Value) attribute.Value { return v })
	case attribute.STRINGSLICE:
		b = appendValues(b, v.AsStringSlice(), attribute.StringValue)
	case attribute.BOOLSLICE:
		b = appendValues(b, v.AsBoolSlice(), attribute.BoolValue)
	case attribute.INT64SLICE:
		b = appendValues(b, v.AsInt64Slice(), attribute.Int64Value)
	case attribute.FLOAT64SLICE:
		b = appendValues(b, v.AsFloat64Slice(), attribute.Float64Value)
	default:
		b = appendBytes(b, 1, valid(v.String()))
	}
	return end(b, at, 1)
}

func appendValues[T any](b []byte, list []T, value func(T) attribute.Value) []byte {
	b, at := begin(b, 5, 1)
	for _, v := range list {
		b = appendValue(b, 1, value(v))
	}
	return end(b, at, 1)
}

func appendString(b []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return appendBytes(b, field, valid(s))
}

// valid returns s with U+FFFD for what is no UTF-8: a collector refuses the whole batch for one byte of such text, and
// callers choose some of it, such as paths.
func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

func appendBytes[T string | []byte](b []byte, field protowire.Number, s T) []byte {
	b = protowire.AppendVarint(protowire.AppendTag(b, field, protowire.BytesType), uint64(len(s)))
	return append(b, s...)
}

func appendVarint(b []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

func appendCount(b []byte, field protowire.Number, n int) []byte {
	if n <= 0 {
		return b
	}
	return appendVarint(b, field, uint64(min(n, math.MaxUint32)))
}

func appendTime(b []byte, field protowire.Number, t time.Time) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, field, protowire.Fixed64Type), uint64(max(0, t.UnixNano())))
}

// begin appends the tag of a message within a message and leaves room for its length, which is expected to take size
// bytes. at is where the message begins; end takes both.
func begin(b []byte, field protowire.Number, size int) (_ []byte, at int) {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	for range size {
		b = append(b, 0)
	}
	return b, len(b)
}

// end writes the length of the message that began at at, and moves the message when the length is longer or shorter than
// was expected.
func end(b []byte, at, size int) []byte {
	length := uint64(len(b) - at)
	if actual := protowire.SizeVarint(length); actual != size {
		for range actual - size {
			b = append(b, 0)
		}
		copy(b[at+actual-size:], b[at:at+int(length)])
		b = b[:at+actual-size+int(length)]
	}
	protowire.AppendVarint(b[:at-size], length)
	return b
}
