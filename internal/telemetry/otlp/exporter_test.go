package otlp

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
)

// client keeps what it is given, as it goes over the wire.
type client struct {
	wire [][]byte
	err  error
}

func (*client) Start(context.Context) error { return nil }
func (*client) Stop(context.Context) error  { return nil }

func (c *client) UploadTraces(_ context.Context, list []*tracepb.ResourceSpans) error {
	for _, message := range list {
		wire, err := proto.Marshal(message)
		if err != nil {
			return err
		}
		c.wire = append(c.wire, wire)
	}
	return c.err
}

func (c *client) MustDecode(t *testing.T) []*tracepb.ResourceSpans {
	t.Helper()
	var list []*tracepb.ResourceSpans
	for _, wire := range c.wire {
		var message tracepb.ResourceSpans
		if err := proto.Unmarshal(wire, &message); err != nil {
			t.Fatal(err)
		}
		if len(message.ProtoReflect().GetUnknown()) > 0 {
			t.Error("there are fields which OTLP does not know")
		}
		list = append(list, &message)
	}
	return list
}

func MustState(t *testing.T, s string) trace.TraceState {
	t.Helper()
	state, err := trace.ParseTraceState(s)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// spans are of all shapes: each field of the protocol is set in one of them, and each size of length occurs.
func spans(t *testing.T) []sdktrace.ReadOnlySpan {
	t.Helper()
	at := time.Unix(1782900000, 123456789)
	self := trace.SpanContextConfig{TraceID: trace.TraceID{1, 15: 16}, SpanID: trace.SpanID{1, 7: 8}, TraceFlags: trace.FlagsSampled}
	full := self
	full.TraceState = MustState(t, "vendor=value,other=1")
	remote := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{2}, SpanID: trace.SpanID{3}, Remote: true})
	values := []attribute.KeyValue{
		attribute.String("string", "text"), attribute.String("empty", ""), attribute.String("", "no key"),
		attribute.Int64("int", -1), attribute.Int("zero", 0), attribute.Bool("true", true), attribute.Bool("false", false),
		attribute.Float64("float", 1.5), attribute.Float64("float zero", 0),
		attribute.StringSlice("strings", []string{"a", "", strings.Repeat("b", 200)}), attribute.StringSlice("none", nil),
		attribute.Int64Slice("ints", []int64{1, -2, 0}), attribute.BoolSlice("bools", []bool{true, false}),
		attribute.Float64Slice("floats", []float64{0, 2.5}),
		attribute.String("127", strings.Repeat("x", 119)), attribute.String("128", strings.Repeat("x", 120)),
		attribute.String("long", strings.Repeat("ü", 20000)),
		{Key: "bytes", Value: attribute.ByteSliceValue([]byte{0, 1, 255})},
		{Key: "map", Value: attribute.MapValue(attribute.Int("a", 1), attribute.String("b", strings.Repeat("y", 130)))},
		{Key: "mixed", Value: attribute.SliceValue(attribute.IntValue(1), attribute.StringValue("two"))},
		{Key: "nothing"},
	}
	scope := instrumentation.Scope{Name: "a", Version: "v1", SchemaURL: "https://schema.example/1", Attributes: attribute.NewSet(attribute.Int("n", 1))}
	res := resource.NewWithAttributes("https://schema.example/2", attribute.String("service.name", "s"), attribute.String("long", strings.Repeat("z", 300)))
	stubs := tracetest.SpanStubs{
		{
			Name: "full", SpanContext: trace.NewSpanContext(full), Parent: remote, SpanKind: trace.SpanKindServer, StartTime: at,
			EndTime: at.Add(time.Second), Attributes: values, DroppedAttributes: 300, DroppedEvents: 2, DroppedLinks: 3,
			Events: []sdktrace.Event{{Name: "event", Time: at, Attributes: values, DroppedAttributeCount: 4}, {Name: "bare", Time: at}},
			Links:  []sdktrace.Link{{SpanContext: remote, Attributes: values[:3], DroppedAttributeCount: 5}, {SpanContext: trace.NewSpanContext(self)}},
			Status: sdktrace.Status{Code: codes.Error, Description: strings.Repeat("wrong ", 40)}, Resource: res, InstrumentationScope: scope,
		},
		{Name: "small", SpanContext: trace.NewSpanContext(self), StartTime: at, EndTime: at, Resource: res},
		{Name: "fine", SpanContext: trace.NewSpanContext(self), Parent: trace.NewSpanContext(self), SpanKind: trace.SpanKindProducer,
			StartTime: at, EndTime: at, Status: sdktrace.Status{Code: codes.Ok}, Resource: res, InstrumentationScope: scope},
	}
	for kind := trace.SpanKindUnspecified; kind <= trace.SpanKindConsumer+1; kind++ {
		stubs = append(stubs, tracetest.SpanStub{Name: kind.String(), SpanContext: trace.NewSpanContext(self), SpanKind: kind,
			StartTime: at, EndTime: at, Resource: res, InstrumentationScope: instrumentation.Scope{Name: "b"}})
	}
	return stubs.Snapshots()
}

// TestSame holds the bytes against those of OpenTelemetry's own exporter.
func TestSame(t *testing.T) {
	var ours, theirs client
	own, err := New(t.Context(), &ours)
	if err != nil {
		t.Fatal(err)
	}
	official, err := otlptrace.New(t.Context(), &theirs)
	if err != nil {
		t.Fatal(err)
	}
	all := spans(t)
	for _, batch := range [][]sdktrace.ReadOnlySpan{all, all[1:2], all[:1], all} { // the buffer is used again
		ours.wire, theirs.wire = nil, nil
		if err := own.ExportSpans(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		if err := official.ExportSpans(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		want := theirs.MustDecode(t)
		for _, r := range want {
			for _, scope := range r.GetScopeSpans() {
				for _, span := range scope.GetSpans() {
					withStates(span, batch)
				}
			}
		}
		if diff := cmp.Diff(want, ours.MustDecode(t), protocmp.Transform()); diff != "" {
			t.Errorf("batch of %d (-theirs +ours):\n%s", len(batch), diff)
		}
	}
}

// withStates gives links the tracestate that OpenTelemetry's exporter leaves out.
func withStates(span *tracepb.Span, batch []sdktrace.ReadOnlySpan) {
	for _, s := range batch {
		if s.Name() != span.GetName() {
			continue
		}
		for i, l := range s.Links() {
			span.GetLinks()[i].TraceState = l.SpanContext.TraceState().String()
		}
	}
}

func TestExporter(t *testing.T) {
	t.Run("Err of the client", func(t *testing.T) {
		away := errors.New("away")
		e, err := New(t.Context(), &client{err: away})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.ExportSpans(t.Context(), spans(t)); !errors.Is(err, away) {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("OK text that is no UTF-8", func(t *testing.T) {
		const wrong, mended = "a\xff\xfeb", "a\uFFFDb"
		sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}})
		var c client
		e, err := New(t.Context(), &c)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.ExportSpans(t.Context(), tracetest.SpanStubs{{
			Name: wrong, SpanContext: sc, Status: sdktrace.Status{Code: codes.Error, Description: wrong},
			Attributes: []attribute.KeyValue{attribute.String(wrong, wrong), attribute.StringSlice("list", []string{wrong})},
		}}.Snapshots()); err != nil {
			t.Fatal(err)
		}
		span := c.MustDecode(t)[0].GetScopeSpans()[0].GetSpans()[0]
		list := span.GetAttributes()
		for _, got := range []string{span.GetName(), span.GetStatus().GetMessage(), list[0].GetKey(), list[0].GetValue().GetStringValue(),
			list[1].GetValue().GetArrayValue().GetValues()[0].GetStringValue()} {
			if got != mended {
				t.Errorf("text is %q, want %q", got, mended)
			}
		}
	})
	t.Run("OK nothing to send", func(t *testing.T) {
		var c client
		e, err := New(t.Context(), &c)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.ExportSpans(t.Context(), nil); err != nil || len(c.wire) != 0 {
			t.Errorf("%v, %d messages", err, len(c.wire))
		}
	})
}

// null is a client that writes what it is given and forgets it.
type null struct{ buffer []byte }

func (*null) Start(context.Context) error { return nil }
func (*null) Stop(context.Context) error  { return nil }

func (n *null) UploadTraces(_ context.Context, list []*tracepb.ResourceSpans) (err error) {
	for _, message := range list {
		if n.buffer, err = (proto.MarshalOptions{}).MarshalAppend(n.buffer[:0], message); err != nil {
			return err
		}
	}
	return nil
}

func BenchmarkExport(b *testing.B) {
	var batch tracetest.SpanStubs
	for i := range 512 {
		batch = append(batch, tracetest.SpanStub{
			Name: "GET /{code}", SpanContext: trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, TraceFlags: 1}),
			StartTime: time.Now(), EndTime: time.Now(), InstrumentationScope: instrumentation.Scope{Name: []string{"a", "b"}[i%2]},
			Attributes: []attribute.KeyValue{
				attribute.String("http.request.method", "GET"), attribute.String("url.scheme", "https"), attribute.String("url.path", "/abcdefg"),
				attribute.String("network.protocol.version", "1.1"), attribute.String("http.route", "/{code}"), attribute.Int("http.response.status_code", 302),
				attribute.String("server.address", "s.example"), attribute.String("client.address", "203.0.113.0"),
				attribute.String("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
			},
			Resource: resource.NewSchemaless(attribute.String("service.name", "s")),
		})
	}
	spans := batch.Snapshots()
	own, err := New(b.Context(), &null{})
	if err != nil {
		b.Fatal(err)
	}
	official, err := otlptrace.New(b.Context(), &null{})
	if err != nil {
		b.Fatal(err)
	}
	for name, e := range map[string]sdktrace.SpanExporter{"ours": own, "OpenTelemetry's": official} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := e.ExportSpans(b.Context(), spans); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
