//go:build e2e

package controller_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
)

// TestDeletion deletes an object. What it owns is Kubernetes' to delete then, whose garbage collector does not run here.
func TestDeletion(t *testing.T) {
	h := MustHouse(t)
	h.Deployment("url-api")
	must(t, api.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "vendor"}, Data: map[string][]byte{"x-api-key": []byte("secret")},
	}))
	object := h.Telemetry("default", func(s *v1alpha1.TelemetrySpec) {
		s.Exporter.HeadersFrom = &v1alpha1.HeadersSource{SecretRef: v1alpha1.SecretReference{Name: "vendor"}}
	})
	h.Condition("default", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	for _, owned := range []client.Object{new(corev1.ConfigMap), new(corev1.Secret)} {
		h.Get("url-api-telemetry", owned)
		if owners := owned.GetOwnerReferences(); len(owners) != 1 || owners[0].UID != object.UID {
			t.Errorf("%T: owners are %v", owned, owners)
		}
	}
	must(t, api.Delete(t.Context(), object))
	h.Gone("default", object) // nothing holds it

	t.Run("OK what is left of it becomes another's", func(t *testing.T) {
		next := h.Telemetry("next", func(s *v1alpha1.TelemetrySpec) { s.Exporter.Endpoint = "next:4317" })
		config := h.Overlay("url-api", has("Endpoint: next:4317"))
		if owners := config.OwnerReferences; !metav1.IsControlledBy(config, next) {
			t.Errorf("owners are %v", owners)
		}
	})
}
