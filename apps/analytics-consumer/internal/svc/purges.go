package svc

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/zeromicro/go-zero/core/logx"
)

// purgesEvery is how often purged links are looked for. It is one look into an index that is mostly empty.
const purgesEvery = 5 * time.Second

// purger is what Purges needs of a store.
type purger interface {
	// PurgeClicks is that of link.Store.
	PurgeClicks(ctx context.Context) (int64, error)
}

// Purges removes the clicks of purged links which the request that purged them left: it had no time for more, or ended.
type Purges struct {
	store    purger
	every    time.Duration
	removed  prometheus.Counter
	failures prometheus.Counter
}

// NewPurges registers the metrics.
func NewPurges(s purger, r prometheus.Registerer) *Purges {
	p := &Purges{
		store: s,
		every: purgesEvery,
		removed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "linktrail_store_clicks_purged_total",
			Help: "Clicks of purged links that this process removed.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "linktrail_store_purges_failures_total",
			Help: "Attempts to remove the clicks of purged links that failed.",
		}),
	}
	r.MustRegister(p.removed, p.failures)
	return p
}

// Run looks after purged links until ctx ends.
func (p *Purges) Run(ctx context.Context) {
	ticker := time.NewTicker(p.every)
	defer ticker.Stop()
	for failed := false; ; {
		n, err := p.store.PurgeClicks(ctx)
		p.removed.Add(float64(n))
		switch {
		case n > 0:
			logx.Infow("clicks of purged links were removed", logx.Field("clicks", n))
		case err != nil && ctx.Err() == nil && !failed:
			logx.Errorw("clicks of purged links could not be removed", logx.Field("error", err.Error()))
		}
		if failed = err != nil && ctx.Err() == nil; failed {
			p.failures.Inc()
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
