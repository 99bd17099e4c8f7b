package linkcache

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/zeromicro/go-zero/core/logx"
)

// outcome is where the answer to a look-up came from.
type outcome int

const (
	outcomeMemory outcome = iota
	outcomeRedis
	outcomeStore
	outcomeStale
	outcomeNotFound
	outcomeError
	outcomes
)

func (o outcome) String() string {
	return [outcomes]string{"memory", "redis", "store", "stale", "not_found", "error"}[o]
}

// refusal is why an unknown code was not looked up.
type refusal int

const (
	refusedAbsences refusal = iota
	refusedFlights
	refusedTurns
	refusals
)

func (r refusal) String() string { return [refusals]string{"absences", "flights", "store"}[r] }

type metrics struct {
	lookups          [outcomes]prometheus.Counter
	refused          [refusals]prometheus.Counter
	redisBreakerOpen prometheus.Gauge
	storeBreakerOpen [2]prometheus.Gauge // for known codes, for unknown ones
	redisErrors      prometheus.Counter
	garbage          prometheus.Counter
	forgetsLost      prometheus.Counter

	// What is logged at most once in a while.
	redisAway, storeAway *logx.LessLogger
}

const logEveryMillis = 10_000

func newMetrics(c *Cache) *metrics {
	lookups := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "linktrail_link_lookups_total",
		Help: "Look-ups of links by result: memory (the process knew), redis, store, stale (kept beyond its time because " +
			"the store is away), not_found (from wherever), error (answered 503).",
	}, []string{"result"})
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "linktrail_link_unknown_refused_total",
		Help: "Look-ups of unknown codes refused, by what there were too many of: absences (remembered), flights, store " +
			"(waiting for it).",
	}, []string{"reason"})
	storeBreakers := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "linktrail_link_store_breaker_open",
		Help: "1 while the store is left out of look-ups because it does not answer, else 0; for codes known to have a " +
			"link, and for unknown ones.",
	}, []string{"codes"})
	m := &metrics{
		storeBreakerOpen: [2]prometheus.Gauge{storeBreakers.WithLabelValues("known"), storeBreakers.WithLabelValues("unknown")},
		redisBreakerOpen: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "linktrail_link_redis_breaker_open",
			Help: "1 while Redis is left out of look-ups because it does not answer, else 0.",
		}),
		redisErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "linktrail_link_redis_errors_total",
			Help: "Commands of look-ups and invalidations to Redis that failed or took too long.",
		}),
		garbage: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "linktrail_link_redis_garbage_total",
			Help: "Values in Redis that are none of linktrail's; they were replaced.",
		}),
		forgetsLost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "linktrail_link_forgets_lost_total",
			Help: "Changed links of which other replicas could not be told and cannot be told later.",
		}),
		redisAway: logx.NewLessLogger(logEveryMillis),
		storeAway: logx.NewLessLogger(logEveryMillis),
	}
	for o := range outcomes {
		m.lookups[o] = lookups.WithLabelValues(o.String())
	}
	for r := range refusals {
		m.refused[r] = refused.WithLabelValues(r.String())
	}
	if c.registerer == nil {
		return m
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	c.registerer.MustRegister(lookups, refused, m.redisBreakerOpen, storeBreakers, m.redisErrors, m.garbage, m.forgetsLost,
		gauge("linktrail_link_cache_entries", "Links that the process keeps, about.",
			func() float64 { return float64(c.local.EstimatedSize()) }),
		gauge("linktrail_link_absences", "Unknown codes that the process remembers; at most LinkCache.Absences.",
			func() float64 {
				now := c.now().UnixNano()
				return c.sum(func(s *shard) int { return s.absent.count(now) })
			}),
		gauge("linktrail_link_known_codes", "Codes that the process remembers to have a link; at most LinkCache.Known.",
			func() float64 { return c.sum(func(s *shard) int { return s.known.count() }) }),
		gauge("linktrail_link_store_in_flight", "Look-ups that are with the store now.",
			func() float64 { return float64(c.turns.taken()) }),
		gauge("linktrail_link_flights", "Codes that are being looked up now.",
			func() float64 { return float64(c.airways.taken()) }),
		gauge("linktrail_link_forgets_unsent", "Changed links of which other replicas are still to be told.",
			func() float64 { return float64(c.unsent.len()) }),
		gauge("linktrail_link_channel_followed", "1 while the process hears of links that others change, else 0.",
			func() float64 {
				if c.following.Load() {
					return 1
				}
				return 0
			}),
	)
	return m
}

func (m *metrics) count(o outcome) { m.lookups[o].Inc() }

// sum adds something up over the shards.
func (c *Cache) sum(of func(*shard) int) float64 {
	n := 0
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += of(s)
		s.mu.Unlock()
	}
	return float64(n)
}
