//go:build e2e

package controller_test

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
	"github.com/linktrail/linktrail/apps/telemetry-controller/internal/controller"
	"github.com/linktrail/linktrail/internal/telemetry"
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

// boosted has another ratio for url-api, for a few seconds. It returns when that ends.
func boosted(s *v1alpha1.TelemetrySpec) time.Time {
	until := metav1.NewTime(time.Now().Add(6 * time.Second).Truncate(time.Second))
	s.Sampling = v1alpha1.Sampling{Ratio: "0.1", Overrides: []v1alpha1.Override{{Workload: "url-api", Ratio: "1", Until: &until}}}
	return until.Time
}

// late fails a test when an override has ended later than the controller promises.
func late(t *testing.T, until time.Time) {
	t.Helper()
	if late := time.Since(until); late > 5*time.Second {
		t.Errorf("it has ended %s late", late)
	}
}

// TestOverrideBesideConflict has an override end while another workload of its object is in conflict.
func TestOverrideBesideConflict(t *testing.T) {
	h := MustHouse(t)
	h.Deployment("url-api")
	contested := h.Deployment("contested")
	before := contested.DeepCopy()
	contested.Labels["contested"] = "yes"
	must(t, api.Patch(t.Context(), contested, client.MergeFrom(before)))
	h.Telemetry("other", func(s *v1alpha1.TelemetrySpec) { s.Selector.MatchLabels = map[string]string{"contested": "yes"} })
	var until time.Time
	h.Telemetry("default", func(s *v1alpha1.TelemetrySpec) { until = boosted(s) })
	h.Overlay("url-api", has("Sampler: 1"))
	h.Condition("default", v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonConflict)
	h.Overlay("url-api", has("Sampler: 0.1"))
	late(t, until)
}

// TestOverrideUnresolved has an override end while what the object refers to is gone. The rest stays as it was.
func TestOverrideUnresolved(t *testing.T) {
	h := MustHouse(t)
	h.Deployment("url-api")
	h.Deployment("analytics-rpc")
	pod := h.Pod("url-api", "url-api-1")
	service := h.Service("jaeger", 4317)
	vendor := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "vendor"}, Data: map[string][]byte{"x-api-key": []byte("secret")}}
	must(t, api.Create(t.Context(), vendor))
	var until time.Time
	h.Telemetry("default", func(s *v1alpha1.TelemetrySpec) {
		until = boosted(s)
		s.Exporter = v1alpha1.Exporter{
			ServiceRef:  &v1alpha1.ServiceReference{Name: service.Name, Port: intstr.FromInt32(4317)},
			HeadersFrom: &v1alpha1.HeadersSource{SecretRef: v1alpha1.SecretReference{Name: vendor.Name}},
		}
	})
	endpoint := has("Endpoint: jaeger." + h.namespace + ".svc:4317")
	h.Overlay("url-api", has("Sampler: 1"))
	other := h.Overlay("analytics-rpc", has("Sampler: 0.1"))
	must(t, api.Delete(t.Context(), vendor))
	must(t, api.Delete(t.Context(), service))
	h.Condition("default", v1alpha1.ConditionEndpointResolved, metav1.ConditionFalse, v1alpha1.ReasonServiceNotFound)
	if err := has("Sampler: 1")(h.Overlay("url-api", endpoint)); err != nil {
		t.Error("it has ended early:", err)
	}
	config := h.Overlay("url-api", has("Sampler: 0.1"))
	late(t, until)
	if err := endpoint(config); err != nil {
		t.Error(err)
	}
	var secret corev1.Secret
	h.Get("url-api-telemetry", &secret)
	hash := telemetry.OverlayHash([]byte(config.Data[telemetry.OverlayFile]), secret.Data[telemetry.HeadersFile])
	eventually(t, func() error { // it is told to read it
		h.Get(pod.Name, pod.Pod)
		if got := pod.Annotations[controller.HashAnnotation]; got != hash {
			return fmt.Errorf("the pod is annotated with %q, want %q", got, hash)
		}
		return nil
	})
	eventually(t, func() error {
		object := h.Condition("default", v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonServiceNotFound)
		for _, w := range object.Status.Workloads {
			if w.Ratio != "0.1" || w.Name == "url-api" && w.Hash != hash {
				return fmt.Errorf("status is %+v", w)
			}
		}
		return nil
	})
	if now := h.Overlay("analytics-rpc", nil); now.ResourceVersion != other.ResourceVersion {
		t.Errorf("another workload's overlay was written: %v", now.Data)
	}

	t.Run("OK what comes back finds it as it is to be", func(t *testing.T) {
		must(t, api.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "vendor"}, Data: vendor.Data}))
		pod.Report(hash)
		h.Service("jaeger", 4317)
		h.Condition("default", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		if now := h.Overlay("url-api", nil); now.ResourceVersion != config.ResourceVersion {
			t.Errorf("it was written again: %v", now.Data)
		}
	})
}
