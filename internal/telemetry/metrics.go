package telemetry

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// The reasons a sampled span never reaches its collector.
const (
	dropQueueFull    = iota // the collector is slower than the spans come
	dropExportFailed        // the collector was away or refused the batch
	dropStopped             // the process ended first
	dropReasons
)

// counts is what became of the sampled spans that ended while an exporter was
// configured: each is exported or dropped once.
type counts struct {
	exported atomic.Uint64
	dropped  [dropReasons]atomic.Uint64
	failures atomic.Uint64 // batches
}

// collector shows counts and queue to Prometheus.
type collector struct {
	provider *Provider

	exported, dropped, failures, limit, depth *prometheus.Desc
}

func newCollector(p *Provider) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("linktrail_telemetry_"+name, help, labels, nil)
	}
	return &collector{
		provider: p,
		exported: desc("spans_exported_total", "Spans the collector has acknowledged, or that were written to the file."),
		dropped: desc("spans_dropped_total",
			"Sampled spans that were lost: queue_full when the collector is slower than spans come, export_failed when it was away or refused them, stopped when the process ended first.", "reason"),
		failures: desc("export_failures_total", "Batches of spans that could not be exported, after retries."),
		limit:    desc("queue_limit_spans", "Spans that may wait for export; 0 when none are exported."),
		depth:    desc("queue_spans", "Spans that wait for export or are on their way."),
	}
}

func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.exported, c.dropped, c.failures, c.limit, c.depth} {
		to <- d
	}
}

func (c *collector) Collect(to chan<- prometheus.Metric) {
	counts := &c.provider.counts
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	counter(c.exported, counts.exported.Load())
	counter(c.dropped, counts.dropped[dropQueueFull].Load(), "queue_full")
	counter(c.dropped, counts.dropped[dropExportFailed].Load(), "export_failed")
	counter(c.dropped, counts.dropped[dropStopped].Load(), "stopped")
	counter(c.failures, counts.failures.Load())

	var limit, depth int64
	if pipe := c.provider.processor.current.Load(); pipe != nil {
		limit, depth = pipe.limit, pipe.depth()
	}
	to <- prometheus.MustNewConstMetric(c.limit, prometheus.GaugeValue, float64(limit))
	to <- prometheus.MustNewConstMetric(c.depth, prometheus.GaugeValue, float64(depth))
}
