package clickstream_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/linktrail/linktrail/internal/clickstream"
)

// TestPublishedBefore publishes a click that was taken in what is the future now.
func TestPublishedBefore(t *testing.T) {
	r := prometheus.NewRegistry()
	m, err := clickstream.NewPublisherMetrics(r, 1, func() int { return 0 })
	if err != nil {
		t.Fatal(err)
	}
	m.Published(time.Now().Add(time.Hour).Round(0))
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "linktrail_click_publish_duration_seconds" {
			if h := f.GetMetric()[0].GetHistogram(); h.GetSampleCount() != 1 || h.GetSampleSum() < 0 {
				t.Errorf("%d clicks took %v s", h.GetSampleCount(), h.GetSampleSum())
			}
			return
		}
	}
	t.Error("there is no such histogram")
}
