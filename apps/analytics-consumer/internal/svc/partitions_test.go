package svc

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// partitioner fails as often as errs says and tells each call.
type partitioner struct {
	mu    sync.Mutex
	errs  []error
	calls chan time.Time
}

func (p *partitioner) EnsurePartitions(ctx context.Context, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	if len(p.errs) > 0 {
		err, p.errs = p.errs[0], p.errs[1:]
	}
	select {
	case p.calls <- now:
	case <-ctx.Done():
	}
	return err
}

func TestPartitions(t *testing.T) {
	t.Run("OKUntilStopped", func(t *testing.T) {
		s := &partitioner{errs: []error{errors.New("away"), errors.New("still away")}, calls: make(chan time.Time)}
		p := NewPartitions(s, prometheus.NewRegistry())
		p.every, p.retry = time.Millisecond, time.Millisecond
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); p.Run(ctx) }()
		for range 4 {
			mustReceive(t, s.calls)
		}
		cancel()
		mustReceive(t, done)
		if got := testutil.ToFloat64(p.failures); got != 2 {
			t.Errorf("%v failures counted, want 2", got)
		}
		if got := testutil.ToFloat64(p.success); got < 1.7e9 {
			t.Errorf("last success %v", got)
		}
	})
	t.Run("OKSoonerAfterFailure", func(t *testing.T) {
		s := &partitioner{errs: []error{errors.New("away")}, calls: make(chan time.Time, 2)}
		p := NewPartitions(s, prometheus.NewRegistry())
		if got := p.ensure(t.Context()); got != time.Minute {
			t.Errorf("comes back after %v, want a minute", got)
		}
		if got := p.ensure(t.Context()); got != time.Hour {
			t.Errorf("comes back after %v, want an hour", got)
		}
	})
	t.Run("OKStoreWithoutPartitions", func(t *testing.T) {
		NewPartitions(struct{}{}, prometheus.NewRegistry()).Run(t.Context())
	})
}

func mustReceive[T any](t *testing.T, ch <-chan T) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came within 10 s")
	}
}
