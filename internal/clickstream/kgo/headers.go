package kgo

import (
	"context"
	"encoding/hex"

	franz "github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// The headers of W3C Trace Context, level 1, which carry a click's producer; nothing else of ours is in a record.
const (
	traceparent = "traceparent"
	tracestate  = "tracestate"
)

// traceparentLength is that of version 00.
const traceparentLength = 55

// appendHeaders appends the headers that carry sc. It uses room, which must live as long as the record.
func appendHeaders(headers []franz.RecordHeader, room []byte, sc trace.SpanContext) []franz.RecordHeader {
	if !sc.IsValid() {
		return headers
	}
	headers = append(headers, franz.RecordHeader{Key: traceparent, Value: appendTraceparent(room, sc)})
	if state := sc.TraceState().String(); state != "" {
		headers = append(headers, franz.RecordHeader{Key: tracestate, Value: []byte(state)})
	}
	return headers
}

func appendTraceparent(dst []byte, sc trace.SpanContext) []byte {
	traceID, spanID := sc.TraceID(), sc.SpanID()
	flags := [1]byte{byte(sc.TraceFlags() & (trace.FlagsSampled | trace.FlagsRandom))}
	dst = append(dst, "00-"...)
	dst = hex.AppendEncode(dst, traceID[:])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, spanID[:])
	dst = append(dst, '-')
	return hex.AppendEncode(dst, flags[:])
}

// producer reads the headers' span context. Whatever else they hold, baggage above all, is not read.
func producer(headers []franz.RecordHeader) trace.SpanContext {
	ctx := propagation.TraceContext{}.Extract(context.Background(), carrier(headers))
	return trace.SpanContextFromContext(ctx)
}

// carrier lets a propagator read headers.
type carrier []franz.RecordHeader

// Get returns the last value of a header, which is what go-queue's and others' producers mean by setting it again.
func (c carrier) Get(key string) string {
	for i := len(c) - 1; i >= 0; i-- {
		if c[i].Key == key {
			return string(c[i].Value)
		}
	}
	return ""
}

// Set does nothing: a carrier is only read.
func (c carrier) Set(string, string) {}

// Keys returns the names of the headers.
func (c carrier) Keys() []string {
	keys := make([]string, len(c))
	for i := range c {
		keys[i] = c[i].Key
	}
	return keys
}
