package ingest

import "github.com/prometheus/client_golang/prometheus"

// The reasons for which a record becomes a dead letter: the values of the label reason.
const (
	reasonUndecodable  = "undecodable"
	reasonNewerVersion = "newer_version"
	reasonRefused      = "refused"
)

// metrics are what an Ingester counts.
type metrics struct {
	written, duplicate     prometheus.Counter
	dead                   *prometheus.CounterVec
	batch, duration, delay prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		written: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "linktrail_clicks_written_total",
			Help: "Clicks written to the store that it did not have.",
		}),
		duplicate: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "linktrail_clicks_duplicate_total",
			Help: "Clicks that changed nothing: delivered again, of a purged link, or from before what the retention keeps.",
		}),
		dead: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "linktrail_clicks_dead_letter_total",
			Help: "Records moved to the topic of dead letters: undecodable ones are no clicks, those of a newer_version this linktrail cannot read yet, refused ones the store will never take.",
		}, []string{"reason"}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "linktrail_clicks_batch_size",
			Help:    "Records a batch handed over by Kafka.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 9), // 1 to 65,536
		}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "linktrail_clicks_write_duration_seconds",
			Help:    "Time to write one batch and its rollups, from the begin of the transaction to its commit.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14), // 1 ms to 8 s
		}),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "linktrail_click_write_delay_seconds",
			Help:    "Age of a click when it was written, from the moment its request was taken.",
			Buckets: []float64{0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 86400},
		}),
	}
	// All values exist from the start, so that a rate over them sees the first.
	for _, reason := range []string{reasonUndecodable, reasonNewerVersion, reasonRefused} {
		m.dead.WithLabelValues(reason)
	}
	if r != nil {
		r.MustRegister(m.written, m.duplicate, m.dead, m.batch, m.duration, m.delay)
	}
	return m
}
