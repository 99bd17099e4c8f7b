//go:build linux

package main

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestSeries(t *testing.T) {
	seriesOf := func(f *figure, of func(i int) float64) *series {
		s := &series{figures: []*figure{f}}
		for i := range 80 {
			s.at = append(s.at, time.Duration(i)*30*time.Second)
			f.samples = append(f.samples, of(i))
		}
		return s
	}
	for name, test := range map[string]struct {
		of    func(i int) float64
		slope float64
		grows bool
	}{
		"OK warm after the first quarter": {func(i int) float64 { return float64(min(i, 20)) }, 0, false},
		"OK a tooth":                      {func(i int) float64 { return 100 + float64(i%4) }, 0.5, false},
		"OK one outlier":                  {func(i int) float64 { return 100 + 1000*float64(i/79) }, 196.7, false},
		"OK less":                         {func(i int) float64 { return 200 - float64(i) }, -120, false},
		"Err it grows":                    {func(i int) float64 { return 100 + float64(i) }, 120, true},
		"Err a step":                      {func(i int) float64 { return 100 + 50*float64(i/60) }, 133.4, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := &figure{name: "goroutines", share: 0.1, extra: 10}
			s := seriesOf(f, test.of)
			text, grown := s.table()
			if (len(grown) > 0) != test.grows || strings.Contains(text, "**grows**") != test.grows {
				t.Errorf("%v\n%s", grown, text)
			}
			if got := f.slope(s.at); math.Abs(got-test.slope) > 0.1 {
				t.Errorf("%.2f an hour, want %.1f", got, test.slope)
			}
		})
	}
}
