//go:build linux

package main

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linktrail/linktrail/hack/testenv/scrape"
)

func samples(perSecond ...float64) (list []sample) {
	for _, n := range perSecond {
		list = append(list, sample{perSecond: n, cpu: time.Duration(1e9/n) * time.Nanosecond, p50: time.Millisecond, p99: 2 * time.Millisecond})
	}
	return list
}

// TestReport writes a document whose ratios are those of each round, twice.
func TestReport(t *testing.T) {
	shipped, err := os.ReadFile("../../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "performance.md")
	if err := os.WriteFile(file, shipped, 0o600); err != nil {
		t.Fatal(err)
	}
	table := &redirects{rate: 50, rows: []row{
		{name: bareNetHTTP, flat: samples(100, 200, 50), half: samples(50)},
		{name: sampledOne, flat: samples(110, 240, 50), half: samples(50)},
		{name: sampledAll, flat: samples(55, 120, 25), half: samples(50)},
	}}
	for range 2 {
		if err := write(file, table.parts(options{rounds: 3, seconds: 4, connections: 32})); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| linktrail, 1 % sampled | 110 | 1.10 (1.00–1.20) |", "| linktrail, 100 % sampled | 55 | 0.55 (0.50–0.60) |",
		"requests a second | 1.10 | kept |", "1 % sampled's requests a second | 0.50 | **missed** |",
	} {
		if strings.Count(string(got), want) != 1 {
			t.Errorf("%q is there %d times, want once, in:\n%s", want, strings.Count(string(got), want), got)
		}
	}

	t.Run("Err no marks", func(t *testing.T) {
		if err := os.WriteFile(file, []byte("# A document\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := write(file, nil); err == nil || !strings.Contains(err.Error(), "bench:bars") {
			t.Errorf("error is %v", err)
		}
	})
}

// TestOverlayTable takes the ratios of pairs.
func TestOverlayTable(t *testing.T) {
	var pairs []pair
	for i, without := range samples(100, 200, 400) {
		pairs = append(pairs, pair{without: without, with: samples(101, 198, 420)[i]})
	}
	got := overlayTable(options{seconds: 4, connections: 32}, pairs)
	for _, want := range []string{"3 pairs of 2s each", "| requests/s | 198 | 200 | 1.01 (0.99–1.05) |", "at most 0.02 | 1.01 | kept |"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	slow := overlayTable(options{}, []pair{{without: samples(100)[0], with: samples(97)[0]}})
	if strings.Count(slow, "**missed**") != 2 {
		t.Errorf("3 %% less is kept:\n%s", slow)
	}
}

// TestSteerTable takes medians of times, and the worst of memory and of needless writes.
func TestSteerTable(t *testing.T) {
	round := func(applied time.Duration, peak int64, idleWrites float64) steering {
		return steering{applied: applied, delivered: applied, changed: applied, redelivered: applied, writes: 2003, rewrites: 2002, peak: peak << 20, own: (peak - 1) << 20, idleWrites: idleWrites}
	}
	rounds := []steering{round(9*time.Second, 60, 0), round(8*time.Second, 63, 0), round(11*time.Second, 61, 0)}
	got := steerTable([]*steered{{size: fleets[0], bytes: 9100, rounds: rounds}, {size: fleets[2], rounds: rounds[:1]}})
	for _, want := range []string{
		"3 rounds; a Deployment and its pod are 9.1 kB", "| 1000 | 1 | 9.0 | 9.0 | 9.0 | 9.0 | 2003 | 2002 | 0 | 0.00 | 63.0 | 62.0 |", "| 5000 | 1 | 9.0 |",
		"change | 9.00 | kept |", "of its own | 62.00 | kept |", "binary too | 63.00 | kept |", "second pass | 0.00 | kept |",
	} {
		if strings.Count(got, want) != 1 {
			t.Errorf("%q is there %d times, want once, in:\n%s", want, strings.Count(got, want), got)
		}
	}
	bad := steerTable([]*steered{{size: fleets[0], rounds: []steering{round(12*time.Second, 65, 1)}}})
	if strings.Count(bad, "**missed**") != 4 {
		t.Errorf("one of the bars is kept:\n%s", bad)
	}
}

// TestWants has a word choose the controller's rows and no other, and one the requests'.
func TestWants(t *testing.T) {
	any := func(o options) bool { return slices.ContainsFunc(requestRows, o.wants) }
	o := options{controller: "bin/telemetry-controller", only: "controller"}
	if !o.wantsFleets() || any(o) {
		t.Error("-only controller: a system of servers is started for it, or it is not measured")
	}
	o.only = overlayRow
	if o.wantsFleets() || !any(o) {
		t.Error("-only overlay: kube-apiserver is started for it, or it is not measured")
	}
	if (options{only: "controller"}).wantsFleets() {
		t.Error("-controller='' does not leave it out")
	}
}

// TestHasCondition takes a condition for what it says of the spec as it is now.
func TestHasCondition(t *testing.T) {
	object := (&fleet{}).object("group-00", "group-00", "jaeger:4317")
	object.SetGeneration(2)
	if err := hasCondition(object, "Ready"); err == nil {
		t.Error("an object without a status is ready")
	}
	for _, c := range []struct {
		status     string
		generation int64
		is         bool
	}{{"True", 2, true}, {"True", 1, false}, {"False", 2, false}} {
		object.Object["status"] = map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": c.status, "observedGeneration": c.generation}}}
		if err := hasCondition(object, "Ready"); (err == nil) != c.is {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestTemplate reads the workload that all are made of.
func TestTemplate(t *testing.T) {
	d, status, err := template()
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Spec.Template.Spec.Containers) != 1 || status.Phase != "Running" {
		t.Errorf("the Deployment is %+v, the status %+v", d, status)
	}
	seen := make(map[string]bool)
	for i := range 5000 {
		if ip := podIP(i); net.ParseIP(ip) == nil || seen[ip] {
			t.Fatalf("pod %d has %s, which is no address or another's", i, ip)
		}
		seen[podIP(i)] = true
	}
}

// TestMetrics adds up series with a label and without.
func TestMetrics(t *testing.T) {
	m := scrape.Metrics{`requests_total{code="200",method="GET"} 5`, `requests_total{code="200",method="PATCH"} 7`, `requests_total_other{method="GET"} 100`}
	if got := m.Sum("requests_total") - m.With(`method="GET"`).Sum("requests_total"); got != 7 {
		t.Errorf("%v writes, want 7", got)
	}
}
