package streamtest

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	franz "github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/clickstream"
)

// demonstrateCarries sends clicks from the driver to both.
func demonstrateCarries(t *testing.T, v variant) {
	for _, to := range []string{clickstream.DriverKgo, clickstream.DriverKq} {
		t.Run("to "+to, func(t *testing.T) {
			v.parallel(t)
			carry(t, newStream(t, v, 4), to)
		})
	}
}

// carry publishes clicks and asserts that value and trace context come out at the other end.
func carry(t *testing.T, s *stream, to string) {
	t.Helper()
	p := s.publisher(t)
	all := s.publish(t, p, 200)
	unsampled := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{7}, SpanID: trace.SpanID{9}})
	quiet := newClick(unsampled)
	p.Publish(trace.ContextWithSpanContext(t.Context(), unsampled), quiet)
	all[quiet.ID] = sent{click: quiet, server: unsampled}
	MustClose(t, p)
	s.wantMetric(t, 201, "linktrail_clicks_published_total")
	s.wantMetric(t, 201, "linktrail_click_publish_duration_seconds")
	eventually(t, func() error { // what kq has sent without asking for an answer may still be on its way
		if n := s.inTopic(t); n != 201 {
			return fmt.Errorf("%d records are in the topic", n)
		}
		return nil
	})

	got := newReceived()
	end := s.with(t, to)
	reader := end.consume(t, patience, got.take)
	got.want(t, all)
	reader.stop(t)
	end.wantMetric(t, 201, "linktrail_clicks_consumed_total")

	sends := make(map[trace.SpanID]sdktrace.ReadOnlySpan)
	for _, span := range s.spans.Ended() {
		if span.SpanKind() == trace.SpanKindProducer {
			sends[span.SpanContext().SpanID()] = span
		}
	}
	if len(sends) != 200 {
		t.Errorf("%d send spans instead of 200", len(sends))
	}
	for id, want := range all {
		record := got.records[id]
		c, err := click.Decode(record.Value)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.click, c, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Fatalf("-sent +received\n%s", diff)
		}
		if !record.Producer.IsRemote() || record.Producer.TraceID() != want.server.TraceID() {
			t.Fatalf("the record's producer is %v, want one of trace %v", record.Producer, want.server.TraceID())
		}
		if id == quiet.ID {
			if record.Producer.IsSampled() || record.Producer.SpanID() != unsampled.SpanID() {
				t.Errorf("below a span that is not sampled the record's producer is %v", record.Producer)
			}
			continue
		}
		send, ok := sends[record.Producer.SpanID()]
		if !ok {
			t.Fatalf("the record's producer %v is no send span", record.Producer)
		}
		wantSend(t, s, send, want)
	}
	s.wantProcess(t, got)
}

// wantSend asserts the send span of a click.
func wantSend(t *testing.T, s *stream, span sdktrace.ReadOnlySpan, from sent) {
	t.Helper()
	if span.Name() != "send "+s.Topic || span.Parent().SpanID() != from.server.SpanID() || span.Status().Code != codes.Unset {
		t.Errorf("span %q with parent %v and status %v, want \"send %s\" below %v", span.Name(), span.Parent(), span.Status(), s.Topic, from.server.SpanID())
	}
	attrs := attributes(span)
	for key, want := range map[attribute.Key]string{
		"messaging.system": "kafka", "messaging.operation.name": "send", "messaging.operation.type": "send",
		"messaging.destination.name": s.Topic, "messaging.message.id": from.click.ID.String(),
	} {
		if attrs[key] != want {
			t.Errorf("%s is %q, want %q", key, attrs[key], want)
		}
	}
	for _, key := range []attribute.Key{"messaging.client.id", "server.address", "server.port"} {
		if attrs[key] == "" {
			t.Errorf("no %s", key)
		}
	}
	if known := attrs["messaging.kafka.offset"] != "" && attrs["messaging.destination.partition.id"] != ""; known != (s.Driver == clickstream.DriverKgo) {
		t.Errorf("partition %q and offset %q by driver %s", attrs["messaging.destination.partition.id"], attrs["messaging.kafka.offset"], s.Driver)
	}
}

func attributes(span sdktrace.ReadOnlySpan) map[attribute.Key]string {
	all := make(map[attribute.Key]string)
	for _, kv := range span.Attributes() {
		all[kv.Key] = kv.Value.String()
	}
	return all
}

// wantProcess starts the process spans of all records and asserts them.
func (s *stream) wantProcess(t *testing.T, got *received) {
	t.Helper()
	for _, r := range got.records {
		spans := tracetest.NewSpanRecorder()
		tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("ingest")
		ctx, span := clickstream.StartProcess(context.Background(), tracer, r, s.Group)
		if span.End(); !r.Producer.IsSampled() {
			_, below := tracer.Start(ctx, "INSERT clicks")
			if below.End(); len(spans.Ended()) > 0 && spans.Ended()[0].SpanContext().TraceID() != r.Producer.TraceID() {
				t.Errorf("a record that is not sampled began a trace")
			}
			continue
		}
		process := spans.Ended()[0]
		if process.Name() != "process "+s.Topic || process.SpanKind() != trace.SpanKindConsumer || !process.Parent().Equal(r.Producer) ||
			len(process.Links()) != 1 || !process.Links()[0].SpanContext.Equal(r.Producer) {
			t.Fatalf("span %q, %v, parent %v, links %v", process.Name(), process.SpanKind(), process.Parent(), process.Links())
		}
		attrs := attributes(process)
		if attrs["messaging.consumer.group.name"] != s.Group || attrs["messaging.operation.name"] != "process" || attrs["messaging.operation.type"] != "process" {
			t.Errorf("attributes %v", attrs)
		}
		if r.Partition >= 0 && (attrs["messaging.destination.partition.id"] != strconv.Itoa(int(r.Partition)) || attrs["messaging.kafka.offset"] != strconv.Itoa(int(r.Offset))) {
			t.Errorf("partition and offset: %v", attrs)
		}
	}
}

func demonstrateNoKey(t *testing.T, v variant) {
	s := newStream(t, v, 1)
	p := s.publisher(t)
	member, err := baggage.NewMember("customer", "secret")
	if err != nil {
		t.Fatal(err)
	}
	bag, err := baggage.New(member)
	if err != nil {
		t.Fatal(err)
	}
	state, err := trace.ParseTraceState("vendor=1")
	if err != nil {
		t.Fatal(err)
	}
	parent := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{7}, SpanID: trace.SpanID{9}, TraceFlags: trace.FlagsSampled, TraceState: state})
	ctx := trace.ContextWithSpanContext(baggage.ContextWithBaggage(t.Context(), bag), parent)
	p.Publish(ctx, newClick(parent))
	MustClose(t, p)

	r := s.raw(t, 1)[0]
	if len(r.Key) > 0 || r.Key != nil != broken(NoKey, v) {
		t.Errorf("the key is %#v", r.Key)
	}
	headers := make(map[string]string)
	for _, h := range r.Headers {
		headers[h.Key] = string(h.Value)
	}
	send := s.spans.Ended()[0].SpanContext()
	want := map[string]string{
		"traceparent": fmt.Sprintf("00-%s-%s-%02x", send.TraceID(), send.SpanID(), byte(send.TraceFlags())),
		"tracestate":  "vendor=1",
	}
	if diff := cmp.Diff(want, headers); diff != "" {
		t.Errorf("headers -want +got\n%s", diff)
	}
}

// raw reads records as they lie in the topic.
func (s *stream) raw(t *testing.T, n int) []*franz.Record {
	t.Helper()
	client := MustDial(t, franz.ConsumeTopics(s.Topic), franz.ConsumeResetOffset(franz.NewOffset().AtStart()))
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var records []*franz.Record
	for len(records) < n {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}

func demonstrateFromTheFirst(t *testing.T, v variant) {
	s := newStream(t, variant{driver: clickstream.DriverKgo, secure: v.secure}, 2)
	p := s.publisher(t)
	all := s.publish(t, p, 10)
	MustClose(t, p)
	got := newReceived()
	s.with(t, v.driver).consume(t, patience, got.take)
	got.want(t, all)
}

func demonstrateBatches(t *testing.T, v variant) {
	s := newStream(t, variant{driver: clickstream.DriverKgo, secure: v.secure}, 4)
	p := s.publisher(t)
	all := s.publish(t, p, 500)
	MustClose(t, p)
	end := s.with(t, v.driver)
	end.MaxBatch = 40
	most := 40
	if broken(Batches, v) {
		most = end.Conns
	}
	got := newReceived()
	end.consume(t, patience, got.take)
	got.want(t, all)
	if got.largest > most {
		t.Errorf("the largest batch had %d records, want at most %d", got.largest, most)
	}
	if v.driver == clickstream.DriverKgo && got.largest != most {
		t.Errorf("of 500 records the largest batch had %d, want %d", got.largest, most)
	}
}

func demonstrateOffsets(t *testing.T, v variant) {
	s := newStream(t, variant{driver: clickstream.DriverKgo, secure: v.secure}, 1)
	p := s.publisher(t)
	all := s.publish(t, p, 5)
	MustClose(t, p)
	got := newReceived()
	s.with(t, v.driver).consume(t, patience, got.take)
	got.want(t, all)
	offsets := make(map[int64]uuid.UUID)
	for id, r := range got.records {
		if known := r.Partition == 0 && r.Offset >= 0; known == broken(Offsets, v) || r.Topic != s.Topic {
			t.Errorf("topic %s, partition %d, offset %d", r.Topic, r.Partition, r.Offset)
		}
		offsets[r.Offset] = id
	}
	if !broken(Offsets, v) && len(offsets) != 5 {
		t.Errorf("offsets %v", offsets)
	}
}
