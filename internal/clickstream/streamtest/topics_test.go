package streamtest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	franz "github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/driver"
)

func TestMakeTopics(t *testing.T) {
	t.Parallel()
	s := newStream(t, variant{driver: clickstream.DriverKgo}, 3)
	var said []string
	tell := func(line string) { said = append(said, line) }
	if err := driver.MakeTopics(t.Context(), s.Config, 5, 1, tell); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"topic " + s.Topic + " exists, with 3 partitions instead of 5; it stays as it is",
		"topic " + s.Topic + ".dlq exists",
	}
	if !slices.Equal(said, want) {
		t.Errorf("got %q, want %q", said, want)
	}
	fresh := s.Config
	fresh.Topic += "-2"
	said = nil
	if err := driver.MakeTopics(t.Context(), fresh, 5, -1, tell); err != nil {
		t.Fatal(err)
	}
	MustMakeTopics(t, fresh, 5) // for its clean-up
	if want := "made topic " + fresh.Topic + " with 5 partitions"; len(said) != 2 || said[0] != want {
		t.Errorf("got %q, want %q first", said, want)
	}
	fresh.Topic += "-3"
	if err := driver.MakeTopics(t.Context(), fresh, 5, 30); err == nil || !strings.Contains(err.Error(), fresh.Topic) {
		t.Errorf("with more replicas than brokers: %v", err)
	}
}

func TestDeadLetters(t *testing.T) {
	for _, v := range []variant{{driver: clickstream.DriverKgo}, {driver: clickstream.DriverKgo, secure: true}, {driver: clickstream.DriverKq}} {
		t.Run(v.String(), func(t *testing.T) {
			v.parallel(t)
			s := newStream(t, v, 1)
			letters, err := driver.DeadLetters(s.Config)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := letters.Close(context.Background()); err != nil {
					t.Error(err)
				}
			}()
			sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: 1})
			for _, r := range []clickstream.Record{
				{Value: []byte("no click"), Producer: sc, Topic: s.Topic, Partition: 7, Offset: 42},
				{Value: []byte("nor this"), Topic: s.Topic, Partition: -1, Offset: -1},
			} {
				if err := letters.Send(t.Context(), r, "undecodable: not JSON"); err != nil {
					t.Fatal(err)
				}
			}
			large := clickstream.Record{Value: bytes.Repeat([]byte("large"), 400_000), Topic: s.Topic, Partition: -1, Offset: -1}
			if err := letters.Send(t.Context(), large, "undecodable"); err != nil {
				t.Fatal(err)
			}
			dead := *s
			dead.Topic += clickstream.DeadLetterSuffix
			var got []string
			for _, r := range dead.raw(t, 3) {
				got = append(got, string(r.Value[:min(len(r.Value), 8)])+headers(r))
			}
			want := []string{
				"no click traceparent=00-01000000000000000000000000000000-0200000000000000-01 linktrail-reason=undecodable: not JSON linktrail-topic=" + s.Topic + " linktrail-partition=7 linktrail-offset=42",
				"nor this linktrail-reason=undecodable: not JSON linktrail-topic=" + s.Topic,
				"largelar linktrail-reason=undecodable linktrail-topic=" + s.Topic + " linktrail-cut=2000000",
			}
			if !slices.Equal(got, want) {
				t.Errorf("got\n%q, want\n%q", got, want)
			}
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			gone := s.Config
			gone.Brokers = []string{away(t)}
			nowhere, err := driver.DeadLetters(gone)
			if err != nil {
				t.Fatal(err)
			}
			if err := nowhere.Send(ended, clickstream.Record{}, "x"); !errors.Is(err, context.Canceled) {
				t.Errorf("without a broker: %v", err)
			}
			if err := nowhere.Close(ended); !errors.Is(err, context.Canceled) {
				t.Errorf("closing without a broker: %v", err)
			}
		})
	}
}

// demonstrateDeadHeaders has a consumer move a record of somebody else's to the dead letters.
func demonstrateDeadHeaders(t *testing.T, v variant) {
	s := newStream(t, v, 1)
	client := MustDial(t)
	defer client.Close()
	const parent = "00-01000000000000000000000000000000-0200000000000000-01"
	foreign := &franz.Record{Topic: s.Topic, Value: []byte("no click"), Headers: []franz.RecordHeader{
		{Key: "content-type", Value: []byte("text/plain")}, {Key: "traceparent", Value: []byte(parent)}, {Key: "x"}, {Key: "x", Value: []byte("2")}}}
	if err := client.ProduceSync(t.Context(), foreign).FirstErr(); err != nil {
		t.Fatal(err)
	}
	letters, err := driver.DeadLetters(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	s.consume(t, patience, func(ctx context.Context, batch []clickstream.Record) error {
		for _, r := range batch {
			if err := letters.Send(ctx, r, "undecodable"); err != nil {
				return err
			}
		}
		return nil
	})
	dead := *s
	dead.Topic += clickstream.DeadLetterSuffix
	got := headers(dead.raw(t, 1)[0])
	want := " content-type=text/plain traceparent=" + parent + " x= x=2 linktrail-reason=undecodable linktrail-topic=" + s.Topic +
		" linktrail-partition=0 linktrail-offset=0"
	if broken(DeadHeaders, v) {
		want = " traceparent=" + parent + " linktrail-reason=undecodable linktrail-topic=" + s.Topic
	}
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := letters.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func headers(r *franz.Record) string {
	var b strings.Builder
	for _, h := range r.Headers {
		b.WriteString(" " + h.Key + "=" + string(h.Value))
	}
	return b.String()
}

// TestLag has a consumer whose handler is stuck, so that what the metric says is not what was fetched but what is left.
func TestLag(t *testing.T) {
	for _, v := range []variant{{driver: clickstream.DriverKgo}, {driver: clickstream.DriverKq}} {
		t.Run(v.String(), func(t *testing.T) {
			v.parallel(t)
			s, all := filled(t, v, 2, 50)
			release := make(chan struct{})
			got := newReceived()
			s.consume(t, patience, func(ctx context.Context, batch []clickstream.Record) error {
				<-release
				return got.take(ctx, batch)
			})
			eventually(t, func() error {
				if lag := s.metric(t, "linktrail_clicks_consumer_lag"); lag != 50 {
					return errors.New("the lag is not 50")
				}
				return nil
			})
			close(release)
			got.want(t, all)
			eventually(t, func() error {
				if lag := s.metric(t, "linktrail_clicks_consumer_lag"); lag != 0 {
					return errors.New("the lag is not 0")
				}
				return nil
			})
		})
	}
}
