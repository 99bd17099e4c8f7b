package door

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// shedReason is why a request was shed.
type shedReason int

const (
	shedOverload shedReason = iota
	shedLookups
	shedUnknown
	shedReasons
)

func (r shedReason) String() string { return [shedReasons]string{"overload", "lookups", "unknown"}[r] }

type metrics struct {
	// answers are the counters by status, resolved beforehand; the zero status is "other".
	answers  map[int]prometheus.Counter
	duration prometheus.Histogram
	shed     [shedReasons]prometheus.Counter
	panics   prometheus.Counter

	connsRefused   prometheus.Counter
	acceptFailures prometheus.Counter
}

func newMetrics(d *Door) *metrics {
	answers := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "linktrail_redirects_total",
		Help: "Requests answered at the front door by status: 301, 302, 307 and 308 are redirects.",
	}, []string{"status"})
	shed := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "linktrail_redirects_shed_total",
		Help: "Requests answered 503 at once, by reason: overload (Door.Shed), lookups (Door.MaxLookups), unknown " +
			"(Door.MaxUnknownLookups).",
	}, []string{"reason"})
	m := &metrics{
		answers: map[int]prometheus.Counter{0: answers.WithLabelValues("other")},
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "linktrail_redirect_duration_seconds",
			Help: "Time between the end of a request's arrival at the front door and its answer being ready; without those shed.",
			Buckets: []float64{
				50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1, 2.5, 5,
			},
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "linktrail_redirect_panics_total",
			Help: "Requests answered 500 because of a fault in linktrail; the log has where.",
		}),
		connsRefused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "linktrail_door_connections_refused_total",
			Help: "Connections refused because too many were open already (Door.MaxConns).",
		}),
		acceptFailures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "linktrail_door_accept_failures_total",
			Help: "Connections that could not be accepted, as when the process has no file descriptor left; tried again.",
		}),
	}
	for status, label := range map[int]string{
		200: "200", 204: "204", 301: "301", 302: "302", 307: "307", 308: "308", 400: "400", 404: "404", 405: "405",
		408: "408", 410: "410", 413: "413", 431: "431", 500: "500", 503: "503", 505: "505",
	} {
		m.answers[status] = answers.WithLabelValues(label)
	}
	for r := range shedReasons {
		m.shed[r] = shed.WithLabelValues(r.String())
	}
	if d.deps.Registry == nil {
		return m
	}
	d.deps.Registry.MustRegister(answers, m.duration, shed, m.panics, m.connsRefused, m.acceptFailures,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "linktrail_redirects_in_flight",
			Help: "Requests that are being answered at the front door.",
		}, func() float64 { return float64(d.inFlight.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "linktrail_redirects_waiting",
			Help: "Requests that wait for a link which the process does not know; at most Door.MaxLookups.",
		}, func() float64 { return float64(d.lookups.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "linktrail_redirects_shed_share",
			Help: "Share of requests that the front door refuses because of overload, from 0 to 1.",
		}, func() float64 { return d.overload.current() }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "linktrail_redirects_standing_seconds",
			Help: "How long an arriving request stands before it is looked at, the least in a window of 50 ms.",
		}, func() float64 { return time.Duration(d.overload.delay.Load()).Seconds() }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "linktrail_door_connections",
			Help: "Connections that are open at the front door.",
		}, func() float64 { return float64(d.conns.Load()) }),
	)
	return m
}

func (m *metrics) answered(status int) {
	counter, ok := m.answers[status]
	if !ok {
		counter = m.answers[0]
	}
	counter.Inc()
}
