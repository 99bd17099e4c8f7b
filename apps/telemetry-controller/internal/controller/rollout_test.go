//go:build e2e

package controller_test

import (
	"errors"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
	"github.com/linktrail/linktrail/apps/telemetry-controller/internal/controller"
)

func rollout(s *v1alpha1.TelemetrySpec) { s.Delivery = v1alpha1.DeliveryRollout }

// TestRollout has pods replaced, one workload after the other.
func TestRollout(t *testing.T) {
	h := MustHouse(t)
	h.Deployment("analytics-rpc", mounts("analytics-rpc"))
	h.Deployment("url-api", mounts("url-api"))
	old := h.Pod("url-api", "url-api-old")
	h.Telemetry("default", rollout)

	first := h.Stamped("analytics-rpc")
	h.Workload("default", "url-api", v1alpha1.ReasonRolloutInProgress, "waits for Deployment analytics-rpc")
	if got := h.Template("url-api").Annotations; len(got) > 0 {
		t.Errorf("the second one has %v before the first is done", got)
	}
	h.Overlay("url-api", nil) // what it will read is there before its pods are replaced
	h.Rolling("analytics-rpc", 1, 1)
	h.Workload("default", "analytics-rpc", v1alpha1.ReasonRolloutInProgress, "1 pods of before are still there")
	h.Condition("default", v1alpha1.ConditionDelivered, metav1.ConditionFalse, v1alpha1.ReasonRolloutInProgress)
	h.Condition("default", v1alpha1.ConditionConfigApplied, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	if got := h.Template("url-api").Annotations; len(got) > 0 {
		t.Errorf("the second one has %v before the first is done", got)
	}
	h.Rolled("analytics-rpc")
	second := h.Stamped("url-api")
	h.Rolled("url-api")

	h.Pod("analytics-rpc", "analytics-rpc-new", first).Ready(t)
	pod := h.Pod("url-api", "url-api-new", second)
	h.Followed("default", "1/3") // one is of before, one not ready
	h.Condition("default", v1alpha1.ConditionDelivered, metav1.ConditionFalse, v1alpha1.ReasonPodsPending)
	must(t, api.Delete(t.Context(), old.Pod))
	pod.Ready(t)
	h.Followed("default", "2/2")
	object := h.Condition("default", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	if asked := old.asked.Load() + pod.asked.Load(); asked > 0 {
		t.Errorf("pods were asked %d times", asked)
	}
	if got := old.Annotations; len(got) > 0 {
		t.Errorf("a pod has %v", got)
	}

	t.Run("OK nothing is written when nothing has changed", func(t *testing.T) {
		before := h.writes.Load()
		h.Change("default", func(s *v1alpha1.TelemetrySpec) {
			s.Sampling.Overrides = []v1alpha1.Override{{Workload: "nobody", Ratio: "0"}}
		})
		h.Condition("default", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		if after := h.writes.Load(); after != before {
			t.Errorf("%d writes", after-before)
		}
	})
	t.Run("OK one that has another ratio is replaced alone", func(t *testing.T) {
		h.Change("default", func(s *v1alpha1.TelemetrySpec) {
			s.Sampling.Overrides = []v1alpha1.Override{{Workload: "url-api", Ratio: "0.5"}}
		})
		h.Overlay("url-api", has("Sampler: 0.5"))
		if hash := h.Stamped("url-api"); hash == second {
			t.Error("the hash is the same")
		}
		h.Condition("default", v1alpha1.ConditionDelivered, metav1.ConditionFalse, v1alpha1.ReasonRolloutInProgress)
		if got := h.Template("analytics-rpc").Annotations[controller.HashAnnotation]; got != first {
			t.Errorf("the other one has %q, want %q", got, first)
		}
		h.Rolled("url-api")
	})
	t.Run("OK the annotation stays with another delivery", func(t *testing.T) {
		before := h.Template("url-api")
		h.Change("default", func(s *v1alpha1.TelemetrySpec) {
			s.Delivery, s.Exporter.Endpoint = v1alpha1.DeliveryReload, "elsewhere:4317"
		})
		hash := hashOf(h.Overlay("url-api", has("Endpoint: elsewhere:4317")))
		h.Condition("default", v1alpha1.ConditionDelivered, metav1.ConditionFalse, v1alpha1.ReasonPodsPending)
		pod.Report(hash)
		h.Workload("default", "url-api", "", "")
		if after := h.Template("url-api"); after.Annotations[controller.HashAnnotation] != before.Annotations[controller.HashAnnotation] {
			t.Errorf("the template has %v, and had %v", after.Annotations, before.Annotations)
		}
	})
	t.Run("OK it is taken back with the object", func(t *testing.T) {
		must(t, api.Delete(t.Context(), object))
		h.Gone("default", new(v1alpha1.Telemetry))
		for _, name := range []string{"url-api", "analytics-rpc"} {
			if got := h.Template(name).Annotations; len(got) > 0 {
				t.Errorf("%s has %v", name, got)
			}
			h.Gone(name+"-telemetry", new(corev1.ConfigMap))
		}
	})
}

// TestRolloutOfOthers has someone else replace the pods of a workload that is selected.
func TestRolloutOfOthers(t *testing.T) {
	h := MustHouse(t)
	h.Deployment("analytics-rpc", mounts("analytics-rpc"))
	h.Deployment("url-api", mounts("url-api"))
	h.Rolling("url-api", 0, 1)
	h.Telemetry("default", rollout)
	h.Workload("default", "analytics-rpc", v1alpha1.ReasonRolloutInProgress, "waits for Deployment url-api (0 of 1 pods are updated)")
	h.Workload("default", "url-api", v1alpha1.ReasonRolloutInProgress, "waits for Deployment url-api (0 of 1 pods are updated)")
	for _, name := range []string{"analytics-rpc", "url-api"} {
		if got := h.Template(name).Annotations; len(got) > 0 {
			t.Errorf("%s has %v", name, got)
		}
	}
	h.Rolled("url-api")
	h.Stamped("analytics-rpc")
}

// TestRolloutMended has an overlay break the first workload that gets it, and another one mend it.
func TestRolloutMended(t *testing.T) {
	h := MustHouse(t)
	h.Deployment("analytics-rpc", mounts("analytics-rpc"))
	h.Deployment("url-api", mounts("url-api"))
	h.Telemetry("default", rollout)
	broken := h.Stamped("analytics-rpc")
	h.Rolling("analytics-rpc", 0, 1)
	h.Workload("default", "url-api", v1alpha1.ReasonRolloutInProgress, "waits for Deployment analytics-rpc (0 of 1 pods are updated)")
	h.Change("default", func(s *v1alpha1.TelemetrySpec) { s.Exporter.Endpoint = "mended:4317" })
	h.Overlay("analytics-rpc", has("Endpoint: mended:4317"))
	if mended := h.Stamped("analytics-rpc"); mended == broken {
		t.Error("the hash is the same")
	}
	if got := h.Template("url-api").Annotations; len(got) > 0 {
		t.Errorf("the other one has %v", got)
	}
	h.Rolled("analytics-rpc")
	h.Stamped("url-api")
}

// TestRolloutHeld has workloads whose pods are not replaced by themselves: they keep nobody waiting.
func TestRolloutHeld(t *testing.T) {
	h := MustHouse(t)
	h.Deployment("a-paused", mounts("a-paused"), func(s *appsv1.DeploymentSpec) { s.Paused = true })
	h.Deployment("b-runs", mounts("b-runs"))
	selector := map[string]string{"app": "deleted-by-hand"}
	journal := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "deleted-by-hand", Labels: map[string]string{"app.kubernetes.io/part-of": "linktrail"}},
		Spec: appsv1.StatefulSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: selector}, UpdateStrategy: appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: selector}, Spec: mounting("deleted-by-hand")},
		},
	}
	must(t, api.Create(t.Context(), journal))
	updated := func(n int32) {
		t.Helper()
		h.Get("deleted-by-hand", journal)
		journal.Status = appsv1.StatefulSetStatus{ObservedGeneration: journal.Generation, Replicas: 1, ReadyReplicas: 1, AvailableReplicas: 1, UpdatedReplicas: n}
		must(t, api.Status().Update(t.Context(), journal))
	}
	updated(1)
	h.Telemetry("default", rollout)

	h.Stamped("a-paused")
	h.Rolling("a-paused", 0, 1)
	h.Workload("default", "a-paused", v1alpha1.ReasonRolloutHeld, "it is paused")
	hash := h.Stamped("b-runs")
	h.Rolled("b-runs")
	eventually(t, func() error {
		h.Get("deleted-by-hand", journal)
		if got := journal.Spec.Template.Annotations[controller.HashAnnotation]; got == "" {
			return errors.New("the StatefulSet's template is as it was")
		}
		return nil
	})
	updated(0)
	h.Workload("default", "deleted-by-hand", v1alpha1.ReasonRolloutHeld, "OnDelete")
	h.Pod("b-runs", "b-runs-new", hash).Ready(t)
	h.Condition("default", v1alpha1.ConditionDelivered, metav1.ConditionFalse, v1alpha1.ReasonRolloutHeld)
	updated(1)
	h.Rolled("a-paused")
	h.Condition("default", v1alpha1.ConditionDelivered, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
}

// TestRolloutNotMounted replaces no pods which would not read the overlay either.
func TestRolloutNotMounted(t *testing.T) {
	h := MustHouse(t)
	h.Deployment("shop")
	h.Pod("shop", "shop-1").Ready(t)
	h.Telemetry("default", rollout)
	h.Followed("default", "0/1")
	h.Condition("default", v1alpha1.ConditionDelivered, metav1.ConditionFalse, v1alpha1.ReasonNotMounted)
	if got := h.Template("shop").Annotations; len(got) > 0 {
		t.Errorf("the template has %v", got)
	}
}
