// Package otlp exports spans over the OpenTelemetry protocol as OpenTelemetry's own exporter does, with its clients, for
// a fraction of the processor time: spans are written as the protocol's bytes at once, not as a tree of messages which
// is then measured and written.
package otlp

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// Exporter is a SpanExporter. As the SDK calls it, one call at a time, it is safe.
type Exporter struct {
	client otlptrace.Client
	buffer []byte
	scopes []instrumentation.Scope
	of     []int // the index in scopes of each span's
}

var _ sdktrace.SpanExporter = (*Exporter)(nil)

// keep is the most bytes of a batch whose room is kept for the next.
const keep = 4 << 20

// New starts a client, which connects by itself, and returns the Exporter that owns it.
func New(ctx context.Context, client otlptrace.Client) (*Exporter, error) {
	if err := client.Start(ctx); err != nil {
		return nil, err
	}
	return &Exporter{client: client}, nil
}

// Rejected is the error of a batch that the collector has answered, and that must not be sent again: it has taken all but some
// spans, which it will never take (OTLP specification, "Partial Success"). Without such spans it is a warning.
type Rejected struct {
	Spans   int
	Message string
}

func (r *Rejected) Error() string {
	if r.Spans == 0 {
		return "the collector warns: " + r.Message
	}
	return fmt.Sprintf("the collector has rejected %d spans of a batch: %s", r.Spans, r.Message)
}

// partialSuccess is the text of an error whose type OpenTelemetry's clients keep to themselves.
var partialSuccess = regexp.MustCompile(`(?s)^OTLP partial success: (.*) \((\d+) spans rejected\)$`)

func asRejected(err error) (*Rejected, bool) {
	found := partialSuccess.FindStringSubmatch(err.Error())
	if found == nil {
		return nil, false
	}
	n, err := strconv.Atoi(found[2])
	return &Rejected{Spans: n, Message: found[1]}, err == nil
}

// ExportSpans sends spans of one provider and returns when the collector has taken them; a *Rejected when it has taken but a
// part, or another error when none, after the client's retries.
func (e *Exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if len(spans) == 0 {
		return nil
	}
	e.scopes, e.of = e.scopes[:0], e.of[:0]
	for _, span := range spans {
		scope := span.InstrumentationScope()
		i := slices.Index(e.scopes, scope)
		if i < 0 {
			i = len(e.scopes)
			e.scopes = append(e.scopes, scope)
		}
		e.of = append(e.of, i)
	}
	e.buffer = appendResourceSpans(e.buffer[:0], spans, e.scopes, e.of)
	// What a message does not know it passes on as it is: so the client's message is written by copying the bytes.
	var message tracepb.ResourceSpans
	message.ProtoReflect().SetUnknown(e.buffer)
	err := e.client.UploadTraces(ctx, []*tracepb.ResourceSpans{&message})
	if cap(e.buffer) > keep || err != nil { // what was not answered may still be on its way
		e.buffer = nil
	}
	if err != nil {
		if rejected, ok := asRejected(err); ok {
			return rejected
		}
		return fmt.Errorf("traces export: %w", err)
	}
	return nil
}

// Shutdown closes the client's connections.
func (e *Exporter) Shutdown(ctx context.Context) error { return e.client.Stop(ctx) }
