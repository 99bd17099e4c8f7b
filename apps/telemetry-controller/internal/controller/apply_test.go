//go:build e2e

package controller_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
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
	eventually(t, func() error {
		var now v1alpha1.Telemetry
		h.Get("default", &now)
		if now.Status.Pods != "1/2" {
			return fmt.Errorf("%s pods have followed, want 1/2", now.Status.Pods)
		}
		return nil
	})
	pods[1].Hash.Store(nil) // it does not answer
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
		var late appsv1.Deployment
		h.Get("late", &late)
		late.Labels = nil
		must(t, api.Update(t.Context(), &late))
		h.Gone("late-telemetry", new(corev1.ConfigMap))
	})
}

// TestDrift has someone else change what is the controller's.
func TestDrift(t *testing.T) {
	h := MustHouse(t)
	h.Deployment("url-api")
	h.Telemetry("default", nil)
	right := h.Overlay("url-api", nil)
	same := func(c *corev1.ConfigMap) error {
		if len(c.Data) != len(right.Data) || c.Data[telemetry.OverlayFile] != right.Data[telemetry.OverlayFile] {
			return fmt.Errorf("it has %v", c.Data)
		}
		return nil
	}
	t.Run("OK edited", func(t *testing.T) {
		edited := right.DeepCopy()
		edited.Data = map[string]string{telemetry.OverlayFile: "Telemetry: {Endpoint: elsewhere:1}", "other.yaml": "x"}
		must(t, api.Update(t.Context(), edited))
		h.Overlay("url-api", same)
	})
	t.Run("OK deleted", func(t *testing.T) {
		must(t, api.Delete(t.Context(), right.DeepCopy()))
		h.Overlay("url-api", same)
	})
}

// TestRestart changes things while there is no controller.
func TestRestart(t *testing.T) {
	h := MustHouse(t)
	h.Deployment("url-api")
	h.Telemetry("default", nil)
	h.Overlay("url-api", nil)
	h.stop()
	h.Change("default", func(s *v1alpha1.TelemetrySpec) { s.Exporter.Endpoint = "later:4317" })
	h.Deployment("analytics-rpc")
	h.start()
	h.Overlay("url-api", has("Endpoint: later:4317"))
	h.Overlay("analytics-rpc", has("Endpoint: later:4317"))
}

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
