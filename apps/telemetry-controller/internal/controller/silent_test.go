//go:build e2e

package controller_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
	"github.com/linktrail/linktrail/apps/telemetry-controller/internal/controller"
)

// silent are pods that never answer.
type silent struct{}

func (silent) Report(ctx context.Context, _ *corev1.Pod) (controller.Report, error) {
	<-ctx.Done()
	return controller.Report{}, ctx.Err()
}

// TestSilentPods has many pods that do not answer delay neither their own object's ConfigMaps for long, nor another's.
func TestSilentPods(t *testing.T) {
	const pods, patience = 128, 5 * time.Second
	h := MustEmptyHouse(t)
	h.pods = silent{}
	h.Deployment("url-api")
	for i := range pods {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: fmt.Sprint("url-api-", i), Labels: map[string]string{"app": "url-api"}}, Spec: podSpec(0)}
		must(t, api.Create(t.Context(), pod))
		pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.1.2.3"}
		must(t, api.Status().Update(t.Context(), pod))
	}
	h.start()
	h.Telemetry("silent", func(s *v1alpha1.TelemetrySpec) { s.Delivery = v1alpha1.DeliveryNone })
	h.Condition("silent", v1alpha1.ConditionDelivered, metav1.ConditionFalse, v1alpha1.ReasonPodsUnknown)
	h.Followed("silent", fmt.Sprintf("0/%d", pods))
	for range 2 { // the second comes while pods are asked because of the first
		config := h.Overlay("url-api", has("Endpoint: jaeger:4317"))
		config.Data = nil
		must(t, api.Update(t.Context(), config))
		begin := time.Now()
		h.Overlay("url-api", has("Endpoint: jaeger:4317"))
		if late := time.Since(begin); late > patience {
			t.Errorf("it was put right after %s, want %s", late, patience)
		}
	}
	h.Change("silent", func(s *v1alpha1.TelemetrySpec) { s.Sampling.Ratio = "0.5" }) // pods are asked again
	h.Overlay("url-api", has("Sampler: 0.5"))
	other := h.Deployment("other")
	other.Labels = map[string]string{"another": "yes"}
	must(t, api.Update(t.Context(), other))
	begin := time.Now()
	h.Telemetry("other", func(s *v1alpha1.TelemetrySpec) { s.Selector.MatchLabels = other.Labels })
	h.Overlay("other", nil)
	if late := time.Since(begin); late > patience {
		t.Errorf("another object's was applied after %s, want %s", late, patience)
	}
}
