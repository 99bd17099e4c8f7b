package otlp

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
)

// origin is of all spans here.
var origin = Origin{Scope: instrumentation.Scope{Name: "scope"}, Resource: resource.NewSchemaless(attribute.String("service.name", "s"))}

// TestRecord sets attributes at random, often of the same keys and between events and links, and holds what is there
// against a list.
func TestRecord(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	value := func() attribute.Value {
		return []attribute.Value{
			attribute.StringValue(strings.Repeat("é", random.IntN(200))), attribute.BoolValue(random.IntN(2) == 0),
			attribute.Int64Value(random.Int64() - random.Int64()), attribute.Float64Value(random.NormFloat64()),
			attribute.StringSliceValue([]string{"a", "b"}), attribute.MapValue(attribute.Int("n", random.IntN(9))),
			attribute.BoolSliceValue([]bool{true}), attribute.Int64SliceValue([]int64{-1, 2}), attribute.Float64SliceValue([]float64{0}),
			attribute.ByteSliceValue([]byte{0, 255}), attribute.SliceValue(attribute.IntValue(1), attribute.StringValue("two")),
		}[random.IntN(11)]
	}
	for range 300 {
		var room [64]byte
		var r Record
		r.Begin(room[:])
		var want []attribute.KeyValue
		var dropped, links int
		for range random.IntN(250) {
			kv := attribute.KeyValue{Key: attribute.Key(fmt.Sprintf("key.%d", random.IntN(160))), Value: value()}
			r.SetAttribute(&kv)
			if random.IntN(40) == 0 {
				r.AddLink(sdktrace.Link{Attributes: []attribute.KeyValue{kv}})
				links++
			}
			switch at := slices.IndexFunc(want, func(other attribute.KeyValue) bool { return other.Key == kv.Key }); {
			case at >= 0:
				want[at] = kv
			case len(want) < Limit:
				want = append(want, kv)
			default:
				dropped++
			}
		}
		span := r.End(&origin, &Head{}, time.Unix(1, 0)).Read()
		if got := span.Attributes(); !slices.Equal(got, want) || span.DroppedAttributes() != dropped || len(span.Links()) != links {
			t.Fatalf("%v\n%d dropped, %d links, want\n%v\n%d and %d", got, span.DroppedAttributes(), len(span.Links()), want, dropped, links)
		}
	}

	t.Run("OK no UTF-8", func(t *testing.T) {
		var r Record
		kv := attribute.String("key\xff", "value\xff")
		for range 2 {
			r.SetAttribute(&kv)
		}
		got := r.End(&origin, &Head{}, time.Unix(1, 0)).Read().Attributes()
		if want := []attribute.KeyValue{attribute.String("key\uFFFD", "value\uFFFD")}; !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	})
	t.Run("OK no key", func(t *testing.T) {
		var r Record
		r.SetAttribute(&attribute.KeyValue{Value: attribute.IntValue(1)})
		if span := r.End(&origin, &Head{}, time.Unix(1, 0)).Read(); len(span.Attributes()) != 0 || span.DroppedAttributes() != 1 {
			t.Errorf("attributes %v, %d dropped", span.Attributes(), span.DroppedAttributes())
		}
	})
}

// TestSpan writes a span, and holds a copy of it and what an Exporter makes of it against a span of the SDK.
func TestSpan(t *testing.T) {
	for _, want := range spans(t) {
		t.Run("OK "+want.Name(), func(t *testing.T) {
			var r Record
			r.Begin(nil)
			for _, kv := range want.Attributes() {
				r.SetAttribute(&kv)
			}
			for _, e := range want.Events() {
				r.AddEvent(e)
			}
			for _, l := range want.Links() {
				r.AddLink(l)
			}
			r.SetStatus(want.Status().Code, want.Status().Description)
			head := Head{
				Name: want.Name(), Context: want.SpanContext(), Parent: want.Parent().SpanID(), ParentRemote: want.Parent().IsRemote(),
				Kind: want.SpanKind(), Start: want.StartTime(),
			}
			from := Origin{Scope: want.InstrumentationScope(), Resource: want.Resource()}
			span := r.End(&from, &head, want.EndTime())
			kept, room := span.CopyTo([]byte("before"))
			span.fields[0] = 0xff
			copied := kept.Read()
			if string(room[:6]) != "before" {
				t.Errorf("the copy lies at the beginning of %q", room)
			}

			stub := tracetest.SpanStubFromReadOnlySpan(want)
			stub.DroppedAttributes, stub.DroppedEvents, stub.DroppedLinks = copied.DroppedAttributes(), 0, 0
			if stub.DroppedAttributes != len(want.Attributes())-len(copied.Attributes()) {
				t.Errorf("%d dropped of %d attributes, and %d are there", stub.DroppedAttributes, len(want.Attributes()), len(copied.Attributes()))
			}
			stub.Attributes = slices.DeleteFunc(slices.Clone(stub.Attributes), func(kv attribute.KeyValue) bool { return !kv.Valid() })
			written, read := appendSpan(nil, &kept), appendSpan(nil, copied)
			for _, wire := range [][]byte{written, read} {
				if diff := cmp.Diff(decoded(t, appendSpan(nil, stub.Snapshot())), decoded(t, wire), protocmp.Transform()); diff != "" {
					t.Errorf("(-the SDK's +this)\n%s", diff)
				}
			}
		})
	}
}

// decoded returns the span of a ScopeSpans message.
func decoded(t *testing.T, wire []byte) *tracepb.Span {
	t.Helper()
	var message tracepb.ScopeSpans
	if err := proto.Unmarshal(wire, &message); err != nil {
		t.Fatal(err)
	}
	if len(message.GetSpans()) != 1 {
		t.Fatalf("%d spans", len(message.GetSpans()))
	}
	return message.GetSpans()[0]
}
