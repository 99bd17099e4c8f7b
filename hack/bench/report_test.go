//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
