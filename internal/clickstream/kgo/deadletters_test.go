package kgo_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	franz "github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/kgo"
)

// TestTooLargeLetters writes records to a topic of dead letters that takes no larger ones than 64 KiB.
func TestTooLargeLetters(t *testing.T) {
	const topic = clickstream.DefaultTopic + clickstream.DeadLetterSuffix
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topic))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	client, err := franz.NewClient(franz.SeedBrokers(cluster.ListenAddrs()...), franz.ConsumeTopics(topic))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	limit := "65536"
	if _, err := kadm.NewClient(client).AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &limit}}, topic); err != nil {
		t.Fatal(err)
	}
	letters, err := kgo.NewDeadLetters(clickstream.Config{Brokers: cluster.ListenAddrs()}.WithDefaults(), kgo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := letters.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})

	random := make([]byte, 1_010_000) // which does not compress
	_, _ = rand.Read(random)
	blank := make([]byte, 100_000) // which does
	state, err := trace.ParseTraceState("a=1")
	if err != nil {
		t.Fatal(err)
	}
	producer := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceState: state})
	parent := clickstream.Header{Key: "traceparent", Value: []byte("00-01000000000000000000000000000000-0200000000000000-00")}
	small, large := clickstream.Header{Key: "x", Value: []byte("1")}, clickstream.Header{Key: "x", Value: random}
	for name, tt := range map[string]struct {
		value   []byte
		headers []clickstream.Header
		want    string // how long the value is and what the headers are, without where the record was
	}{
		"OK whole":               {blank, []clickstream.Header{small}, "100000 x"},
		"OK a value":             {append(random[:200_000:200_000], blank...), []clickstream.Header{parent, small}, "16384 traceparent linktrail-cut=300000"},
		"OK the end of a value":  {append(blank[:70_000:70_000], random...), []clickstream.Header{parent, small}, "65536 traceparent x linktrail-cut=1080000"},
		"OK headers":             {[]byte("no click"), []clickstream.Header{parent, {Key: "tracestate", Value: []byte("a=1")}, large}, "8 traceparent linktrail-cut=8"},
		"OK headers, no value":   {nil, []clickstream.Header{parent, large}, "0 traceparent linktrail-cut=0"},
		"OK headers and a value": {random, []clickstream.Header{parent, large}, "16384 traceparent linktrail-cut=1010000"},
	} {
		t.Run(name, func(t *testing.T) {
			r := clickstream.Record{Topic: clickstream.DefaultTopic, Partition: 2, Offset: 42, Value: tt.value, Headers: tt.headers}
			if tt.headers[0].Key == parent.Key {
				r.Producer = producer
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if err := letters.Send(ctx, r, "undecodable: x"); err != nil {
				t.Fatal(err)
			}
			fetches := client.PollFetches(ctx)
			if err := fetches.Err(); err != nil || fetches.NumRecords() != 1 {
				t.Fatalf("%d records, %v", fetches.NumRecords(), err)
			}
			record := fetches.Records()[0]
			got, place := fmt.Sprint(len(record.Value)), ""
			for _, h := range record.Headers {
				switch h.Key {
				case kgo.HeaderReason, kgo.HeaderTopic, kgo.HeaderPartition, kgo.HeaderOffset:
					place += " " + string(h.Value)
				case kgo.HeaderCut:
					got += " " + h.Key + "=" + string(h.Value)
				default:
					got += " " + h.Key
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if want := " undecodable: x click-events 2 42"; place != want {
				t.Errorf("it came from %q, want %q", place, want)
			}
		})
	}
	t.Run("Err a small one, which may be refused for another's sake", func(t *testing.T) {
		cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.MessageTooLarge, Count: 1})
		r := clickstream.Record{Topic: clickstream.DefaultTopic, Value: []byte("no click"), Headers: []clickstream.Header{small}}
		if err := letters.Send(t.Context(), r, "undecodable: x"); !errors.Is(err, kerr.MessageTooLarge) {
			t.Errorf("got %v", err)
		}
	})
}
