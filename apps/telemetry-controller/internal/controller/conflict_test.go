//go:build e2e

package controller_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
)

// TestConflict has two objects select one workload.
func TestConflict(t *testing.T) {
	h := MustHouse(t)
	h.Deployment("url-api")
	h.Telemetry("first", nil)
	h.Overlay("url-api", has("Endpoint: jaeger:4317"))
	h.Condition("first", v1alpha1.ConditionDelivered, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	h.Telemetry("second", func(s *v1alpha1.TelemetrySpec) { s.Exporter.Endpoint = "other:4317" })
	for _, name := range []string{"first", "second"} {
		object := h.Condition(name, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonConflict)
		if len(object.Status.Workloads) != 1 || object.Status.Workloads[0].ConflictsWith == "" {
			t.Errorf("%s: workloads are %+v", name, object.Status.Workloads)
		}
		if meta.IsStatusConditionTrue(object.Status.Conditions, v1alpha1.ConditionDelivered) {
			t.Errorf("%s is delivered: %+v", name, object.Status.Conditions)
		}
	}
	if err := has("Endpoint: jaeger:4317")(h.Overlay("url-api", nil)); err != nil {
		t.Error("one of them has guessed:", err)
	}
	must(t, api.Delete(t.Context(), &v1alpha1.Telemetry{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "first"}}))
	h.Condition("second", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	h.Overlay("url-api", has("Endpoint: other:4317"))
}

// TestConflictOfNames has two objects select a workload each, of one name and so of one ConfigMap.
func TestConflictOfNames(t *testing.T) {
	h := MustHouse(t)
	h.Deployment("shop")
	h.Telemetry("first", nil)
	h.Condition("first", v1alpha1.ConditionDelivered, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	labels := map[string]string{"app": "shop-set"}
	set := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "shop", Labels: labels},
		Spec: appsv1.StatefulSetSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: podSpec(0)}},
	}
	must(t, api.Create(t.Context(), set))
	h.Telemetry("second", func(s *v1alpha1.TelemetrySpec) {
		s.Selector.MatchLabels, s.Exporter.Endpoint = labels, "other:4317"
	})
	for name, kind := range map[string]string{"first": "Deployment", "second": "StatefulSet"} {
		object := h.Condition(name, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonConflict)
		h.Condition(name, v1alpha1.ConditionDelivered, metav1.ConditionFalse, v1alpha1.ReasonConflict)
		if w := object.Status.Workloads; len(w) != 1 || w[0].Kind != kind || w[0].ConflictsWith == "" {
			t.Errorf("%s: workloads are %+v", name, w)
		}
	}
	h.Event("second", v1alpha1.ReasonConflict, "StatefulSet shop and Deployment shop, which Telemetry first selects, would have one overlay, shop-telemetry")
	if err := has("Endpoint: jaeger:4317")(h.Overlay("shop", nil)); err != nil {
		t.Error("one of them has guessed:", err)
	}
	must(t, api.Delete(t.Context(), set))
	h.Condition("first", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	h.Condition("second", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonNoWorkloads)
}
