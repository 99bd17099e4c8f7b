package svc

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/zeromicro/go-zero/core/logx"

	"github.com/linktrail/linktrail/internal/store"
)

// How often partitions are looked after, and how soon again when that failed.
const (
	partitionsEvery = time.Hour
	partitionsRetry = time.Minute
)

// Partitions makes the partitions of clicks ahead of time. A failure holds nothing up: clicks without a partition are
// written to the default one and moved from there later.
type Partitions struct {
	store    store.Partitioner
	now      func() time.Time
	every    time.Duration
	retry    time.Duration
	failures prometheus.Counter
	success  prometheus.Gauge
}

// NewPartitions returns nil for a store that has no partitions. It registers the metrics.
func NewPartitions(s any, r prometheus.Registerer) *Partitions {
	partitioner, ok := s.(store.Partitioner)
	if !ok {
		return nil
	}
	p := &Partitions{
		store: partitioner,
		now:   time.Now,
		every: partitionsEvery,
		retry: partitionsRetry,
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "linktrail_store_partitions_failures_total",
			Help: "Attempts to make the partitions of the coming months that failed. Clicks are written all the same.",
		}),
		success: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "linktrail_store_partitions_last_success_timestamp_seconds",
			Help: "When the partitions of the coming months were last seen to exist, as Unix time.",
		}),
	}
	r.MustRegister(p.failures, p.success)
	return p
}

// Run looks after the partitions at once and then every hour, after a failure every minute, until ctx ends. A nil
// *Partitions has nothing to do and returns.
func (p *Partitions) Run(ctx context.Context) {
	if p == nil {
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		timer.Reset(p.ensure(ctx))
	}
}

// ensure returns after how long to come back.
func (p *Partitions) ensure(ctx context.Context) time.Duration {
	err := p.store.EnsurePartitions(ctx, p.now())
	switch {
	case err == nil:
		p.success.Set(float64(p.now().Unix()))
		return p.every
	case ctx.Err() == nil:
		p.failures.Inc()
		logx.Errorw("partitions of clicks could not be made", logx.Field("error", err.Error()))
	}
	return p.retry
}
