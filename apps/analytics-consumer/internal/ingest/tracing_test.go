package ingest_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/clickstream"
)

func TestSpans(t *testing.T) {
	t.Run("OKOneClick", func(t *testing.T) {
		r := newRig(t)
		batch := r.records(1, true)
		r.mustHandle(batch)
		process, insert := r.mustFind(batch[0])

		if process.SpanKind() != trace.SpanKindConsumer || insert.SpanKind() != trace.SpanKindClient {
			t.Errorf("kinds %s and %s", process.SpanKind(), insert.SpanKind())
		}
		producer := batch[0].Producer
		if !process.Parent().Equal(producer) {
			t.Errorf("the parent of the process span is %v, want the producer %v", process.Parent(), producer)
		}
		if links := process.Links(); len(links) != 1 || links[0].SpanContext.SpanID() != producer.SpanID() || links[0].SpanContext.TraceID() != producer.TraceID() {
			t.Errorf("the process span links to %v, want the producer alone", links)
		}
		if insert.Parent().SpanID() != process.SpanContext().SpanID() {
			t.Error("the insert span is no child of the process span")
		}
		wantAttributes(t, process, map[attribute.Key]any{
			"messaging.system":                   "kafka",
			"messaging.operation.name":           "process",
			"messaging.operation.type":           "process",
			"messaging.destination.name":         "click-events",
			"messaging.destination.partition.id": "5",
			"messaging.kafka.offset":             batch[0].Offset,
			"messaging.consumer.group.name":      group,
			"messaging.message.id":               idOf(t, batch[0]).String(),
		})
		wantAttributes(t, insert, map[attribute.Key]any{
			"db.system.name":          "postgresql",
			"db.namespace":            "linktrail",
			"db.operation.name":       "INSERT",
			"db.collection.name":      "clicks",
			"db.query.summary":        "INSERT clicks",
			"db.operation.batch.size": int64(1),
			"server.address":          "db.example",
			"server.port":             int64(5432),
		})
		if insert.StartTime().Before(process.StartTime()) || insert.EndTime().After(process.EndTime()) || insert.EndTime().Before(insert.StartTime()) {
			t.Error("the insert span does not lie within the process span")
		}
		if n := len(r.spans.Ended()); n != 2 {
			t.Errorf("%d spans, want no batch span for one click", n)
		}
	})
	t.Run("OKBatch", func(t *testing.T) {
		r := newRig(t)
		batch := append(r.records(3, true), r.records(2, false)...)
		r.mustHandle(batch)
		for _, record := range batch[:3] {
			_, insert := r.mustFind(record)
			if got := attributes(insert)["db.operation.batch.size"]; got != int64(5) {
				t.Errorf("db.operation.batch.size %v, want 5", got)
			}
		}
		if n := len(r.spans.Ended()); n != 3*2+1 {
			t.Errorf("%d spans, want a pair for each sampled click and one for the batch", n)
		}
		all := r.mustFindBatch()
		if all.Parent().IsValid() {
			t.Error("the batch span has a parent")
		}
		if links := all.Links(); len(links) != 3 || links[2].SpanContext.SpanID() != batch[2].Producer.SpanID() {
			t.Errorf("the batch span links to %v", links)
		}
		wantAttributes(t, all, map[attribute.Key]any{
			"messaging.system":              "kafka",
			"messaging.operation.name":      "ingest",
			"messaging.operation.type":      "process",
			"messaging.destination.name":    "click-events",
			"messaging.consumer.group.name": group,
			"messaging.batch.message_count": int64(5),
		})
	})
	t.Run("OKLinksToAtMost128", func(t *testing.T) {
		r := newRig(t)
		batch := r.records(200, true)
		r.mustHandle(batch)
		all := r.mustFindBatch()
		if n := len(all.Links()); n != 128 || all.DroppedLinks() != 0 {
			t.Errorf("%d links and %d dropped, want 128 and none", n, all.DroppedLinks())
		}
		if all.Links()[0].SpanContext.SpanID() != batch[0].Producer.SpanID() {
			t.Error("the first click is not among the links")
		}
		if got := attributes(all)["messaging.batch.message_count"]; got != int64(200) {
			t.Errorf("messaging.batch.message_count %v", got)
		}
	})
	t.Run("OKWithoutPartition", func(t *testing.T) { // as kq hands records over
		r := newRig(t)
		record := r.record(true)
		record.Partition, record.Offset = -1, -1
		r.mustHandle([]clickstream.Record{record})
		process, _ := r.mustFind(record)
		for key := range attributes(process) {
			if strings.Contains(string(key), "partition") || strings.Contains(string(key), "offset") {
				t.Errorf("%s is not known", key)
			}
		}
	})
	t.Run("ErrStoreAway", func(t *testing.T) {
		r := newRig(t)
		batch := r.records(2, true)
		r.store.away = errors.New("connection refused")
		for range 5 {
			if err := r.ingester.Handle(t.Context(), batch); err == nil {
				t.Fatal("no error")
			}
		}
		if n := len(r.spans.Ended()); n != 5 {
			t.Fatalf("%d spans after five failures, want those of the first alone", n)
		}
		process, insert := r.mustFind(batch[0])
		all := r.mustFindBatch()
		for _, span := range []sdktrace.ReadOnlySpan{process, insert, all} {
			if span.Status().Code != codes.Error || attributes(span)["error.type"] == nil {
				t.Errorf("%s: status %v, error.type %v", span.Name(), span.Status(), attributes(span)["error.type"])
			}
		}
		r.spans.Reset()
		r.store.away = nil
		r.mustHandle(batch)
		process, insert = r.mustFind(batch[0])
		if process.Status().Code == codes.Error || insert.Status().Code == codes.Error {
			t.Error("the attempt that succeeded has an error")
		}
	})
	t.Run("ErrRefused", func(t *testing.T) {
		r := newRig(t)
		batch := r.records(4, true)
		r.store.refuse[idOf(t, batch[3])] = sqlError("22P05")
		r.mustHandle(batch)
		process, insert := r.mustFind(batch[3])
		if process.Status().Code != codes.Error || attributes(process)["error.type"] != "refused" {
			t.Errorf("process span: %v, %v", process.Status(), attributes(process))
		}
		if insert.Status().Code != codes.Error || attributes(insert)["db.response.status_code"] != "22P05" {
			t.Errorf("insert span: %v, %v", insert.Status(), attributes(insert))
		}
		process, insert = r.mustFind(batch[0])
		if process.Status().Code == codes.Error || insert.Status().Code == codes.Error {
			t.Error("a click that was written has an error")
		}
		if got := attributes(insert)["db.operation.batch.size"]; got != int64(2) {
			t.Errorf("db.operation.batch.size %v, want that of the write which went through, 2", got)
		}
	})
	t.Run("ErrUndecodable", func(t *testing.T) {
		r := newRig(t)
		record := r.record(true, func(c *click.Click) { c.LinkID = 0 })
		r.mustHandle([]clickstream.Record{record})
		spans := r.inTraceOf(record)
		if len(spans) != 1 || spans[0].Name() != "process click-events" {
			t.Fatalf("got %v, want the process span alone", spans)
		}
		if spans[0].Status().Code != codes.Error || attributes(spans[0])["error.type"] != "undecodable" {
			t.Errorf("%v, %v", spans[0].Status(), attributes(spans[0]))
		}
	})
}

func (r *rig) inTraceOf(record clickstream.Record) []sdktrace.ReadOnlySpan {
	var spans []sdktrace.ReadOnlySpan
	for _, span := range r.spans.Ended() {
		if span.SpanContext().TraceID() == record.Producer.TraceID() {
			spans = append(spans, span)
		}
	}
	return spans
}

// mustFind returns the two spans in the trace of a record.
func (r *rig) mustFind(record clickstream.Record) (process, insert sdktrace.ReadOnlySpan) {
	r.t.Helper()
	spans := r.inTraceOf(record)
	for _, span := range spans {
		switch span.Name() {
		case "process click-events":
			process = span
		case "INSERT clicks":
			insert = span
		}
	}
	if process == nil || insert == nil || len(spans) != 2 {
		r.t.Fatalf("the trace of the click has %v, want a process span and an insert span", spans)
	}
	return process, insert
}

func (r *rig) mustFindBatch() sdktrace.ReadOnlySpan {
	r.t.Helper()
	var found sdktrace.ReadOnlySpan
	for _, span := range r.spans.Ended() {
		if span.Name() == "ingest click-events" {
			if found != nil {
				r.t.Fatal("two batch spans")
			}
			found = span
		}
	}
	if found == nil {
		r.t.Fatal("no batch span")
	}
	return found
}

func attributes(span sdktrace.ReadOnlySpan) map[attribute.Key]any {
	all := make(map[attribute.Key]any)
	for _, kv := range span.Attributes() {
		all[kv.Key] = kv.Value.AsInterface()
	}
	return all
}

func wantAttributes(t *testing.T, span sdktrace.ReadOnlySpan, want map[attribute.Key]any) {
	t.Helper()
	if diff := cmp.Diff(want, attributes(span)); diff != "" {
		t.Errorf("%s: -want +got\n%s", span.Name(), diff)
	}
}
