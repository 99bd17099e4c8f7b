package svc

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// purges answers each call with what the test sends.
type purges chan func() (int64, error)

func (p purges) PurgeClicks(ctx context.Context) (int64, error) {
	select {
	case answer := <-p:
		return answer()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func TestPurges(t *testing.T) {
	s := make(purges)
	p := NewPurges(s, prometheus.NewRegistry())
	p.every = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); p.Run(ctx) }()
	for _, answer := range []func() (int64, error){
		func() (int64, error) { return 0, nil },
		func() (int64, error) { return 7, errors.New("away") },
		func() (int64, error) { return 0, errors.New("still away") },
		func() (int64, error) { return 5, nil },
	} {
		s <- answer
	}
	cancel()
	mustReceive(t, done)
	if removed, failures := testutil.ToFloat64(p.removed), testutil.ToFloat64(p.failures); removed != 12 || failures != 2 {
		t.Errorf("%v clicks and %v failures are counted, want 12 and 2", removed, failures)
	}
}
