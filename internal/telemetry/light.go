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
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
)

// Light makes spans as TracerProvider does, with the same sampler, resource and
// exporter, for a third of the time and half of the memory. It is for spans that
// are made for every click: they have room for lightAttributes, and what is kept
// of each is what is exported, where the SDK's make a copy.
func (p *Provider) Light() trace.TracerProvider { return &light{provider: p} }

// lightAttributes is how many attributes a span has room for from the start;
// lightLimit is the most attributes, events and links of one, which is the SDK's.
const (
	lightAttributes = 12
	lightLimit      = 128
)

// light is a TracerProvider.
type light struct {
	embedded.TracerProvider
	provider *Provider
}

// Tracer returns a tracer of the instrumentation scope.
func (l *light) Tracer(name string, opts ...trace.TracerOption) trace.Tracer {
	c := trace.NewTracerConfig(opts...)
	return &lightTracer{light: l, scope: instrumentation.Scope{
		Name: name, Version: c.InstrumentationVersion(), SchemaURL: c.SchemaURL(), Attributes: c.InstrumentationAttributes(),
	}}
}

type lightTracer struct {
	embedded.Tracer
	light *light
	scope instrumentation.Scope
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
	s := &lightSpan{
		tracer: t, context: trace.NewSpanContext(id), parent: parent, name: name,
		kind: trace.ValidateSpanKind(c.SpanKind()), start: c.Timestamp(),
	}
	if s.start.IsZero() {
		s.start = time.Now()
	}
	s.attributes = s.room[:0]
	s.SetAttributes(result.Attributes...)
	s.SetAttributes(c.Attributes()...)
	for _, link := range c.Links() {
		s.AddLink(link)
	}
	return trace.ContextWithSpan(ctx, s), s
}

// lightSpan is a span that is recorded, and, once it has ended and changes no
// more, what is exported.
type lightSpan struct {
	embedded.Span
	sdktrace.ReadOnlySpan // nil: all of its methods are here but the one that nobody else may have

	tracer  *lightTracer
	context trace.SpanContext
	parent  trace.SpanContext
	kind    trace.SpanKind
	start   time.Time

	mu         sync.Mutex
	ended      bool
	end        time.Time
	name       string
	status     sdktrace.Status
	attributes []attribute.KeyValue
	events     []sdktrace.Event
	links      []sdktrace.Link
	// How many were more than lightLimit.
	droppedAttributes, droppedEvents, droppedLinks int

	room [lightAttributes]attribute.KeyValue
}

var (
	_ trace.Span            = (*lightSpan)(nil)
	_ sdktrace.ReadOnlySpan = (*lightSpan)(nil)
)

// change calls do unless the span has ended.
func (s *lightSpan) change(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		do()
	}
}

// End ends the span and hands it to the exporter. Later changes are without effect.
func (s *lightSpan) End(opts ...trace.SpanEndOption) {
	end := s.start.Add(time.Since(s.start))
	if len(opts) > 0 {
		if c := trace.NewSpanEndConfig(opts...); !c.Timestamp().IsZero() {
			end = c.Timestamp()
		}
	}
	s.mu.Lock()
	ended := s.ended
	if !ended {
		s.ended, s.end = true, end
	}
	s.mu.Unlock()
	if !ended {
		s.tracer.light.provider.processor.OnEnd(s)
	}
}

// SetAttributes sets attributes; a key that the span has already takes the new value.
func (s *lightSpan) SetAttributes(list ...attribute.KeyValue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	for _, kv := range list {
		if !kv.Valid() {
			s.droppedAttributes++
			continue
		}
		s.setAttribute(kv)
	}
}

func (s *lightSpan) setAttribute(kv attribute.KeyValue) {
	for i := range s.attributes {
		if s.attributes[i].Key == kv.Key {
			s.attributes[i].Value = kv.Value
			return
		}
	}
	if len(s.attributes) == lightLimit {
		s.droppedAttributes++
		return
	}
	s.attributes = append(s.attributes, kv)
}

// SetStatus sets the outcome: OK is final, and nothing goes back to unset.
func (s *lightSpan) SetStatus(code codes.Code, description string) {
	s.change(func() {
		if s.status.Code > code {
			return
		}
		s.status = sdktrace.Status{Code: code}
		if code == codes.Error {
			s.status.Description = description
		}
	})
}

// SetName renames the span.
func (s *lightSpan) SetName(name string) { s.change(func() { s.name = name }) }

// AddEvent adds an event.
func (s *lightSpan) AddEvent(name string, opts ...trace.EventOption) {
	c := trace.NewEventConfig(opts...)
	s.change(func() {
		if len(s.events) == lightLimit {
			s.droppedEvents++
			return
		}
		s.events = append(s.events, sdktrace.Event{Name: name, Attributes: c.Attributes(), Time: c.Timestamp()})
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
	s.change(func() {
		if len(s.links) == lightLimit {
			s.droppedLinks++
			return
		}
		s.links = append(s.links, sdktrace.Link{SpanContext: link.SpanContext, Attributes: link.Attributes})
	})
}

// IsRecording is true until the span ends.
func (s *lightSpan) IsRecording() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.ended
}

func (s *lightSpan) TracerProvider() trace.TracerProvider { return s.tracer.light }
func (s *lightSpan) SpanContext() trace.SpanContext       { return s.context }
func (s *lightSpan) Parent() trace.SpanContext            { return s.parent }
func (s *lightSpan) SpanKind() trace.SpanKind             { return s.kind }
func (s *lightSpan) StartTime() time.Time                 { return s.start }

// The rest is read once the span has ended.

func (s *lightSpan) Name() string                     { return s.name }
func (s *lightSpan) EndTime() time.Time               { return s.end }
func (s *lightSpan) Attributes() []attribute.KeyValue { return s.attributes }
func (s *lightSpan) Links() []sdktrace.Link           { return s.links }
func (s *lightSpan) Events() []sdktrace.Event         { return s.events }
func (s *lightSpan) Status() sdktrace.Status          { return s.status }
func (s *lightSpan) Resource() *resource.Resource     { return s.tracer.light.provider.resource }
func (s *lightSpan) DroppedAttributes() int           { return s.droppedAttributes }
func (s *lightSpan) DroppedLinks() int                { return s.droppedLinks }
func (s *lightSpan) DroppedEvents() int               { return s.droppedEvents }
func (s *lightSpan) ChildSpanCount() int              { return 0 }
func (s *lightSpan) InstrumentationScope() instrumentation.Scope {
	return s.tracer.scope
}

// InstrumentationLibrary is InstrumentationScope's former name.
func (s *lightSpan) InstrumentationLibrary() instrumentation.Library { //nolint:staticcheck // the interface has it
	return s.tracer.scope
}
