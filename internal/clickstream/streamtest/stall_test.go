package streamtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	goqueue "github.com/zeromicro/go-queue/kq"
	"github.com/zeromicro/go-zero/core/proc"
	"github.com/zeromicro/go-zero/core/service"
	"github.com/zeromicro/go-zero/core/trace"

	"github.com/linktrail/linktrail/internal/clickstream"
)

// demonstrateStalled has a store be away for longer than the session of a member that says nothing.
func demonstrateStalled(t *testing.T, v variant) {
	if v.driver == clickstream.DriverKq {
		t.Parallel() // it only reads
	}
	s, all := filled(t, v, 2, 50)
	session := briefest
	if v.driver == clickstream.DriverKq {
		session = kqSession
	}
	s.registry = prometheus.NewRegistry()
	consumer, err := briefSession(s.Config, s.registry)
	if err != nil {
		t.Fatal(err)
	}
	var back atomic.Bool
	got := newReceived()
	ctx, cancel := context.WithCancel(context.Background())
	reader := &running{consumer: consumer, cancel: cancel, ended: make(chan error, 1)}
	go func() {
		reader.ended <- consumer.Run(ctx, func(ctx context.Context, batch []clickstream.Record) error {
			if !back.Load() {
				return errors.New("the store is away")
			}
			return got.take(ctx, batch)
		})
	}()
	t.Cleanup(func() { reader.stop(t) })
	eventually(t, func() error {
		if s.metric(t, "linktrail_consumer_stalled") != 1 {
			return errors.New("it does not say that it is stalled")
		}
		return consumer.Ready()
	})
	members := s.members(t)
	tick := time.NewTicker(time.Second / 2)
	defer tick.Stop()
	for start := time.Now(); time.Since(start) < session*3/2; <-tick.C {
		if now := s.members(t); !slices.Equal(now, members) {
			t.Fatalf("the members were %q and are %q", members, now)
		}
		if err := consumer.Ready(); err != nil {
			t.Fatalf("not ready after %v: %v", time.Since(start), err)
		}
		s.wantMetric(t, 1, "linktrail_consumer_stalled")
	}
	if seconds := s.metric(t, "linktrail_consumer_stalled_seconds"); seconds < session.Seconds() {
		t.Errorf("stalled for %v seconds, in truth for more than %v", seconds, session)
	}
	if n := s.committed(t); n != 0 {
		t.Errorf("%d records are committed", n)
	}
	if lag := s.metric(t, "linktrail_clicks_consumer_lag"); lag != 50 {
		t.Errorf("the lag is %v, want 50", lag)
	}
	back.Store(true)
	got.want(t, all)
	eventually(t, func() error {
		if s.metric(t, "linktrail_consumer_stalled") != 0 || s.metric(t, "linktrail_consumer_stalled_seconds") != 0 {
			return errors.New("it is stalled still")
		}
		return nil
	})
	for id, n := range got.times {
		if n != 1 {
			t.Errorf("click %s was handled %d times", id, n)
		}
	}
}

// members are the group's state and the ids of its members. One that the group has put out comes back under another id.
func (s *stream) members(t *testing.T) []string {
	t.Helper()
	g := s.group(t)
	all := []string{g.State}
	for _, m := range g.Members {
		all = append(all, m.MemberID)
	}
	slices.Sort(all)
	return all
}

// TestStallEnds has a consumer stall at records that are gone when it may read on: then it is not stalled any more.
func TestStallEnds(t *testing.T) {
	t.Parallel()
	s, _ := filled(t, variant{driver: clickstream.DriverKgo}, 1, 50)
	stalling := s.consume(t, patience, func(context.Context, []clickstream.Record) error {
		return errors.New("the store is away")
	})
	eventually(t, func() error {
		if s.metric(t, "linktrail_consumer_stalled") != 1 {
			return errors.New("it does not say that it is stalled")
		}
		return stalling.consumer.Ready()
	})
	client := MustDial(t)
	defer client.Close()
	var all kadm.Offsets
	all.AddOffset(s.Topic, 0, 50, -1)
	if deleted, err := kadm.NewClient(client).DeleteRecords(t.Context(), all); err != nil || deleted.Error() != nil {
		t.Fatal(err, deleted.Error())
	}
	other := *s // which has it let go of its batch, by joining
	other.consume(t, patience, newReceived().take)
	eventually(t, func() error {
		if s.metric(t, "linktrail_consumer_stalled") != 0 {
			return errors.New("it is stalled still")
		}
		return nil
	})
}

// demonstrateHoldsBack has a handler give up one record of five.
func demonstrateHoldsBack(t *testing.T, v variant) {
	if v.driver == clickstream.DriverKq {
		t.Parallel() // it only reads
	}
	s, _ := filled(t, v, 1, 5)
	if !broken(HoldsBack, v) {
		s.MaxBatch = 1
		reader := s.consume(t, 0, func(_ context.Context, batch []clickstream.Record) error {
			if batch[0].Offset == 2 {
				return errors.New("given up")
			}
			return nil
		})
		eventually(t, func() error {
			if n := s.metric(t, "linktrail_clicks_handler_failures_total"); n < 3 {
				return fmt.Errorf("%v failures", n)
			}
			return nil
		})
		reader.stop(t)
		if n := s.committed(t); n != 2 {
			t.Errorf("%d records are committed, want the 2 before", n)
		}
		return
	}
	// kq as anybody uses it, and as our consumer sets it up, but with a handler that returns an error.
	var seen atomic.Int32
	queue, err := goqueue.NewQueue(goqueue.KqConf{
		ServiceConf: service.ServiceConf{Name: s.Group, Telemetry: trace.Config{Disabled: true}},
		Brokers:     s.Brokers, Group: s.Group, Topic: s.Topic, Offset: "first",
		Conns: 1, Consumers: 1, Processors: 1, MinBytes: 1, MaxBytes: 10 << 20, ForceCommit: false,
	}, goqueue.WithHandle(func(context.Context, string, string) error {
		if seen.Add(1) == 3 {
			return errors.New("given up")
		}
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	readers.Go(queue.Start)
	eventually(t, func() error {
		if n := s.committed(t); n != 5 {
			return fmt.Errorf("%d records are committed: kq keeps this promise now, if it stays so", n)
		}
		return nil
	})
	if n := seen.Load(); n != 5 {
		t.Errorf("the handler saw %d records, so what it gave up came again", n)
	}
	proc.AddShutdownListener(func() {}) // as our consumer does, see there
	queue.Stop()
	readers.Wait()
}
