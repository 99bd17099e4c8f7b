//go:build e2e

package controller_test

import (
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
	"github.com/linktrail/linktrail/apps/telemetry-controller/internal/controller"
	"github.com/linktrail/linktrail/internal/telemetry"
)

// has returns what Overlay waits for: a line of telemetry.yaml.
func has(line string) func(*corev1.ConfigMap) error {
	return func(c *corev1.ConfigMap) error {
		if text := c.Data[telemetry.OverlayFile]; !strings.Contains(text, "  "+line+"\n") {
			return fmt.Errorf("no %q in\n%s", line, text)
		}
		return nil
	}
}

// TestApply follows a change from the object to the pods and back into the status.
func TestApply(t *testing.T) {
	h := MustHouse(t)
	h.Deployment("url-api")
	selected := map[string]string{"app.kubernetes.io/part-of": "linktrail"}
	must(t, api.Create(t.Context(), &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "journal", Labels: selected},
		Spec: appsv1.StatefulSetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "journal"}}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "journal"}}, Spec: podSpec(0)}},
	}))
	must(t, api.Create(t.Context(), &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "agent", Labels: selected},
		Spec: appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "agent"}}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "agent"}}, Spec: podSpec(0)}},
	}))
	pods := []*pod{h.Pod("url-api", "url-api-1"), h.Pod("url-api", "url-api-2")}
	object := h.Telemetry("default", func(s *v1alpha1.TelemetrySpec) { s.Sampling.Ratio = "0.25" })

	config := h.Overlay("url-api", has("Endpoint: jaeger:4317"))
	if err := has("Sampler: 0.25")(config); err != nil {
		t.Error(err)
	}
	if owner := metav1.GetControllerOf(config); owner == nil || owner.UID != object.UID || len(config.OwnerReferences) != 1 {
		t.Errorf("owners are %v", config.OwnerReferences)
	}
	if len(config.ManagedFields) != 1 || config.ManagedFields[0].Manager != controller.FieldOwner || config.ManagedFields[0].Operation != metav1.ManagedFieldsOperationApply {
		t.Errorf("managed by %+v", config.ManagedFields)
	}
	h.Overlay("journal", nil)
	h.Overlay("agent", nil)
	hash := telemetry.OverlayHash([]byte(config.Data[telemetry.OverlayFile]), nil)

	h.Condition("default", v1alpha1.ConditionDelivered, metav1.ConditionFalse, v1alpha1.ReasonPodsPending)
	for _, p := range pods { // they are told to read it
		eventually(t, func() error {
			var now corev1.Pod
			h.Get(p.Name, &now)
			if got := now.Annotations[controller.HashAnnotation]; got != hash {
				return fmt.Errorf("pod %s is annotated with %q, want %q", p.Name, got, hash)
			}
			return nil
		})
	}
	pods[0].Report(hash)
	h.Followed("default", "1/2")
	pods[1].Say(nil) // it does not answer
	h.Condition("default", v1alpha1.ConditionDelivered, metav1.ConditionFalse, v1alpha1.ReasonPodsUnknown)
	pods[1].Report(hash)
	done := h.Condition("default", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	if s := done.Status; s.Pods != "2/2" || s.Endpoint != "jaeger:4317" || len(s.Workloads) != 3 || s.ObservedGeneration != done.Generation {
		t.Errorf("status is %+v", s)
	}
	for _, w := range done.Status.Workloads {
		if w.Name == "url-api" && (w.Kind != "Deployment" || w.Hash != hash || w.Ratio != "0.25" || w.Done != 2) {
			t.Errorf("status of url-api is %+v", w)
		}
	}

	t.Run("OK nothing is written when nothing has changed", func(t *testing.T) {
		before := h.writes.Load()
		var object v1alpha1.Telemetry
		h.Get("default", &object)
		from := object.DeepCopy()
		object.Spec.Sampling.Overrides = []v1alpha1.Override{{Workload: "nobody", Ratio: "0"}} // for one that is not there
		must(t, api.Patch(t.Context(), &object, client.MergeFrom(from)))
		h.Condition("default", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		if after := h.writes.Load(); after != before {
			t.Errorf("%d writes", after-before)
		}
	})

	t.Run("OK a change", func(t *testing.T) {
		h.Change("default", func(s *v1alpha1.TelemetrySpec) { s.Exporter.Endpoint = "otel-collector:4317" })
		h.Overlay("url-api", has("Endpoint: otel-collector:4317"))
		h.Condition("default", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonPodsPending)
	})

	t.Run("OK a workload that comes later", func(t *testing.T) {
		h.Deployment("late")
		h.Overlay("late", has("Endpoint: otel-collector:4317"))
	})

	t.Run("OK a workload that is selected no more", func(t *testing.T) {
		h.Unselect("late")
		h.Gone("late-telemetry", new(corev1.ConfigMap))
	})
}
