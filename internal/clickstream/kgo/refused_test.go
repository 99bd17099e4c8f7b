package kgo_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/kgo"
)

// TestShipRefused ships clicks, which are kept elsewhere, to a broker that refuses them.
func TestShipRefused(t *testing.T) {
	const clicks = 5
	start := func(t *testing.T, fault kfake.Fault) (p *kgo.Publisher, done *atomic.Int64, handle *kfake.FaultHandle, dropped func() float64) {
		cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, clickstream.DefaultTopic))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cluster.Close)
		handle = cluster.Fault(fault)
		r := prometheus.NewRegistry()
		if p, err = kgo.NewPublisher(clickstream.Config{Brokers: cluster.ListenAddrs()}.WithDefaults(), kgo.Options{Registerer: r}); err != nil {
			t.Fatal(err)
		}
		done = new(atomic.Int64)
		for range clicks {
			m := clickstream.Message{ID: uuid.New(), Value: []byte("{}"), Taken: time.Now(), Done: func() { done.Add(1) }}
			if err := p.Ship(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		return p, done, handle, func() (sum float64) {
			families, err := r.Gather()
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
	}
	shipped := func(done *atomic.Int64) func() error {
		return func() error {
			if n := done.Load(); n != clicks {
				return fmt.Errorf("%d clicks are done", n)
			}
			return nil
		}
	}
	closed := func(t *testing.T, p *kgo.Publisher) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Error(err)
		}
	}

	t.Run("OK it comes to allow them", func(t *testing.T) {
		p, done, _, dropped := start(t, kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TopicAuthorizationFailed, Count: 2})
		testenv.Eventually(t, 20*time.Second, shipped(done))
		closed(t, p)
		if n := dropped(); n != 0 {
			t.Errorf("%.0f are dropped", n)
		}
	})
	t.Run("OK closed meanwhile they are nobody's", func(t *testing.T) {
		p, done, handle, dropped := start(t, kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TopicAuthorizationFailed, Count: -1})
		if err := handle.Wait(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		closed(t, p)
		if n := done.Load(); n != 0 || dropped() != 0 {
			t.Errorf("%d are done and %.0f dropped", n, dropped())
		}
	})
	t.Run("Err their own fault", func(t *testing.T) {
		p, done, _, dropped := start(t, kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.InvalidRecord, Count: -1})
		testenv.Eventually(t, 20*time.Second, shipped(done))
		closed(t, p)
		if n := dropped(); n != clicks {
			t.Errorf("%.0f are dropped", n)
		}
	})
}
