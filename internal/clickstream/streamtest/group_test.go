package streamtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/driver"
	"github.com/linktrail/linktrail/internal/clickstream/kgo"
)

// filled returns a stream with n clicks in its topic.
func filled(t *testing.T, v variant, partitions, n int) (*stream, map[uuid.UUID]sent) {
	t.Helper()
	s := newStream(t, variant{driver: clickstream.DriverKgo, secure: v.secure}, partitions)
	p := s.publisher(t)
	all := s.publish(t, p, n)
	MustClose(t, p)
	return s.with(t, v.driver), all
}

// committed is how many records the group has committed.
func (s *stream) committed(t *testing.T) int64 {
	t.Helper()
	client := MustDial(t)
	defer client.Close()
	offsets, err := kadm.NewClient(client).FetchOffsets(t.Context(), s.Group)
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	offsets.Each(func(o kadm.OffsetResponse) { n += max(0, o.At) })
	return n
}

func ids(batch []clickstream.Record) []string {
	var all []string
	for _, r := range batch {
		c, _ := click.Decode(r.Value)
		all = append(all, c.ID.String())
	}
	return all
}

func demonstrateBatchRetried(t *testing.T, v variant) {
	s, all := filled(t, v, 1, 60)
	s.Conns, s.MaxBatch = 1, 20
	got := newReceived()
	var first []string
	var failures int
	reader := s.consume(t, patience, func(ctx context.Context, batch []clickstream.Record) error {
		if failures++; failures > 3 {
			return got.take(ctx, batch)
		}
		if first == nil {
			first = ids(batch)
		}
		if diff := cmp.Diff(first, ids(batch)); diff != "" {
			t.Errorf("another batch after a failure: %s", diff)
		}
		if n := s.committed(t); n != 0 {
			t.Errorf("%d records are committed", n)
		}
		return errors.New("the database is away")
	})
	got.want(t, all)
	reader.stop(t)
	s.wantMetric(t, 3, "linktrail_clicks_handler_failures_total")
	s.wantMetric(t, 0, "linktrail_clicks_commit_failures_total")
	for id, n := range got.times {
		if n != 1 {
			t.Errorf("click %s was handled %d times", id, n)
		}
	}
}

// demonstrateStopped stops a consumer with a batch in hand, once so that the batch is finished in time and once not.
func demonstrateStopped(t *testing.T, v variant) {
	s, all := filled(t, v, 3, 300)
	s.MaxBatch = 50
	got := newReceived()

	t.Run("finished", func(t *testing.T) {
		inHand, finish := make(chan struct{}), make(chan struct{})
		var once sync.Once
		reader := s.consume(t, patience, func(ctx context.Context, batch []clickstream.Record) error {
			once.Do(func() { close(inHand) })
			<-finish
			if ctx.Err() != nil {
				t.Error("the batch's context ended before the drain deadline")
			}
			return got.take(ctx, batch)
		})
		await(t, inHand, "no batch")
		reader.cancel()
		close(finish)
		reader.stop(t)
		handled := got.count()
		if handled == 0 || handled > s.MaxBatch {
			t.Errorf("%d records were handled after the stop", handled)
		}
		if v.driver == clickstream.DriverKgo && s.committed(t) != int64(handled) {
			t.Errorf("%d records were handled and %d committed", handled, s.committed(t))
		}
	})
	t.Run("out of time", func(t *testing.T) {
		inHand := make(chan struct{})
		var once sync.Once
		before := s.committed(t)
		reader := s.consume(t, 100*time.Millisecond, func(ctx context.Context, _ []clickstream.Record) error {
			once.Do(func() { close(inHand) })
			<-ctx.Done()
			return ctx.Err()
		})
		await(t, inHand, "no batch")
		reader.stop(t)
		if after := s.committed(t); after != before {
			t.Errorf("%d records were committed that were not handled", after-before)
		}
	})
	t.Run("the rest", func(t *testing.T) {
		s.consume(t, patience, got.take)
		got.want(t, all)
	})
	if v.driver == clickstream.DriverKgo {
		for id, n := range got.times {
			if n != 1 {
				t.Errorf("click %s was handled %d times", id, n)
			}
		}
	}
}

// The environment of a child process: where it writes what it has handled, and its configuration.
const (
	childFile   = "LINKTRAIL_STREAMTEST_FILE"
	childConfig = "LINKTRAIL_STREAMTEST_CONFIG"
	inHand      = "in hand"
)

// consumeUntilKilled is the child: it handles two batches, then holds one until it is killed.
func consumeUntilKilled(file string) int {
	var c clickstream.Config
	if err := json.Unmarshal([]byte(os.Getenv(childConfig)), &c); err != nil {
		panic(err)
	}
	out, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		panic(err)
	}
	consumer, err := briefSession(c, nil)
	if err != nil {
		panic(err)
	}
	var batches int
	err = consumer.Run(context.Background(), func(_ context.Context, batch []clickstream.Record) error {
		if batches++; batches > 2 {
			_, err := fmt.Fprintln(out, inHand)
			if err != nil {
				return err
			}
			select {}
		}
		_, err := fmt.Fprintln(out, strings.Join(ids(batch), "\n"))
		return err
	})
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// briefSession makes a consumer whose death the brokers notice as soon as they can: 6 seconds with kgo; kq has no choice.
func briefSession(c clickstream.Config, r prometheus.Registerer) (clickstream.Consumer, error) {
	if c.Driver == clickstream.DriverKq {
		return driver.Consumer(c, patience, driver.Options{Registerer: r})
	}
	return kgo.NewConsumer(c, patience, kgo.Options{SessionTimeout: briefest, Registerer: r})
}

// The sessions of briefSession's consumers.
const (
	briefest  = 6 * time.Second
	kqSession = 30 * time.Second
)

func demonstrateKilled(t *testing.T, v variant) {
	s, all := filled(t, v, 2, 200)
	s.MaxBatch = 30
	config, err := json.Marshal(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	file := t.TempDir() + "/handled"
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childFile+"="+file, childConfig+"="+string(config))
	child.Stderr = os.Stderr
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var handled string
	eventually(t, func() error {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if handled = string(text); !strings.HasSuffix(handled, inHand+"\n") {
			return fmt.Errorf("the child has no batch in hand: %q", handled)
		}
		return nil
	})
	if err := child.Process.Kill(); err != nil { // SIGKILL
		t.Fatal(err)
	}
	_ = child.Wait() // killed

	got := newReceived()
	for line := range strings.Lines(handled) {
		if line = strings.TrimSpace(line); line != inHand {
			got.times[uuid.MustParse(line)]++
		}
	}
	if len(got.times) == 0 || len(got.times) >= len(all) {
		t.Fatalf("the child handled %d of %d", len(got.times), len(all))
	}
	s.consume(t, patience, got.take)
	got.want(t, all)
}

func demonstrateReady(t *testing.T, v variant) {
	lost := newStream(t, v, 1)
	lost.Brokers = []string{away(t)}
	if err := lost.consume(t, patience, newReceived().take).consumer.Ready(); err == nil {
		t.Error("ready without a broker")
	}
	// More members than partitions: those without are ready too.
	s := newStream(t, v, 1)
	s.Conns = 2
	first := s.consume(t, patience, newReceived().take)
	second := s.consume(t, patience, newReceived().take)
	eventually(t, first.consumer.Ready)
	eventually(t, second.consumer.Ready)
	if v.driver == clickstream.DriverKgo {
		second.stop(t)
		if second.consumer.Ready() == nil {
			t.Error("ready after the end")
		}
	}
}

// spread is enough clicks for none of a few partitions to be empty: a batch of 64 KiB goes to one, chosen by chance.
const spread = 4000

// TestRebalance has a consumer that cannot write its batch let go of it when another one joins.
func TestRebalance(t *testing.T) {
	t.Parallel()
	s, all := filled(t, variant{driver: clickstream.DriverKgo}, 4, spread)
	s.MaxBatch = 400
	failing := make(chan struct{})
	var once sync.Once
	first := s.consume(t, 100*time.Millisecond, func(context.Context, []clickstream.Record) error {
		once.Do(func() { close(failing) })
		return errors.New("this one's database is away")
	})
	await(t, failing, "no batch")
	got := newReceived()
	other := s.consume(t, patience, got.take)
	eventually(t, other.consumer.Ready)
	eventually(t, func() error {
		if got.count() == 0 {
			return errors.New("the second consumer got nothing")
		}
		return nil
	})
	// What the first one kept goes to the other when it leaves.
	first.stop(t)
	got.want(t, all)
}

// TestSlowHandler has a handler that takes for ever, while another consumer waits for partitions.
func TestSlowHandler(t *testing.T) {
	t.Parallel()
	s, all := filled(t, variant{driver: clickstream.DriverKgo}, 4, spread)
	inHand := make(chan struct{})
	var once sync.Once
	slow := s.consume(t, 100*time.Millisecond, func(ctx context.Context, _ []clickstream.Record) error {
		once.Do(func() { close(inHand) })
		<-ctx.Done() // for ever
		return ctx.Err()
	})
	await(t, inHand, "no batch")
	eventually(t, func() error {
		if s.metric(t, "linktrail_consumer_stalled") != 1 {
			return errors.New("a handler that does not answer is no stall")
		}
		return nil
	})
	s.wantMetric(t, 0, "linktrail_clicks_handler_failures_total")
	got := newReceived()
	s.consume(t, patience, got.take)
	eventually(t, func() error {
		if got.count() == 0 {
			return errors.New("the second consumer got nothing")
		}
		return nil
	})
	slow.stop(t)
	got.want(t, all)
}

// TestRebalanceAwaitsBatch has a consumer with a batch in hand when another one joins: the batch is finished and
// committed before its partitions move, so that nobody gets a record twice.
func TestRebalanceAwaitsBatch(t *testing.T) {
	t.Parallel()
	s, all := filled(t, variant{driver: clickstream.DriverKgo}, 4, spread)
	s.MaxBatch = 400
	got := newReceived()
	inHand, finish := make(chan struct{}), make(chan struct{})
	var once sync.Once
	first := s.consume(t, patience, func(ctx context.Context, batch []clickstream.Record) error {
		once.Do(func() { close(inHand); <-finish })
		return got.take(ctx, batch)
	})
	await(t, inHand, "no batch")
	other := s.consume(t, patience, func(ctx context.Context, batch []clickstream.Record) error {
		select {
		case <-finish:
		default:
			t.Error("partitions moved while a batch was in hand")
		}
		return got.take(ctx, batch)
	})
	eventually(t, func() error {
		if state := s.group(t).State; state != "PreparingRebalance" {
			return fmt.Errorf("the group is %s; nobody waits for partitions", state)
		}
		return nil
	})
	close(finish)
	eventually(t, other.consumer.Ready)
	got.want(t, all)
	for id, n := range got.times {
		if n != 1 {
			t.Errorf("click %s was handled %d times", id, n)
		}
	}
	first.stop(t)
	other.stop(t)
	if n := s.committed(t); n != spread {
		t.Errorf("%d records are committed, want %d", n, spread)
	}
}

// group is how the brokers see the group.
func (s *stream) group(t *testing.T) kadm.DescribedGroup {
	t.Helper()
	client := MustDial(t)
	defer client.Close()
	groups, err := kadm.NewClient(client).DescribeGroups(t.Context(), s.Group)
	if err == nil {
		err = groups.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	return groups[s.Group]
}
