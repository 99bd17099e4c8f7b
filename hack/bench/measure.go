//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"syscall"
	"time"

	"github.com/linktrail/linktrail/hack/bench/load"
	"github.com/linktrail/linktrail/hack/testenv/process"
	"github.com/linktrail/linktrail/hack/testenv/scrape"
)

// errVoid says that what was measured is worth nothing, because the server did not do its work.
var errVoid = errors.New("VOID")

// settleDeadline is how long clicks and spans may take to arrive after the last redirect.
const settleDeadline = 30 * time.Second

// subject is one server that is measured.
type subject struct {
	name string
	addr string
	*process.Process
	service *service // nil for the bare ones
	asked   int      // requests made so far: where in the order the next measurement goes on
	clicks  int64    // redirects answered so far
}

// sample is what one measurement gives.
type sample struct {
	perSecond float64
	refused   float64       // answers 503 a second
	cpu       time.Duration // of the subject, a request
	generator time.Duration // CPU time of the load generator, a request
	p50, p99  time.Duration
	exported  int // spans
	lost      int
}

// measure carries out a plan against the subject, waits until what it left behind has arrived, and checks that nothing
// is missing. clicks says whether each right answer is a click.
func (s *system) measure(ctx context.Context, v *subject, p load.Plan, clicks bool) (sample, error) {
	p.Addr, p.First = v.addr, v.asked
	before, err := v.standing()
	if err != nil {
		return sample{}, err
	}
	self := ownCPU()
	r, err := load.Run(ctx, p)
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w", v.name, err)
	}
	self = ownCPU() - self
	v.asked += r.Sent
	// A request that is shed is no redirect and no click: it is told beside the rest.
	answered := *r
	answered.Refused = 0
	err = answered.Check()
	if err != nil {
		return sample{}, fmt.Errorf("%w: %s: %w", errVoid, v.name, err)
	}
	if clicks {
		v.clicks += int64(r.Right)
	}
	if err := s.settle(ctx, v); err != nil {
		return sample{}, err
	}
	after, err := v.standing()
	if err != nil {
		return sample{}, err
	}
	n := time.Duration(max(1, r.Right))
	return sample{
		perSecond: r.PerSecond(), refused: float64(r.Refused) / r.Elapsed.Seconds(),
		cpu: (after.cpu - before.cpu) / n, generator: self / n,
		p50: r.Latency.Quantile(0.5), p99: r.Latency.Quantile(0.99),
		exported: after.exported - before.exported, lost: after.lost - before.lost,
	}, nil
}

// settle waits until the topic holds as many clicks as redirects were answered, and all spans have left. More clicks or
// fewer, or one that was dropped, make the measurement void.
func (s *system) settle(ctx context.Context, v *subject) error {
	if v.service == nil {
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, settleDeadline)
	defer cancel()
	for tick := time.NewTicker(250 * time.Millisecond); ; {
		records, err := s.records(ctx, v.service.topic)
		if err != nil {
			return err
		}
		m, err := v.service.metrics(ctx)
		if err != nil {
			return err
		}
		if dropped := m.Sum("linktrail_clicks_dropped_total"); dropped > 0 {
			return fmt.Errorf("%w: %s: %.0f clicks were dropped", errVoid, v.name, dropped)
		}
		if records > v.clicks {
			return fmt.Errorf("%w: %s: %d redirects were answered and the topic holds %d clicks", errVoid, v.name, v.clicks, records)
		}
		if records == v.clicks && m.Sum("linktrail_clicks_published_total") == float64(records) && m.Sum("linktrail_telemetry_queue_spans") == 0 {
			tick.Stop()
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %s: %d redirects were answered and after %v the topic holds %d clicks", errVoid, v.name, v.clicks, settleDeadline, records)
		}
	}
}

// standing is what a subject has used and done since it began.
type standing struct {
	cpu            time.Duration
	exported, lost int
}

func (v *subject) standing() (s standing, err error) {
	if s.cpu, err = v.CPU(); err != nil || v.service == nil {
		return s, err
	}
	m, err := v.service.metrics(context.Background())
	s.exported, s.lost = int(m.Sum("linktrail_telemetry_spans_exported_total")), int(m.Sum("linktrail_telemetry_spans_dropped_total"))
	return s, err
}

func (v *service) metrics(ctx context.Context) (scrape.Metrics, error) {
	return scrape.Get(ctx, http.DefaultClient, "http://"+v.ops+"/metrics")
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// number is what a median can be taken of.
type number interface{ ~int | ~int64 | ~float64 }

// median returns the one in the middle, or the mean of both.
func median[T number](list []T) T {
	if len(list) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(list))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// pick returns one figure of all samples.
func pick[T any](samples []sample, figure func(sample) T) []T {
	list := make([]T, len(samples))
	for i, s := range samples {
		list[i] = figure(s)
	}
	return list
}
