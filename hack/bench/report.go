//go:build linux

package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/linktrail/linktrail/hack/testenv/document"
)

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// ratios of a figure to that of another subject, round by round.
func ratios(ours, theirs []sample, figure func(sample) float64) []float64 {
	var list []float64
	for i := range min(len(ours), len(theirs)) {
		list = append(list, figure(ours[i])/figure(theirs[i]))
	}
	return list
}

func cpuTime(s sample) float64 { return micros(s.cpu) }

// spread shows a median with the least and the most.
func spread(list []float64) string {
	if len(list) == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f (%.2f–%.2f)", median(list), slices.Min(list), slices.Max(list))
}

// table writes the rows of the first table.
func (t *redirects) table() string {
	var b strings.Builder
	base := t.row(bareNetHTTP)
	fmt.Fprintf(&b, "| server | requests/s | to net/http | CPU a request, µs | to net/http | p50, ms | p99, ms | CPU then, µs |\n")
	fmt.Fprintf(&b, "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for _, r := range t.rows {
		perSec, cpu := "–", "–"
		if base != nil {
			perSec, cpu = spread(ratios(r.flat, base.flat, perSecond)), spread(ratios(r.flat, base.flat, cpuTime))
		}
		fmt.Fprintf(&b, "| %s | %.0f | %s | %.1f | %s |", r.name, median(pick(r.flat, perSecond)), perSec, median(pick(r.flat, cpuTime)), cpu)
		if len(r.half) == 0 {
			fmt.Fprintf(&b, " – | – | – |\n")
			continue
		}
		fmt.Fprintf(&b, " %.2f | %.2f | %.1f |\n", millis(median(pick(r.half, func(s sample) time.Duration { return s.p50 }))),
			millis(median(pick(r.half, func(s sample) time.Duration { return s.p99 }))), median(pick(r.half, cpuTime)))
	}
	return b.String()
}

// barHead is the head of a table of bars.
const barHead = "| asked for | is | |\n| --- | ---: | --- |\n"

// bar writes a row of what is asked for.
func bar(b *strings.Builder, what string, is float64, kept bool) {
	word := "kept"
	if !kept {
		word = "**missed**"
	}
	fmt.Fprintf(b, "| %s | %.2f | %s |\n", what, is, word)
}

// bars says how linktrail stands against what is asked of it.
func (t *redirects) bars() string {
	base, one, all := t.row(bareNetHTTP), t.row(sampledOne), t.row(sampledAll)
	if base == nil || one == nil || all == nil {
		return ""
	}
	var b strings.Builder
	b.WriteString(barHead)
	speed := median(ratios(one.flat, base.flat, perSecond))
	bar(&b, "1 % sampled: at least 1.0 of bare net/http's requests a second", speed, speed >= 1)
	cpu := median(ratios(one.flat, base.flat, cpuTime))
	bar(&b, "1 % sampled: at most 1.0 of its CPU time a request", cpu, cpu <= 1)
	full := median(ratios(all.flat, one.flat, perSecond))
	bar(&b, "100 % sampled: at least 0.8 of 1 % sampled's requests a second", full, full >= 0.8)
	return b.String()
}

// spans says what became of the spans.
func (t *redirects) spans() string {
	var b strings.Builder
	for _, name := range []string{sampledOne, sampledAll} {
		r := t.row(name)
		if r == nil {
			continue
		}
		exported, lost := 0, 0
		for _, s := range r.flat {
			exported, lost = exported+s.exported, lost+s.lost
		}
		if shed := median(pick(r.flat, func(s sample) float64 { return s.refused })); shed > 0 {
			fmt.Fprintf(&b, "%s, flat out: %.0f requests a second were shed with 503 and are not counted.\n", name, shed)
		}
		fmt.Fprintf(&b, "%s, flat out: %d spans exported, %d dropped because the queue was full.\n", name, exported, lost)
	}
	return b.String()
}

// pairTable writes how url-api with something stands to the same without, and returns the medians of the ratios.
func pairTable(b *strings.Builder, o options, what string, pairs []pair) (speed, cpu float64) {
	var with, without []sample
	for _, p := range pairs {
		with, without = append(with, p.with), append(without, p.without)
	}
	fmt.Fprintf(b, "%d pairs of %v each, %d connections.\n\n", len(pairs), o.duration()/2, o.connections)
	fmt.Fprintf(b, "| | with %s | without | ratio |\n| --- | ---: | ---: | ---: |\n", what)
	speeds, cpus := ratios(with, without, perSecond), ratios(with, without, cpuTime)
	fmt.Fprintf(b, "| requests/s | %.0f | %.0f | %s |\n", median(pick(with, perSecond)), median(pick(without, perSecond)), spread(speeds))
	fmt.Fprintf(b, "| CPU a request, µs | %.1f | %.1f | %s |\n", median(pick(with, cpuTime)), median(pick(without, cpuTime)), spread(cpus))
	return median(speeds), median(cpus)
}

// overlayTable writes how url-api with an overlay stands to the same without.
func overlayTable(o options, pairs []pair) string {
	var b strings.Builder
	speed, cpu := pairTable(&b, o, "an overlay", pairs)
	b.WriteString("\n" + barHead)
	within := func(ratio float64) bool { return ratio >= 0.98 && ratio <= 1.02 }
	bar(&b, "an overlay changes requests a second by at most 0.02", speed, within(speed))
	bar(&b, "and CPU time a request as little", cpu, within(cpu))
	return b.String()
}

// journalTable writes what an append costs, and how url-api with a journal stands to the same without.
func journalTable(o options, appends []appended, pairs []pair) string {
	var b strings.Builder
	speed, _ := pairTable(&b, o, "a journal", pairs)
	fmt.Fprintf(&b, "\n| goroutines that append | ns an append | CPU, ns | allocations | with `Sync`: appends/s | each waits, ms |\n")
	fmt.Fprintf(&b, "| ---: | ---: | ---: | ---: | ---: | ---: |\n")
	slowest, allocations := 0.0, 0.0
	for _, a := range appends {
		slowest, allocations = max(slowest, float64(a.cached.cpu)), max(allocations, a.cached.allocations)
		fmt.Fprintf(&b, "| %d | %d | %d | %.2f | %.0f | %.2f |\n", a.goroutines, a.cached.each, a.cached.cpu, a.cached.allocations,
			float64(time.Second)/float64(max(1, a.synced.each)), millis(a.synced.each*time.Duration(a.goroutines)))
	}
	b.WriteString("\n" + barHead)
	bar(&b, "with a journal: at least 0.95 of the requests a second without", speed, speed >= 0.95)
	bar(&b, "an append costs less than a microsecond of CPU", slowest/1000, slowest < 1000)
	bar(&b, "and allocates nothing", allocations, allocations < 0.01)
	return b.String()
}

// pathTable writes the rows of the second table.
func pathTable(paths []path) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| request | requests/s | p50, ms | p99, ms | CPU of url-api, µs | CPU of analytics-rpc, µs | 503/s |\n")
	fmt.Fprintf(&b, "| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for _, p := range paths {
		analyst := "–"
		if p.name == pathStats {
			analyst = fmt.Sprintf("%.0f", micros(median(p.analyst)))
		}
		fmt.Fprintf(&b, "| %s | %.0f | %.2f | %.2f | %.0f | %s | %.0f |\n", p.name, median(pick(p.samples, perSecond)),
			millis(median(pick(p.samples, func(s sample) time.Duration { return s.p50 }))),
			millis(median(pick(p.samples, func(s sample) time.Duration { return s.p99 }))),
			median(pick(p.samples, cpuTime)), analyst, median(pick(p.samples, func(s sample) float64 { return s.refused })))
	}
	return b.String()
}

func factTable(facts []fact) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| | |\n| --- | --- |\n")
	for _, f := range facts {
		fmt.Fprintf(&b, "| %s | %s |\n", f.what, f.is)
	}
	return b.String()
}

// part is what stands in the document between the lines <!-- bench:NAME --> and <!-- /bench:NAME -->.
type part struct{ name, text string }

// marks are the parts that a document must have.
var marks = [...]string{"bars", "redirects", "overlay", "journal", "paths", "overload", "controller", "machine"}

// parts are what the first table is written as.
func (t *redirects) parts(o options) (list []part) {
	if len(t.rows) == 0 {
		return nil
	}
	var generator []float64
	for _, r := range t.rows {
		generator = append(generator, pick(r.flat, func(s sample) float64 { return micros(s.generator) })...)
	}
	text := fmt.Sprintf("%d rounds of %v a server, %d connections. Latencies and \"CPU then\" are those at %.0f requests a second. The load generator itself used %.1f µs a request.\n\n",
		o.rounds, o.duration(), o.connections, t.rate, median(generator))
	list = append(list, part{"redirects", text + t.table() + "\n" + t.spans()})
	if bars := t.bars(); bars != "" {
		list = append(list, part{"bars", bars})
	}
	return list
}

// write puts parts into a document, which must have the marks of all.
func write(file string, parts []part) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	doc := string(old)
	for _, name := range marks {
		i := slices.IndexFunc(parts, func(p part) bool { return p.name == name })
		text := ""
		if i >= 0 {
			text = parts[i].text
		}
		changed, err := document.Replace(doc, "bench:"+name, text)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if i >= 0 { // what was not measured stays
			doc = changed
		}
	}
	return os.WriteFile(file, []byte(doc), 0o644) //nolint:gosec // a document of the repository
}
