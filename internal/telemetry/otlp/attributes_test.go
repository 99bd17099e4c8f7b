package otlp

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
)

// carrier is a span with encoded attributes.
type carrier struct {
	sdktrace.ReadOnlySpan
	attributes Setter
}

func (c *carrier) EncodedAttributes() *Attributes { return &c.attributes.Attributes }

// TestAttributes sets attributes at random, often of the same keys, and holds what is there against a list.
func TestAttributes(t *testing.T) {
	const limit = 20
	random := rand.New(rand.NewPCG(1, 2))
	value := func() attribute.Value {
		return []attribute.Value{
			attribute.StringValue(strings.Repeat("é", random.IntN(200))), attribute.BoolValue(random.IntN(2) == 0),
			attribute.Int64Value(random.Int64() - random.Int64()), attribute.Float64Value(random.NormFloat64()),
			attribute.StringSliceValue([]string{"a", "b"}), attribute.MapValue(attribute.Int("n", random.IntN(9))),
		}[random.IntN(6)]
	}
	for range 300 {
		var room [64]byte
		c := carrier{ReadOnlySpan: tracetest.SpanStub{}.Snapshot()}
		c.attributes.Begin(room[:])
		var want []attribute.KeyValue
		for range random.IntN(60) {
			kv := attribute.KeyValue{Key: attribute.Key(fmt.Sprintf("key.%d", random.IntN(30))), Value: value()}
			at := slices.IndexFunc(want, func(other attribute.KeyValue) bool { return other.Key == kv.Key })
			fits := at >= 0 || len(want) < limit
			if got := c.attributes.Set(&kv, limit); got != fits {
				t.Fatalf("Set is %v with %d attributes", got, len(want))
			}
			switch {
			case at >= 0:
				want[at] = kv
			case fits:
				want = append(want, kv)
			}
		}
		got := c.attributes.List()
		byKey := func(a, b attribute.KeyValue) int { return strings.Compare(string(a.Key), string(b.Key)) }
		slices.SortFunc(got, byKey)
		slices.SortFunc(want, byKey)
		if c.attributes.Len() != len(want) || !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
		if diff := cmp.Diff(decoded(t, appendKeyValues(nil, attributesField, want)), decoded(t, appendAttributes(nil, &c)), protocmp.Transform()); diff != "" {
			t.Fatalf("(-list +encoded)\n%s", diff)
		}
	}

	t.Run("OK no UTF-8", func(t *testing.T) {
		var a Setter
		kv := attribute.String("key\xff", "value\xff")
		for range 2 {
			a.Set(&kv, limit)
		}
		if got, want := a.List(), []attribute.KeyValue{attribute.String("key\uFFFD", "value\uFFFD")}; !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	})
}

// decoded returns a span of these fields, its attributes in the order of their keys.
func decoded(t *testing.T, wire []byte) *tracepb.Span {
	t.Helper()
	span := new(tracepb.Span)
	if err := proto.Unmarshal(wire, span); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(span.GetAttributes(), func(a, b *commonpb.KeyValue) int { return strings.Compare(a.GetKey(), b.GetKey()) })
	return span
}
