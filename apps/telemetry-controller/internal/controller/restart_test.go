//go:build e2e

package controller_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
)

// TestRestart changes things while there is no controller.
func TestRestart(t *testing.T) {
	h := MustHouse(t)
	h.Deployment("url-api")
	h.Deployment("journal")
	h.Deployment("analytics-consumer")
	h.Telemetry("default", nil)
	for _, workload := range []string{"url-api", "journal", "analytics-consumer"} {
		h.Overlay(workload, has("Endpoint: jaeger:4317"))
	}
	h.stop()
	h.Change("default", func(s *v1alpha1.TelemetrySpec) { s.Exporter.Endpoint = "later:4317" })
	h.Deployment("analytics-rpc")
	must(t, api.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "journal-telemetry"}}))
	h.Unselect("analytics-consumer")
	h.start()
	for _, workload := range []string{"url-api", "analytics-rpc", "journal"} {
		h.Overlay(workload, has("Endpoint: later:4317"))
	}
	h.Gone("analytics-consumer-telemetry", new(corev1.ConfigMap))
}
