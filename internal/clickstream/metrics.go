package clickstream

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// DropReason is why a publisher dropped a click: a value of the label reason.
type DropReason string

const (
	// DropQueueFull says that as many clicks as the queue holds were waiting for the broker.
	DropQueueFull DropReason = "queue_full"
	// DropRejected says that the broker refused the click for good.
	DropRejected DropReason = "rejected"
	// DropClosed says that the publisher was closed, or closing and out of time.
	DropClosed DropReason = "closed"
)

// PublisherMetrics are the metrics of a publisher. Safe for concurrent use.
type PublisherMetrics struct {
	published prometheus.Counter
	dropped   map[DropReason]prometheus.Counter
	duration  prometheus.Histogram
}

// NewPublisherMetrics registers a publisher's metrics. depth is asked at every scrape. A nil registerer keeps them unseen.
func NewPublisherMetrics(r prometheus.Registerer, limit int, depth func() int) (*PublisherMetrics, error) {
	dropped := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "linktrail_clicks_dropped_total",
		Help: "Clicks that were not published, by reason: the queue was full, the broker rejected it, or the publisher was closed.",
	}, []string{"reason"})
	m := &PublisherMetrics{
		published: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "linktrail_clicks_published_total",
			Help: "Clicks published to Kafka: acknowledged by all in-sync replicas (kgo), or handed over (kq, which asks for no acknowledgement).",
		}),
		dropped: make(map[DropReason]prometheus.Counter),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "linktrail_click_publish_duration_seconds",
			Help:    "Time from taking a click to its acknowledgement by Kafka (kgo), or to its hand-over (kq).",
			Buckets: []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60},
		}),
	}
	// All values exist from the start, so that a rate over them sees the first.
	for _, reason := range []DropReason{DropQueueFull, DropRejected, DropClosed} {
		m.dropped[reason] = dropped.WithLabelValues(string(reason))
	}
	return m, register(r, m.published, dropped, m.duration,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "linktrail_clicks_queue_depth",
			Help: "Clicks in the publisher's queue that are not yet published.",
		}, func() float64 { return float64(depth()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "linktrail_clicks_queue_limit",
			Help: "The most clicks that the publisher's queue holds; one that finds it full is dropped.",
		}, func() float64 { return float64(limit) }),
	)
}

// Published counts a click that was taken at start.
func (m *PublisherMetrics) Published(start time.Time) {
	m.published.Inc()
	m.duration.Observe(max(0, time.Since(start).Seconds())) // the clock that a journal goes by may have been set back
}

// Dropped counts a click that will not be published.
func (m *PublisherMetrics) Dropped(reason DropReason) { m.dropped[reason].Inc() }

// ConsumerMetrics are the metrics of a consumer. Safe for concurrent use.
type ConsumerMetrics struct {
	consumed, retries, commitFailures prometheus.Counter

	taken  atomic.Int64 // when the batch in hand was first handed over, in Unix nanoseconds; 0 when there is none
	failed atomic.Bool  // it could not be handled at least once
}

// stallsAfter is how long a batch may be in hand, without an answer from the handler, before the consumer counts as stalled:
// a database that vanished does not say so.
const stallsAfter = 10 * time.Second

// NewConsumerMetrics registers a consumer's metrics. lag is asked at every scrape. A nil registerer keeps them unseen.
func NewConsumerMetrics(r prometheus.Registerer, lag func() int64) (*ConsumerMetrics, error) {
	m := &ConsumerMetrics{
		consumed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "linktrail_clicks_consumed_total",
			Help: "Records of the click stream that were handled, repeated ones too.",
		}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "linktrail_clicks_handler_failures_total",
			Help: "Batches that the handler could not write and that are handed to it again.",
		}),
		commitFailures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "linktrail_clicks_commit_failures_total",
			Help: "Offset commits that failed; their records may be delivered again.",
		}),
	}
	return m, register(r, m.consumed, m.retries, m.commitFailures,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "linktrail_clicks_consumer_lag",
			Help: "Records in the partitions of this process that are not yet committed, asked of the brokers every few seconds.",
		}, func() float64 { return float64(lag()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "linktrail_consumer_stalled",
			Help: "1 while the batch in hand cannot be handled: it failed at least once, or there has been no answer for ten seconds.",
		}, func() float64 {
			if m.Stalled() > 0 {
				return 1
			}
			return 0
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "linktrail_consumer_stalled_seconds",
			Help: "For how long no batch could be handled; 0 when the consumer is not stalled.",
		}, func() float64 { return m.Stalled().Seconds() }),
	)
}

// Took says that a batch is handed over. One that is handed over again while none was handled between stalls the
// consumer since the first time.
func (m *ConsumerMetrics) Took() { m.taken.CompareAndSwap(0, time.Now().UnixNano()) }

// Consumed counts records that were handled.
func (m *ConsumerMetrics) Consumed(records int) {
	m.consumed.Add(float64(records))
	m.Idle()
}

// HandlerFailed counts a batch that will be handed over again.
func (m *ConsumerMetrics) HandlerFailed() {
	m.retries.Inc()
	m.failed.Store(true)
}

// Idle says that there is no batch to handle.
func (m *ConsumerMetrics) Idle() {
	m.failed.Store(false)
	m.taken.Store(0)
}

// Stalled is for how long no batch could be handled, 0 when the consumer is not stalled.
func (m *ConsumerMetrics) Stalled() time.Duration {
	taken := m.taken.Load()
	if taken == 0 {
		return 0
	}
	since := time.Since(time.Unix(0, taken))
	if since < stallsAfter && !m.failed.Load() {
		return 0
	}
	return max(since, 1)
}

// CommitFailed counts a failed commit.
func (m *ConsumerMetrics) CommitFailed() { m.commitFailures.Inc() }

func register(r prometheus.Registerer, collectors ...prometheus.Collector) error {
	if r == nil {
		return nil
	}
	var errs []error
	for _, c := range collectors {
		errs = append(errs, r.Register(c))
	}
	return errors.Join(errs...)
}
