//go:build e2e

package controller_test

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
	"github.com/linktrail/linktrail/apps/telemetry-controller/internal/controller"
)

// panicking are pods that nobody can ask.
type panicking struct{}

func (panicking) Report(context.Context, *corev1.Pod) (controller.Report, error) { panic("no pod") }

// TestPanic has the controller go on when it panics, in its own goroutine and in those that ask pods.
func TestPanic(t *testing.T) {
	h := MustEmptyHouse(t)
	h.pods = panicking{}
	h.clock.panics.Store(3)
	h.start()
	h.Deployment("url-api")
	h.Pod("url-api", "url-api-1")
	h.Telemetry("default", nil)
	h.Condition("default", v1alpha1.ConditionDelivered, metav1.ConditionFalse, v1alpha1.ReasonPodsUnknown)
	if left := h.clock.panics.Load(); left >= 0 {
		t.Errorf("%d panics are left of 3", left+1)
	}
	h.Change("default", func(s *v1alpha1.TelemetrySpec) { s.Exporter.Endpoint = "elsewhere:4317" })
	h.Overlay("url-api", has("Endpoint: elsewhere:4317"))
}
