//go:build e2e

package controller_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
)

// TestOverride has another ratio for one workload, for a while.
func TestOverride(t *testing.T) {
	h := MustHouse(t)
	h.Deployment("url-api")
	h.Deployment("analytics-rpc")
	until := metav1.NewTime(time.Now().Add(time.Hour).Truncate(time.Second))
	h.Telemetry("default", func(s *v1alpha1.TelemetrySpec) {
		s.Sampling = v1alpha1.Sampling{Ratio: "0.1", Overrides: []v1alpha1.Override{{Workload: "url-api", Ratio: "1", Until: &until}}}
	})
	h.Overlay("url-api", has("Sampler: 1"))
	h.Overlay("analytics-rpc", has("Sampler: 0.1"))
	h.stop()
	h.clock.forward.Store(int64(time.Hour - 3*time.Second)) // it ends by itself soon
	h.start()
	h.Overlay("url-api", has("Sampler: 0.1"))
}
