//go:build e2e

package controller_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
)

// TestAuthorities has authorities that are none.
func TestAuthorities(t *testing.T) {
	h := MustHouse(t)
	h.Deployment("url-api")
	must(t, api.Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "ca"}, Data: map[string]string{"ca.crt": "no certificate"},
	}))
	h.Telemetry("default", func(s *v1alpha1.TelemetrySpec) {
		s.Exporter.Secure = true
		s.Exporter.CAFrom = &v1alpha1.KeySource{ConfigMapKeyRef: &v1alpha1.KeyReference{Name: "ca", Key: "ca.crt"}}
	})
	h.Condition("default", v1alpha1.ConditionConfigApplied, metav1.ConditionFalse, v1alpha1.ReasonInvalidReference)
	h.Change("default", func(s *v1alpha1.TelemetrySpec) { s.Exporter.CAFrom.ConfigMapKeyRef.Key = "other" })
	h.Condition("default", v1alpha1.ConditionConfigApplied, metav1.ConditionFalse, v1alpha1.ReasonReferenceNotFound)
}
