package streamtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	franz "github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/journal"
)

// away returns an address at which nothing listens.
func away(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// mute returns an address that takes connections and never answers.
func mute(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// sendSpans are the spans of clicks sent or dropped so far.
func (s *stream) sendSpans() []sdktrace.ReadOnlySpan {
	var all []sdktrace.ReadOnlySpan
	for _, span := range s.spans.Ended() {
		if span.SpanKind() == trace.SpanKindProducer {
			all = append(all, span)
		}
	}
	return all
}

// wantDropped asserts the spans of clicks that were dropped for a reason.
func (s *stream) wantDropped(t *testing.T, want int, errorType string) {
	t.Helper()
	var got int
	for _, span := range s.sendSpans() {
		if attributes(span)["error.type"] == errorType && span.Status().Code == codes.Error {
			got++
		}
	}
	if got != want {
		t.Errorf("%d spans with error.type %s, want %d", got, errorType, want)
	}
}

func demonstrateNeverBlocks(t *testing.T, v variant) {
	const clicks, queue = 20000, 100
	s := newStream(t, v, 1)
	s.Queue = queue
	s.Brokers = []string{mute(t)}
	p := s.publisher(t)
	start := time.Now()
	for range clicks / 1000 {
		s.publish(t, p, 1000)
		if depth := s.metric(t, "linktrail_clicks_queue_depth"); depth > queue {
			t.Fatalf("%v clicks are in a queue of %d", depth, queue)
		}
	}
	// The broker never answers: if each click waited but a moment for it, all of them would wait for hours.
	if took := time.Since(start); took > 5*time.Minute {
		t.Errorf("%d clicks took %v", clicks, took)
	}
	s.wantMetric(t, queue, "linktrail_clicks_queue_limit")
	if v.journal { // which has room for them
		s.wantMetric(t, clicks, "linktrail_clicks_journal_appended_total")
		s.wantMetric(t, 0, "linktrail_clicks_dropped_total", "queue_full")
		s.wantMetric(t, 0, "linktrail_clicks_journal_dropped_total", "refused")
		s.wantMetric(t, 0, "linktrail_clicks_journal_dropped_total", "overwritten")
		return
	}
	full := func() float64 { return s.metric(t, "linktrail_clicks_dropped_total", "queue_full") }
	if v.driver == clickstream.DriverKq {
		// kq itself takes a few thousand before it blocks.
		if full() == 0 {
			t.Error("no click found the queue full")
		}
		return
	}
	eventually(t, func() error {
		if full() < clicks-queue {
			return errors.New("not all drops are counted yet")
		}
		return nil
	})
	s.wantMetric(t, clicks-queue, "linktrail_clicks_dropped_total", "queue_full")
	s.wantMetric(t, queue, "linktrail_clicks_queue_depth")
	s.wantDropped(t, clicks-queue, "queue_full")
}

func demonstrateAcknowledged(t *testing.T, v variant) {
	s := newStream(t, v, 1)
	s.Brokers = []string{away(t)}
	p := s.publisher(t)
	s.publish(t, p, 10)
	if broken(Acknowledged, v) {
		eventually(t, func() error {
			if s.metric(t, "linktrail_clicks_published_total") < 10 {
				return errors.New("kq has not taken the clicks")
			}
			return nil
		})
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := p.Close(ctx); err == nil {
		t.Error("closing says that all is well")
	}
	s.wantMetric(t, 0, "linktrail_clicks_published_total")
}

func demonstrateRetried(t *testing.T, v variant) {
	s := newStream(t, v, 1)
	real := s.Brokers[0]
	s.Brokers = []string{away(t)}
	p := s.publisher(t)
	all := s.publish(t, p, 10)
	if broken(Retried, v) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_ = p.Close(ctx) // returns when kq has used up its attempts
		testenv.ComeBack(t, s.Brokers[0], real)
		if n := s.inTopic(t); n != 0 {
			t.Errorf("%d records are in the topic: kq keeps this promise now", n)
		}
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	<-ctx.Done() // the outage
	s.wantMetric(t, 10, "linktrail_clicks_queue_depth")
	testenv.ComeBack(t, s.Brokers[0], real)
	MustClose(t, p)
	s.wantMetric(t, 10, "linktrail_clicks_published_total")
	s.wantMetric(t, 0, "linktrail_clicks_queue_depth")
	s.Brokers = []string{real}
	got := newReceived()
	s.consume(t, patience, got.take)
	got.want(t, all)
}

func demonstrateRefusedIsSeen(t *testing.T, v variant) {
	s := newStream(t, v, 1)
	admin := MustDial(t)
	defer admin.Close()
	limit := func(bytes string) {
		t.Helper()
		configs := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &bytes}}
		if _, err := kadm.NewClient(admin).AlterTopicConfigs(t.Context(), configs, s.Topic); err != nil {
			t.Fatal(err)
		}
	}
	limit("200")
	// The broker has the limit a moment after it has said so.
	eventually(t, func() error {
		value := make([]byte, 1000)
		_, _ = rand.Read(value) // which does not compress
		err := admin.ProduceSync(t.Context(), &franz.Record{Topic: s.Topic, Value: value}).FirstErr()
		if !errors.Is(err, kerr.MessageTooLarge) {
			return fmt.Errorf("a record beyond the limit gave %v", err) //nolint:errorlint // it may be nil
		}
		return nil
	})
	before := s.inTopic(t)
	// To an error that it may not answer the broker reacts by closing the connection, and loses what is behind it there.
	// kafka-go has one connection for all that use the same address: this test takes one of its own.
	own := away(t)
	testenv.ComeBack(t, own, s.Brokers[0])
	s.Brokers = []string{own}
	p := s.publisher(t)
	s.publish(t, p, 1)
	if v.journal && v.driver == clickstream.DriverKgo { // it stays there
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		<-ctx.Done()
		s.wantMetric(t, 1, "linktrail_clicks_journal_records")
		limit("1000012")
		MustClose(t, p)
		s.wantMetric(t, 1, "linktrail_clicks_published_total")
		s.wantMetric(t, 0, "linktrail_clicks_dropped_total", "rejected")
		if n := s.inTopic(t) - before; n != 1 {
			t.Errorf("the broker took %d", n)
		}
		return
	}
	MustClose(t, p)
	if n := s.inTopic(t) - before; n != 0 {
		t.Fatalf("the broker took %d", n)
	}
	if broken(RefusedIsSeen, v) {
		s.wantMetric(t, 1, "linktrail_clicks_published_total")
		return
	}
	s.wantMetric(t, 0, "linktrail_clicks_published_total")
	s.wantMetric(t, 1, "linktrail_clicks_dropped_total", "rejected")
	s.wantDropped(t, 1, "MESSAGE_TOO_LARGE")
}

func demonstrateCloseCounts(t *testing.T, v variant) {
	s := newStream(t, v, 1)
	s.Brokers = []string{mute(t)}
	p := s.publisher(t)
	s.publish(t, p, 50)
	if broken(CloseCounts, v) {
		eventually(t, func() error {
			if s.metric(t, "linktrail_clicks_published_total") < 50 {
				return errors.New("kq has not taken the clicks")
			}
			return nil
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	err := p.Close(ctx)
	if took := time.Since(start); took > time.Minute {
		t.Errorf("closing took %v with a deadline of 200 ms", took)
	}
	want := "50 clicks"
	if broken(CloseCounts, v) {
		want = "0 clicks were not handed over in time and are lost, and so may be those in kq's hands"
	}
	if v.journal && v.driver == clickstream.DriverKgo { // none is lost
		left, ok := errors.AsType[*journal.LeftError](err)
		if !ok || left.Clicks != 50 {
			t.Errorf("got %v, want that 50 clicks are left", err)
		}
		s.wantMetric(t, 0, "linktrail_clicks_dropped_total", "closed")
		s.wantDropped(t, 0, "closed")
		s.publish(t, p, 3)
		s.wantMetric(t, 3, "linktrail_clicks_journal_dropped_total", "refused")
		return
	}
	if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %q", err, want)
	}
	if !broken(CloseCounts, v) {
		s.wantMetric(t, 50, "linktrail_clicks_dropped_total", "closed")
		s.wantDropped(t, 50, "closed")
	}
	name, reason := "linktrail_clicks_dropped_total", "closed"
	if v.journal {
		name, reason = "linktrail_clicks_journal_dropped_total", "refused"
	}
	before := s.metric(t, name, reason)
	s.publish(t, p, 3)
	s.wantMetric(t, before+3, name, reason)
	if err := p.Close(t.Context()); err != nil {
		t.Errorf("closed again: %v", err)
	}
}
