package telemetry

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/internal/telemetry/otlp"
)

// MustLight returns a provider and what it exports to.
func MustLight(t *testing.T, sampler float64) (*Provider, *tracetest.InMemoryExporter) {
	t.Helper()
	p, err := newProvider(Config{Name: "url-api", Sampler: sampler, Batcher: BatcherOTLPGRPC})
	if err != nil {
		t.Fatal(err)
	}
	memory := tracetest.NewInMemoryExporter()
	p.processor.current.Store(p.pipelineTo(memory))
	t.Cleanup(func() {
		if err := p.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return p, memory
}

// story makes a span in all the ways that there are.
func story(ctx context.Context, tracers trace.TracerProvider) {
	at := time.Unix(1782900000, 0)
	tracer := tracers.Tracer("scope", trace.WithInstrumentationVersion("v1"), trace.WithSchemaURL("https://schema.example"),
		trace.WithInstrumentationAttributes(attribute.Int("n", 1)))
	other := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{9}, SpanID: trace.SpanID{9}, Remote: true})
	ctx, span := tracer.Start(ctx, "first", trace.WithTimestamp(at), trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.String("a", "1"), attribute.Int("b", 2)), trace.WithLinks(trace.Link{SpanContext: other}))
	span.SetAttributes(attribute.String("a", "again"), attribute.Bool("c", true))
	for i := range 20 {
		span.SetAttributes(attribute.Int("n"+string(rune('a'+i)), i))
	}
	span.AddEvent("event", trace.WithTimestamp(at), trace.WithAttributes(attribute.String("k", "v")))
	span.RecordError(errors.New("broken"), trace.WithTimestamp(at))
	span.RecordError(nil)
	span.AddLink(trace.Link{SpanContext: other, Attributes: []attribute.KeyValue{attribute.Int("l", 1)}})
	span.AddLink(trace.Link{}) // says nothing
	span.AddLink(trace.Link{Attributes: []attribute.KeyValue{attribute.Int("l", 2)}})
	span.SetStatus(codes.Error, "wrong")
	span.SetStatus(codes.Unset, "")
	span.SetName("renamed")
	_, child := tracer.Start(ctx, "child", trace.WithTimestamp(at))
	child.SetStatus(codes.Ok, "no description here")
	child.SetStatus(codes.Error, "too late")
	child.End(trace.WithTimestamp(at.Add(time.Second)))
	_, root := tracer.Start(ctx, "root", trace.WithNewRoot(), trace.WithTimestamp(at))
	root.End(trace.WithTimestamp(at))
	span.End(trace.WithTimestamp(at.Add(2 * time.Second)))
	span.SetAttributes(attribute.Bool("after the end", true))
	span.SetName("after the end")
	span.End()
}

// TestLight tells the same story to both providers and compares what is exported.
func TestLight(t *testing.T) {
	remote := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{7, 15: 7}, SpanID: trace.SpanID{7}, TraceFlags: trace.FlagsSampled, Remote: true,
	})
	for name, ctx := range map[string]context.Context{
		"OK a new trace": context.Background(), "OK a caller's": trace.ContextWithSpanContext(context.Background(), remote),
	} {
		t.Run(name, func(t *testing.T) {
			p, memory := MustLight(t, 1)
			told := func(tracers trace.TracerProvider) tracetest.SpanStubs {
				memory.Reset()
				story(ctx, tracers)
				if err := p.ForceFlush(t.Context()); err != nil {
					t.Fatal(err)
				}
				return memory.GetSpans()
			}
			want, got := told(p.TracerProvider()), told(p.Light())
			if len(want) != 3 || len(got) != 3 {
				t.Fatalf("%d and %d spans", len(want), len(got))
			}
			for i := range want {
				anonymous(&want[i])
				anonymous(&got[i])
			}
			opts := cmp.Options{cmpopts.EquateEmpty(), cmp.Comparer(func(a, b trace.SpanContext) bool { return a.Equal(b) }),
				cmp.Comparer(func(a, b attribute.Value) bool { return a == b }), cmp.Comparer(func(a, b attribute.Set) bool { return a.Equals(&b) }),
				cmp.Comparer(func(a, b sdktrace.Status) bool { return a == b })}
			for i := range want {
				if !want[i].Resource.Equal(got[i].Resource) {
					t.Errorf("resource %v, want %v", got[i].Resource, want[i].Resource)
				}
				want[i].Resource, got[i].Resource = nil, nil
				if diff := cmp.Diff(want[i], got[i], opts); diff != "" {
					t.Errorf("span %d (-the SDK's +light):\n%s", i, diff)
				}
			}
		})
	}

	t.Run("OK ids", func(t *testing.T) {
		p, memory := MustLight(t, 1)
		story(trace.ContextWithSpanContext(t.Context(), remote), p.Light())
		if err := p.ForceFlush(t.Context()); err != nil {
			t.Fatal(err)
		}
		spans := memory.GetSpans()
		child, root, first := spans[0], spans[1], spans[2]
		if !first.Parent.Equal(remote) || first.SpanContext.TraceID() != remote.TraceID() || !child.Parent.Equal(first.SpanContext) {
			t.Errorf("first %v below %v, child below %v", first.SpanContext, first.Parent, child.Parent)
		}
		if root.Parent.IsValid() || root.SpanContext.TraceID() == remote.TraceID() || !root.SpanContext.IsValid() || !root.SpanContext.IsSampled() {
			t.Errorf("root %v below %v", root.SpanContext, root.Parent)
		}
	})

	t.Run("OK ids are random in each bit", func(t *testing.T) {
		p, _ := MustLight(t, 0)
		tracer := p.Light().Tracer("scope")
		var some, all trace.TraceID
		all = trace.TraceID(bytes.Repeat([]byte{0xff}, len(all)))
		for range 2000 { // each bit stays the same with a chance of 2 to the power of -1999
			_, span := tracer.Start(t.Context(), "quiet")
			for i, b := range span.SpanContext().TraceID() {
				some[i] |= b
				all[i] &= b
			}
		}
		if some != (trace.TraceID(bytes.Repeat([]byte{0xff}, len(some)))) || all.IsValid() {
			t.Errorf("bits that are ever set are %v, those always set %v", some, all)
		}
	})

	t.Run("OK small share", func(t *testing.T) {
		p, _ := MustLight(t, 0.002)
		tracer, sampled := p.Light().Tracer("scope"), 0
		for range 200_000 {
			if _, span := tracer.Start(t.Context(), "rare"); span.SpanContext().IsSampled() {
				sampled++
			}
		}
		if sampled < 250 || sampled > 550 { // 400, and seven standard deviations
			t.Errorf("%d of 200000 are sampled, want about 400", sampled)
		}
	})

	t.Run("OK not sampled", func(t *testing.T) {
		p, memory := MustLight(t, 0)
		ctx, span := p.Light().Tracer("scope").Start(t.Context(), "quiet")
		sc := span.SpanContext()
		if !sc.IsValid() || sc.IsSampled() || span.IsRecording() || !trace.SpanContextFromContext(ctx).Equal(sc) {
			t.Errorf("span %v", sc)
		}
		_, child := p.Light().Tracer("scope").Start(ctx, "child")
		if child.SpanContext().TraceID() != sc.TraceID() || child.SpanContext().SpanID() == sc.SpanID() || child.SpanContext().IsSampled() {
			t.Errorf("child %v of %v", child.SpanContext(), sc)
		}
		child.End()
		span.End()
		if err := p.ForceFlush(t.Context()); err != nil || len(memory.GetSpans()) != 0 {
			t.Errorf("%v, %d spans", err, len(memory.GetSpans()))
		}
	})

	t.Run("OK too much", func(t *testing.T) {
		p, memory := MustLight(t, 1)
		_, span := p.Light().Tracer("scope").Start(t.Context(), "large")
		for i := range otlp.Limit + 3 {
			span.SetAttributes(attribute.Int(string(rune('A'+i%26))+string(rune('A'+i/26)), i))
			span.AddEvent("e")
			span.AddLink(trace.Link{SpanContext: span.SpanContext()})
		}
		span.End()
		if err := p.ForceFlush(t.Context()); err != nil {
			t.Fatal(err)
		}
		s := memory.GetSpans()[0]
		got := []int{len(s.Attributes), len(s.Events), len(s.Links), s.DroppedAttributes, s.DroppedEvents, s.DroppedLinks}
		if diff := cmp.Diff([]int{otlp.Limit, otlp.Limit, otlp.Limit, 3, 3, 3}, got); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("OK many at once", func(t *testing.T) {
		p, memory := MustLight(t, 1)
		_, span := p.Light().Tracer("scope").Start(t.Context(), "shared")
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				span.SetAttributes(attribute.Bool("k", span.IsRecording()))
				span.SetStatus(codes.Error, "wrong")
				span.End()
			})
		}
		all.Wait()
		if err := p.ForceFlush(t.Context()); err != nil || len(memory.GetSpans()) != 1 {
			t.Errorf("%v, exported %d times", err, len(memory.GetSpans()))
		}
	})
}

// anonymous takes away what differs from span to span.
func anonymous(s *tracetest.SpanStub) {
	flags := s.SpanContext.TraceFlags()
	s.SpanContext = trace.NewSpanContext(trace.SpanContextConfig{TraceFlags: flags})
	s.Parent = trace.NewSpanContext(trace.SpanContextConfig{TraceFlags: s.Parent.TraceFlags(), Remote: s.Parent.IsRemote()})
	s.ChildSpanCount = 0
}
