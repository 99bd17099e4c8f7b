//go:build e2e

package controller_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
)

// TestNone leaves it to the kubelet when pods read a change.
func TestNone(t *testing.T) {
	h := MustHouse(t)
	h.Deployment("url-api")
	p := h.Pod("url-api", "url-api-1")
	h.Telemetry("default", func(s *v1alpha1.TelemetrySpec) { s.Delivery = v1alpha1.DeliveryNone })
	object := h.Condition("default", v1alpha1.ConditionDelivered, metav1.ConditionFalse, v1alpha1.ReasonPodsPending)
	var now corev1.Pod
	h.Get(p.Name, &now)
	if len(now.Annotations) > 0 {
		t.Errorf("the pod is annotated: %v", now.Annotations)
	}
	p.Report(object.Status.Workloads[0].Hash)
	h.Condition("default", v1alpha1.ConditionDelivered, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
}
