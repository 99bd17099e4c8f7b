package kgo_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	franz "github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/kgo"
)

// refused is a broker that may refuse clicks, and what ships them there.
type refused struct {
	cluster   *kfake.Cluster
	publisher *kgo.Publisher
	registry  *prometheus.Registry
	done      atomic.Int64 // clicks that need not be kept any more
}

func newRefused(t *testing.T) *refused {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, clickstream.DefaultTopic))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	r := &refused{cluster: cluster, registry: prometheus.NewRegistry()}
	c := clickstream.Config{Brokers: cluster.ListenAddrs(), LingerMillis: 20}.WithDefaults()
	if r.publisher, err = kgo.NewPublisher(c, kgo.Options{Registerer: r.registry}); err != nil {
		t.Fatal(err)
	}
	return r
}

// limit sets the largest batch that the topic takes.
func (r *refused) limit(t *testing.T, bytes string) {
	t.Helper()
	client := r.dial(t)
	defer client.Close()
	configs := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &bytes}}
	if _, err := kadm.NewClient(client).AlterTopicConfigs(t.Context(), configs, clickstream.DefaultTopic); err != nil {
		t.Fatal(err)
	}
}

func (r *refused) dial(t *testing.T) *franz.Client {
	t.Helper()
	client, err := franz.NewClient(franz.SeedBrokers(r.cluster.ListenAddrs()...), franz.ConsumeTopics(clickstream.DefaultTopic))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func (r *refused) ship(t *testing.T, value []byte, taken time.Time) {
	t.Helper()
	m := clickstream.Message{ID: uuid.New(), Value: value, Taken: taken, Done: func() { r.done.Add(1) }}
	if err := r.publisher.Ship(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

// want waits until so many clicks are done, closes the publisher, and asserts how many of them were dropped. It returns what
// the topic has.
func (r *refused) want(t *testing.T, done, dropped int) []*franz.Record {
	t.Helper()
	testenv.Eventually(t, 20*time.Second, func() error {
		if n := r.done.Load(); n != int64(done) {
			return fmt.Errorf("%d clicks are done, want %d", n, done)
		}
		return nil
	})
	r.close(t)
	if n := r.dropped(t); n != float64(dropped) {
		t.Errorf("%.0f are dropped, want %d", n, dropped)
	}
	client := r.dial(t)
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var records []*franz.Record
	for len(records) < done-dropped {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("of %d records %d are there: %v", done-dropped, len(records), err)
		}
		records = append(records, fetches.Records()...)
	}
	if len(records) > done-dropped {
		t.Errorf("%d records are there, want %d", len(records), done-dropped)
	}
	return records
}

func (r *refused) close(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := r.publisher.Close(ctx); err != nil {
		t.Error(err)
	}
}

func (r *refused) dropped(t *testing.T) (sum float64) {
	t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "linktrail_clicks_dropped_total" {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// TestShipRefused ships clicks, which are kept elsewhere, to a broker that refuses them.
func TestShipRefused(t *testing.T) {
	const clicks = 5
	start := func(t *testing.T, err *kerr.Error, times int) (*refused, *kfake.FaultHandle) {
		t.Helper()
		r := newRefused(t)
		handle := r.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: err, Count: times})
		for range clicks {
			r.ship(t, []byte("{}"), time.Now())
		}
		return r, handle
	}

	for _, err := range []*kerr.Error{kerr.TopicAuthorizationFailed, kerr.InvalidRecord, kerr.MessageTooLarge, kerr.RecordListTooLarge} {
		t.Run("OK until "+err.Message+" passes", func(t *testing.T) {
			r, _ := start(t, err, 2)
			r.want(t, clicks, 0)
		})
	}
	t.Run("OK closed meanwhile they are nobody's", func(t *testing.T) {
		r, handle := start(t, kerr.InvalidRecord, -1)
		if err := handle.Wait(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		r.close(t)
		if n, dropped := r.done.Load(), r.dropped(t); n != 0 || dropped != 0 {
			t.Errorf("%d are done and %.0f dropped", n, dropped)
		}
	})
	t.Run("OK the clock was wrong", func(t *testing.T) {
		r := newRefused(t)
		r.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.InvalidTimestamp, Count: 1})
		for range clicks {
			r.ship(t, []byte("{}"), time.Now().AddDate(0, 0, 2))
		}
		for _, record := range r.want(t, clicks, 0) {
			if d := time.Since(record.Timestamp); d.Abs() > time.Hour {
				t.Errorf("it was sent as one of %v", record.Timestamp)
			}
		}
	})
	t.Run("OK the topic takes small batches", func(t *testing.T) {
		r := newRefused(t)
		r.limit(t, "32768")
		const many = 5000
		for range many {
			c := click.Click{ID: uuid.New(), LinkID: 1, Code: "abc", Time: time.Now(), UserAgent: rand.Text() + rand.Text(), Referrer: "https://" + strings.ToLower(rand.Text()) + ".example/"}
			r.ship(t, c.AppendJSON(nil), c.Time)
		}
		r.want(t, many, 0)
	})
	t.Run("Err larger than a click", func(t *testing.T) {
		r := newRefused(t)
		r.limit(t, "17000")
		large := make([]byte, click.MaxWire+1<<10)
		_, _ = rand.Read(large) // which does not compress
		r.ship(t, large[:click.MaxWire], time.Now())
		r.ship(t, large, time.Now())
		r.want(t, 2, 1)
	})
}
