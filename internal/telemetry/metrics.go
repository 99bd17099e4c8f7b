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

// What becomes of an overlay that has changed.
const (
	reloadInForce = iota
	reloadRefused
	reloadResults
)

// counts is what became of the sampled spans that ended while an exporter was
// configured: each is exported or dropped once.
type counts struct {
	exported atomic.Uint64
	dropped  [dropReasons]atomic.Uint64
	failures atomic.Uint64 // batches
	reloads  [reloadResults]atomic.Uint64
}

// collector shows counts and queue to Prometheus.
type collector struct {
	provider *Provider

	exported, dropped, failures, limit, depth *prometheus.Desc

	reloads, refused, since, draining *prometheus.Desc
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
		reloads:  desc("reloads_total", "Changed overlays by what became of them: in_force, or refused because something in them is wrong.", "result"),
		refused:  desc("overlay_refused", "1 while the overlay that lies there is refused and an earlier one, or the service's own block, is in force."),
		since:    desc("in_force_timestamp_seconds", "Since when the telemetry that is in force has been."),
		draining: desc("exporters_draining", "Exporters that were exchanged and still deliver what they hold."),
	}
}

func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.exported, c.dropped, c.failures, c.limit, c.depth, c.reloads, c.refused, c.since, c.draining,
	} {
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

	counter(c.reloads, counts.reloads[reloadInForce].Load(), "in_force")
	counter(c.reloads, counts.reloads[reloadRefused].Load(), "refused")
	refused, since, draining := c.provider.shownState()
	to <- prometheus.MustNewConstMetric(c.refused, prometheus.GaugeValue, refused)
	to <- prometheus.MustNewConstMetric(c.since, prometheus.GaugeValue, since)
	to <- prometheus.MustNewConstMetric(c.draining, prometheus.GaugeValue, draining)
}
