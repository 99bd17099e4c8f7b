package telemetry

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"

	"github.com/linktrail/linktrail/internal/telemetry/otlp"
)

// Light makes spans as TracerProvider does, with the same sampler, resource and
// exporter, for a fraction of the time and the memory. It is for spans that are
// made for every click: they are kept as the bytes that leave over OTLP, and those
// that wait for export lie side by side in memory that is used again.
func (p *Provider) Light() trace.TracerProvider { return &light{provider: p} }

// lightRoom is for how many bytes a span has room from the start.
const lightRoom = 1024

// light is a TracerProvider.
type light struct {
	embedded.TracerProvider
	provider *Provider
}

// Tracer returns a tracer of the instrumentation scope.
func (l *light) Tracer(name string, opts ...trace.TracerOption) trace.Tracer {
	c := trace.NewTracerConfig(opts...)
	return &lightTracer{light: l, origin: otlp.Origin{
		Scope: instrumentation.Scope{
			Name: name, Version: c.InstrumentationVersion(), SchemaURL: c.SchemaURL(), Attributes: c.InstrumentationAttributes(),
		},
		Resource: l.provider.resource,
	}}
}

type lightTracer struct {
	embedded.Tracer
	light  *light
	origin otlp.Origin
}

// Start starts a span below the one in ctx.
func (t *lightTracer) Start(ctx context.Context, name string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	c := trace.NewSpanStartConfig(opts...)
	if ctx == nil {
		ctx = context.Background()
	}
	if c.NewRoot() {
		ctx = trace.ContextWithSpanContext(ctx, trace.SpanContext{})
	}
	parent := trace.SpanContextFromContext(ctx)
	id := trace.SpanContextConfig{TraceID: parent.TraceID(), TraceFlags: parent.TraceFlags() &^ trace.FlagsSampled}
	for !id.TraceID.IsValid() { // no bit is fixed: samplers, here and elsewhere, take the id for random
		binary.NativeEndian.PutUint64(id.TraceID[:8], rand.Uint64())
		binary.NativeEndian.PutUint64(id.TraceID[8:], rand.Uint64())
	}
	binary.NativeEndian.PutUint64(id.SpanID[:], rand.Uint64()|1)
	result := t.light.provider.sampler.ShouldSample(sdktrace.SamplingParameters{
		ParentContext: ctx, TraceID: id.TraceID, Name: name, Kind: c.SpanKind(), Attributes: c.Attributes(), Links: c.Links(),
	})
	id.TraceState = result.Tracestate
	if result.Decision != sdktrace.RecordAndSample {
		ctx = trace.ContextWithSpanContext(ctx, trace.NewSpanContext(id))
		return ctx, trace.SpanFromContext(ctx)
	}
	id.TraceFlags |= trace.FlagsSampled
	start := c.Timestamp()
	if start.IsZero() {
		start = time.Now()
	}
	s := &lightSpan{tracer: t, head: otlp.Head{
		Name: name, Context: trace.NewSpanContext(id), Parent: parent.SpanID(), ParentRemote: parent.IsRemote(),
		Kind: trace.ValidateSpanKind(c.SpanKind()), Start: start,
	}}
	s.SetAttributes(result.Attributes...)
	s.SetAttributes(c.Attributes()...)
	for _, link := range c.Links() {
		s.AddLink(link)
	}
	return trace.ContextWithSpan(ctx, s), s
}

// lightSpan is a span that is recorded. It is small, since many wait long for their
// end: what is said of it goes into a notebook, from the first word to the end.
type lightSpan struct {
	embedded.Span

	tracer *lightTracer

	mu    sync.Mutex
	head  otlp.Head // its name alone may change
	ended bool
	notes *notebook // nil when nothing has been said, and once the span has ended
}

// notebook is a record with room. It is used again for another span as soon as the
// one that has ended is queued, on the same core as a rule.
type notebook struct {
	otlp.Record
	room [lightRoom]byte
}

var (
	_ trace.Span   = (*lightSpan)(nil)
	_ otlp.Written = (*lightSpan)(nil)
)

// change calls do with what has been said of the span, unless it has ended.
func (s *lightSpan) change(do func(*otlp.Record)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		do(&s.notebook().Record)
	}
}

// notebook returns where it is said what there is to say. The caller holds mu.
func (s *lightSpan) notebook() *notebook {
	if s.notes == nil {
		notes, ok := s.tracer.light.provider.notebooks.Get().(*notebook)
		if !ok {
			notes = new(notebook)
		}
		notes.Begin(notes.room[:])
		s.notes = notes
	}
	return s.notes
}

// End ends the span and hands it to the exporter. Later changes are without effect.
func (s *lightSpan) End(opts ...trace.SpanEndOption) {
	end := s.head.Start.Add(time.Since(s.head.Start))
	if len(opts) > 0 {
		if c := trace.NewSpanEndConfig(opts...); !c.Timestamp().IsZero() {
			end = c.Timestamp()
		}
	}
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	notes := s.notebook()
	span := notes.End(&s.tracer.origin, &s.head, end)
	s.ended, s.notes = true, nil
	s.mu.Unlock()
	provider := s.tracer.light.provider
	provider.processor.queue(span)
	provider.notebooks.Put(notes)
}

// SetAttributes sets attributes; a key that the span has already takes the new value.
func (s *lightSpan) SetAttributes(list ...attribute.KeyValue) {
	if len(list) == 0 {
		return
	}
	s.change(func(r *otlp.Record) {
		for i := range list {
			r.SetAttribute(&list[i])
		}
	})
}

// SetWritten sets attributes which are written already.
func (s *lightSpan) SetWritten(a *otlp.Attributes) {
	s.change(func(r *otlp.Record) { r.SetWritten(a) })
}

// SetStatus sets the outcome: OK is final, and nothing goes back to unset.
func (s *lightSpan) SetStatus(code codes.Code, description string) {
	s.change(func(r *otlp.Record) { r.SetStatus(code, description) })
}

// SetName renames the span.
func (s *lightSpan) SetName(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.head.Name = name // it is read no more once the span has ended
}

// AddEvent adds an event.
func (s *lightSpan) AddEvent(name string, opts ...trace.EventOption) {
	c := trace.NewEventConfig(opts...)
	s.change(func(r *otlp.Record) {
		r.AddEvent(sdktrace.Event{Name: name, Attributes: c.Attributes(), Time: c.Timestamp()})
	})
}

// RecordError adds an error as an event; a nil error is none.
func (s *lightSpan) RecordError(err error, opts ...trace.EventOption) {
	if err == nil {
		return
	}
	s.AddEvent(semconv.ExceptionEventName, append(opts, trace.WithAttributes(
		semconv.ExceptionType(fmt.Sprintf("%T", err)), semconv.ExceptionMessage(err.Error())))...)
}

// AddLink adds a link; one that says nothing is none.
func (s *lightSpan) AddLink(link trace.Link) {
	if sc := link.SpanContext; !sc.IsValid() && len(link.Attributes) == 0 && sc.TraceState().Len() == 0 {
		return
	}
	s.change(func(r *otlp.Record) {
		r.AddLink(sdktrace.Link{SpanContext: link.SpanContext, Attributes: link.Attributes})
	})
}

// IsRecording is true until the span ends.
func (s *lightSpan) IsRecording() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.ended
}

// TracerProvider returns the provider that made the span.
func (s *lightSpan) TracerProvider() trace.TracerProvider { return s.tracer.light }

// SpanContext returns the span's ids, also when it has long ended.
func (s *lightSpan) SpanContext() trace.SpanContext { return s.head.Context }
