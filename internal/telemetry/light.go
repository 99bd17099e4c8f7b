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

	"github.com/linktrail/linktrail/internal/telemetry/otlp"
)

// Light makes spans as TracerProvider does, with the same sampler, resource and
// exporter, for a fraction of the time and the memory. It is for spans that are
// made for every click: their attributes are kept as the bytes that leave over OTLP,
// and those that wait for export lie side by side in memory that is used again.
func (p *Provider) Light() trace.TracerProvider { return &light{provider: p} }

// lightRoom is how many bytes of attributes a span has room for from the start;
// lightLimit is the most attributes, events and links of one, which is the SDK's.
const (
	lightRoom  = 512
	lightLimit = 128
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
	start := c.Timestamp()
	if start.IsZero() {
		start = time.Now()
	}
	s := &lightSpan{
		tracer: t, context: trace.NewSpanContext(id), parent: parent, kind: trace.ValidateSpanKind(c.SpanKind()), start: start, name: name,
	}
	s.SetAttributes(result.Attributes...)
	s.SetAttributes(c.Attributes()...)
	for _, link := range c.Links() {
		s.AddLink(link)
	}
	return trace.ContextWithSpan(ctx, s), s
}

// lightSpan is a span that is recorded. It is small, since many wait long for their
// end: what else is said of it goes into a notebook, from the first word to the end.
type lightSpan struct {
	embedded.Span

	tracer  *lightTracer
	context trace.SpanContext
	parent  trace.SpanContext
	kind    trace.SpanKind
	start   time.Time

	mu    sync.Mutex
	ended bool
	name  string
	notes *notebook // nil when nothing has been said, and once the span has ended
}

// notebook is a recording with room for attributes. It is used again for another
// span as soon as the recording is queued, on the same core as a rule.
type notebook struct {
	recording
	set  otlp.Setter
	room [lightRoom]byte
}

// recording is a span that has ended. Whoever queues it keeps a copy.
type recording struct {
	sdktrace.ReadOnlySpan // nil: all of its methods are here but the one that nobody else may have

	tracer  *lightTracer
	context trace.SpanContext
	parent  trace.SpanContext
	kind    trace.SpanKind
	start   time.Time
	end     time.Time
	name    string

	status     sdktrace.Status
	attributes otlp.Attributes
	events     []sdktrace.Event
	links      []sdktrace.Link
	// How many were more than lightLimit.
	droppedAttributes, droppedEvents, droppedLinks int
}

var (
	_ trace.Span            = (*lightSpan)(nil)
	_ sdktrace.ReadOnlySpan = (*recording)(nil)
	_ otlp.Carrier          = (*recording)(nil)
)

// change calls do with the notebook unless the span has ended.
func (s *lightSpan) change(do func(*notebook)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		do(s.notebook())
	}
}

// notebook returns where it is said what there is to say. The caller holds mu.
func (s *lightSpan) notebook() *notebook {
	if s.notes == nil {
		notes, ok := s.tracer.light.provider.notebooks.Get().(*notebook)
		if !ok {
			notes = new(notebook)
		}
		notes.recording = recording{}
		notes.set.Begin(notes.room[:])
		s.notes = notes
	}
	return s.notes
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
	if s.ended {
		s.mu.Unlock()
		return
	}
	notes := s.notebook()
	r := &notes.recording
	r.tracer, r.context, r.parent, r.kind, r.start, r.end, r.name = s.tracer, s.context, s.parent, s.kind, s.start, end, s.name
	r.attributes = notes.set.Attributes
	s.ended, s.notes = true, nil
	s.mu.Unlock()
	provider := s.tracer.light.provider
	provider.processor.OnEnd(r)
	provider.notebooks.Put(notes)
}

// SetAttributes sets attributes; a key that the span has already takes the new value.
func (s *lightSpan) SetAttributes(list ...attribute.KeyValue) {
	if len(list) == 0 {
		return
	}
	s.change(func(n *notebook) {
		for i := range list {
			if !list[i].Valid() || !n.set.Set(&list[i], lightLimit) {
				n.droppedAttributes++
			}
		}
	})
}

// SetStatus sets the outcome: OK is final, and nothing goes back to unset.
func (s *lightSpan) SetStatus(code codes.Code, description string) {
	s.change(func(n *notebook) {
		if n.status.Code > code {
			return
		}
		n.status = sdktrace.Status{Code: code}
		if code == codes.Error {
			n.status.Description = description
		}
	})
}

// SetName renames the span.
func (s *lightSpan) SetName(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.name = name // it is read no more once the span has ended
}

// AddEvent adds an event.
func (s *lightSpan) AddEvent(name string, opts ...trace.EventOption) {
	c := trace.NewEventConfig(opts...)
	s.change(func(n *notebook) {
		if len(n.events) == lightLimit {
			n.droppedEvents++
			return
		}
		n.events = append(n.events, sdktrace.Event{Name: name, Attributes: c.Attributes(), Time: c.Timestamp()})
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
	s.change(func(n *notebook) {
		if len(n.links) == lightLimit {
			n.droppedLinks++
			return
		}
		n.links = append(n.links, sdktrace.Link{SpanContext: link.SpanContext, Attributes: link.Attributes})
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
func (s *lightSpan) SpanContext() trace.SpanContext { return s.context }

func (r *recording) Name() string                                { return r.name }
func (r *recording) SpanContext() trace.SpanContext              { return r.context }
func (r *recording) Parent() trace.SpanContext                   { return r.parent }
func (r *recording) SpanKind() trace.SpanKind                    { return r.kind }
func (r *recording) StartTime() time.Time                        { return r.start }
func (r *recording) EndTime() time.Time                          { return r.end }
func (r *recording) Attributes() []attribute.KeyValue            { return r.attributes.List() }
func (r *recording) EncodedAttributes() *otlp.Attributes         { return &r.attributes }
func (r *recording) Links() []sdktrace.Link                      { return r.links }
func (r *recording) Events() []sdktrace.Event                    { return r.events }
func (r *recording) Status() sdktrace.Status                     { return r.status }
func (r *recording) Resource() *resource.Resource                { return r.tracer.light.provider.resource }
func (r *recording) DroppedAttributes() int                      { return r.droppedAttributes }
func (r *recording) DroppedLinks() int                           { return r.droppedLinks }
func (r *recording) DroppedEvents() int                          { return r.droppedEvents }
func (r *recording) ChildSpanCount() int                         { return 0 }
func (r *recording) InstrumentationScope() instrumentation.Scope { return r.tracer.scope }

// InstrumentationLibrary is InstrumentationScope's former name.
func (r *recording) InstrumentationLibrary() instrumentation.Library { //nolint:staticcheck // the interface has it
	return r.tracer.scope
}
