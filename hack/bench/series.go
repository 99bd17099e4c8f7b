//go:build linux

package main

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"
)

// figure is one that must stay flat: the median of the last quarter of its samples may exceed that of the second quarter by
// share and by extra. (In the first quarter caches fill.)
type figure struct {
	name    string
	service int
	unit    float64
	share   float64
	extra   float64
	of      func(look) float64
	samples []float64
}

// look is what is seen of a service at once.
type look struct {
	resident, heap, goroutines, files float64
	metric                            func(name string) float64
}

const mebi = 1 << 20

// series are samples of figures, taken at the same times.
type series struct {
	services []*service
	figures  []*figure
	at       []time.Duration
}

// newSeries are the figures of url-api, analytics-rpc and analytics-consumer.
func newSeries(services []*service) *series {
	s := &series{services: services}
	for i, v := range services {
		s.figures = append(s.figures,
			&figure{name: v.Name + ": resident memory, MiB", service: i, unit: mebi, share: 0.1, extra: 8, of: func(l look) float64 { return l.resident }},
			&figure{name: v.Name + ": heap in use, MiB", service: i, unit: mebi, share: 0.1, extra: 8, of: func(l look) float64 { return l.heap }},
			&figure{name: v.Name + ": goroutines", service: i, unit: 1, share: 0.1, extra: 10, of: func(l look) float64 { return l.goroutines }},
			&figure{name: v.Name + ": open files", service: i, unit: 1, share: 0.1, extra: 5, of: func(l look) float64 { return l.files }},
		)
	}
	metric := func(name string) func(look) float64 { return func(l look) float64 { return l.metric(name) } }
	s.figures = append(s.figures,
		&figure{name: "journal, MiB", service: 0, unit: mebi, extra: 16, of: metric("linktrail_clicks_journal_bytes")},
		&figure{name: "records in the journal, thousands", service: 0, unit: 1000, share: 1, extra: 5, of: metric("linktrail_clicks_journal_records")},
		&figure{name: "lag of the consumer, thousands", service: 2, unit: 1000, share: 1, extra: 10, of: metric("linktrail_clicks_consumer_lag")},
	)
	return s
}

// look takes the samples of one service; the first one's time is that of all.
func (s *series) look(ctx context.Context, i int, v *service, at time.Duration) error {
	m, err := v.metrics(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", v.Name, err)
	}
	l := look{heap: m.Sum("go_memstats_heap_inuse_bytes"), goroutines: m.Sum("go_goroutines"), metric: m.Sum}
	if l.resident, l.files, err = resident(v.PID()); err != nil {
		return fmt.Errorf("%s: %w", v.Name, err)
	}
	if i == 0 {
		s.at = append(s.at, at)
	}
	for _, f := range s.figures {
		if f.service == i {
			f.samples = append(f.samples, f.of(l)/f.unit)
		}
	}
	return nil
}

// last tells the last samples in a line.
func (s *series) last() string {
	var b strings.Builder
	for _, f := range s.figures {
		if n := len(f.samples); n > 0 {
			fmt.Fprintf(&b, "%s %.0f · ", f.name, f.samples[n-1])
		}
	}
	return strings.TrimSuffix(b.String(), " · ")
}

// quarter are the samples of the first (0) to the last (3) quarter.
func (f *figure) quarter(q int) []float64 {
	n := len(f.samples)
	return f.samples[q*n/4 : (q+1)*n/4]
}

// limit is the most that the median of the last quarter may be.
func (f *figure) limit() float64 { return median(f.quarter(1))*(1+f.share) + f.extra }

func (f *figure) flat() bool { return median(f.quarter(3)) <= f.limit() }

// slope is by how much a figure grows an hour: that of the line with the least squares through all but the first quarter.
func (f *figure) slope(at []time.Duration) float64 {
	n := min(len(at), len(f.samples))
	from := len(f.samples) / 4
	var count, sumX, sumY, sumXX, sumXY float64
	for i := from; i < n; i++ {
		x, y := at[i].Hours(), f.samples[i]
		count, sumX, sumY, sumXX, sumXY = count+1, sumX+x, sumY+y, sumXX+x*x, sumXY+x*y
	}
	if below := count*sumXX - sumX*sumX; below > 0 {
		return (count*sumXY - sumX*sumY) / below
	}
	return math.NaN()
}

// table writes a row for each figure, and tells which have grown.
func (s *series) table() (text string, grown []string) {
	var b strings.Builder
	fmt.Fprintf(&b, "| | second quarter | last quarter | at most | an hour | |\n| --- | ---: | ---: | ---: | ---: | --- |\n")
	for _, f := range s.figures {
		second, last, word := median(f.quarter(1)), median(f.quarter(3)), "flat"
		if !f.flat() {
			word = "**grows**"
			grown = append(grown, fmt.Sprintf("%s: %.1f, then %.1f", f.name, second, last))
		}
		fmt.Fprintf(&b, "| %s | %.1f | %.1f | %.1f | %+.1f | %s |\n", f.name, second, last, f.limit(), f.slope(s.at), word)
	}
	return b.String(), grown
}
