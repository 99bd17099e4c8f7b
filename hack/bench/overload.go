//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/linktrail/linktrail/hack/bench/load"
)

// crowd is how many connections ask in the third table: so many that a queue can stand.
const crowd = 5000

const overloadRow = "overload"

// flood is one row of the third table: url-api, with or without shedding, at a multiple of what it can bear.
type flood struct {
	times   float64
	shed    bool
	results []*poured
}

// poured is what became of a plan, and how many cores url-api and the load generator had for it: less than they would have
// liked means that something else was running.
type poured struct {
	*load.Result
	cores, generator float64
}

// prompt is the p99 up to which a rate is borne.
const prompt = 100 * time.Millisecond

// capacity is what url-api answers a second: flat out, and at the highest constant rate that it bears, in steps of a tenth
// of the former.
type capacity struct{ flat, bears float64 }

// lead is how long a rate is asked before latencies count: the share that is refused has to be found first.
const lead = 4 * time.Second

// overload measures url-api on one core, with all redirects traced, at half, once and twice what it bears without shedding.
// All figures are of answers to requests that are made at a constant rate.
func (s *system) overload(ctx context.Context, o options) (c capacity, rows []*flood, err error) {
	if !o.wants(overloadRow) {
		return c, nil, nil
	}
	// The other core is for who asks, and for Kafka.
	if err := os.Setenv("GOMAXPROCS", "1"); err != nil {
		return c, nil, err
	}
	defer func() { err = errors.Join(err, os.Unsetenv("GOMAXPROCS")) }()
	subjects := make(map[bool]*subject)
	for _, shed := range []bool{false, true} {
		name := fmt.Sprintf("overload, shedding %v", shed)
		v := &subject{name: name}
		v.service, err = s.startURLAPI(ctx, name, s.binary, func(c map[string]any) {
			c["Telemetry"].(map[string]any)["Sampler"] = 1.0
			door := c["Door"].(map[string]any)
			door["ReadTimeout"] = "1m" // a connection that is not needed yet is none that is slow
			if !shed {
				door["Shed"] = map[string]any{"Target": "0s"}
			}
		})
		if err != nil {
			return c, nil, err
		}
		v.Process, v.addr = v.service.Process, v.service.door
		defer func() { err = errors.Join(err, v.Stop()) }()
		subjects[shed] = v
		if _, err := s.pour(ctx, v, load.Plan{Requests: s.followed(), Connections: 64, Count: len(s.links), Duration: time.Minute}); err != nil {
			return c, nil, err
		}
	}
	order := load.Zipf(seed, 1.1, len(s.links), 1<<20)
	var flat []float64
	for range o.rounds {
		r, err := s.pour(ctx, subjects[false], load.Plan{Requests: s.followed(), Order: order, Connections: crowd, Duration: o.duration()})
		if err != nil {
			return c, nil, err
		}
		flat = append(flat, r.PerSecond())
	}
	c.flat = median(flat)
	for tenths := 10; tenths > 0; tenths-- {
		c.bears = c.flat * float64(tenths) / 10
		r, err := s.pour(ctx, subjects[false], load.Plan{
			Requests: s.followed(), Order: order, Connections: crowd, Rate: c.bears, Lead: lead, Duration: lead + o.duration(),
		})
		if err != nil {
			return c, nil, err
		}
		p99 := r.Latency.Quantile(0.99)
		fmt.Fprintf(os.Stderr, "bench: overload: url-api on one core answers %.0f requests/s flat out, and at %.0f a second with a p99 of %.1f ms\n", c.flat, c.bears, millis(p99))
		if p99 <= prompt {
			break
		}
	}
	for _, times := range []float64{0.5, 1, 2} {
		rows = append(rows, &flood{times: times}, &flood{times: times, shed: true})
	}
	for round := range o.rounds {
		for _, row := range rows {
			r, err := s.pour(ctx, subjects[row.shed], load.Plan{
				Requests: s.followed(), Order: order, Connections: crowd, Rate: row.times * c.bears, Lead: lead, Duration: lead + o.duration(),
			})
			if err != nil {
				return c, rows, err
			}
			row.results = append(row.results, r)
			fmt.Fprintf(os.Stderr, "bench: round %d of %d: %.1f times, shedding %-5v %8.0f answered/s %8.0f refused/s  p50 %6.2f p99 %6.2f ms, since sent p50 %6.2f p99 %6.2f, refused p99 %6.2f, late %d failed %d %s\n",
				round+1, o.rounds, row.times, row.shed, r.PerSecond(), float64(r.Refused)/r.Elapsed.Seconds(),
				millis(r.Latency.Quantile(0.5)), millis(r.Latency.Quantile(0.99)),
				millis(r.Service.Quantile(0.5)), millis(r.Service.Quantile(0.99)), millis(r.RefusedLatency.Quantile(0.99)), r.Late, r.Failed, r.FirstFailure)
		}
	}
	return c, rows, nil
}

// pour carries out a plan of which answers may be refused, and waits until all clicks have arrived.
func (s *system) pour(ctx context.Context, v *subject, p load.Plan) (*poured, error) {
	p.Addr, p.First = v.addr, v.asked
	before, err := v.CPU()
	if err != nil {
		return nil, err
	}
	self := ownCPU()
	r, err := load.Run(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", v.name, err)
	}
	after, err := v.CPU()
	if err != nil {
		return nil, err
	}
	seconds := r.Elapsed.Seconds()
	result := &poured{Result: r, cores: (after - before).Seconds() / seconds, generator: (ownCPU() - self).Seconds() / seconds}
	v.asked += r.Sent
	v.clicks += int64(r.Right)
	if r.Wrong > 0 {
		return nil, fmt.Errorf("%w: %s: %s", errVoid, v.name, r.FirstWrong)
	}
	return result, s.settle(ctx, v)
}

// floodTable writes the rows of the third table.
func floodTable(c capacity, rows []*flood) string {
	var b strings.Builder
	fmt.Fprintf(&b, "url-api on one core answers %.0f requests a second flat out, and bears %.0f; %d connections ask at a constant rate.\n\n", c.flat, c.bears, crowd)
	fmt.Fprintf(&b, "| asked | shedding | answered/s | 503/s | p50, ms | p99, ms | p50 since sent, ms | p99 since sent, ms | p99 of the 503s, ms | cores of url-api | of the generator |\n")
	fmt.Fprintf(&b, "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for _, row := range rows {
		shed := "off"
		if row.shed {
			shed = "on"
		}
		of := func(figure func(*poured) float64) float64 {
			var list []float64
			for _, r := range row.results {
				list = append(list, figure(r))
			}
			return median(list)
		}
		quantile := func(h func(*poured) *load.Histogram, q float64) float64 {
			return of(func(r *poured) float64 { return millis(h(r).Quantile(q)) })
		}
		latency := func(r *poured) *load.Histogram { return &r.Latency }
		service := func(r *poured) *load.Histogram { return &r.Service }
		refused := func(r *poured) *load.Histogram { return &r.RefusedLatency }
		fmt.Fprintf(&b, "| %.1f | %s | %.0f | %.0f | %.1f | %.1f | %.1f | %.1f | %.1f | %.2f | %.2f |\n", row.times, shed,
			of(func(r *poured) float64 { return r.PerSecond() }), of(func(r *poured) float64 { return float64(r.Refused) / r.Elapsed.Seconds() }),
			quantile(latency, 0.5), quantile(latency, 0.99), quantile(service, 0.5), quantile(service, 0.99), quantile(refused, 0.99),
			of(func(r *poured) float64 { return r.cores }), of(func(r *poured) float64 { return r.generator }))
	}
	return b.String()
}
