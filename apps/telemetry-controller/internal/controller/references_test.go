//go:build e2e

package controller_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
	"github.com/linktrail/linktrail/internal/telemetry"
)

// TestServiceRef follows a Service that comes late and changes its port.
func TestServiceRef(t *testing.T) {
	h := MustHouse(t)
	h.Deployment("url-api")
	h.Telemetry("default", func(s *v1alpha1.TelemetrySpec) {
		s.Exporter = v1alpha1.Exporter{ServiceRef: &v1alpha1.ServiceReference{Name: "jaeger", Port: intstr.FromString("otlp")}}
	})
	h.Condition("default", v1alpha1.ConditionEndpointResolved, metav1.ConditionFalse, v1alpha1.ReasonServiceNotFound)
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "jaeger"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "ui", Port: 16686}}},
	}
	must(t, api.Create(t.Context(), service))
	h.Condition("default", v1alpha1.ConditionEndpointResolved, metav1.ConditionFalse, v1alpha1.ReasonPortNotFound)
	service.Spec.Ports = append(service.Spec.Ports, corev1.ServicePort{Name: "otlp", Port: 4317})
	must(t, api.Update(t.Context(), service))
	h.Overlay("url-api", has("Endpoint: jaeger."+h.namespace+".svc:4317"))
	service.Spec.Ports[1].Port = 14317
	must(t, api.Update(t.Context(), service))
	h.Overlay("url-api", has("Endpoint: jaeger."+h.namespace+".svc:14317"))
}

// TestHeaders brings a Secret's headers to the pods, and nowhere else.
func TestHeaders(t *testing.T) {
	h := MustHouse(t)
	h.Deployment("url-api")
	h.Telemetry("default", func(s *v1alpha1.TelemetrySpec) {
		s.Exporter.HeadersFrom = &v1alpha1.HeadersSource{SecretRef: v1alpha1.SecretReference{Name: "vendor"}}
	})
	h.Condition("default", v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonReferenceNotFound)
	vendor := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "vendor"}, Data: map[string][]byte{"x-api-key": []byte("first-secret")},
	}
	must(t, api.Create(t.Context(), vendor))
	headers := func(want string) error {
		var secret corev1.Secret
		if err := api.Get(t.Context(), client.ObjectKey{Namespace: h.namespace, Name: "url-api-telemetry"}, &secret); err != nil {
			return err
		}
		if text := string(secret.Data[telemetry.HeadersFile]); !strings.Contains(text, "x-api-key: "+want) {
			return fmt.Errorf("headers are %q", text)
		}
		return nil
	}
	h.Change("default", func(s *v1alpha1.TelemetrySpec) { s.Sampling.Ratio = "0.5" }) // sooner than it is looked at again
	eventually(t, func() error { return headers("first-secret") })
	vendor.Data["x-api-key"] = []byte("second-secret")
	must(t, api.Update(t.Context(), vendor))
	eventually(t, func() error { return headers("second-secret") })
	for name, content := range h.Overlay("url-api", nil).Data {
		if strings.Contains(content, "secret") {
			t.Errorf("the ConfigMap has a header in %s", name)
		}
	}
	object := h.Condition("default", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	if strings.Contains(fmt.Sprint(object.Status), "second-secret") {
		t.Error("the status has a header")
	}

	t.Run("OK no headers any more", func(t *testing.T) {
		h.Change("default", func(s *v1alpha1.TelemetrySpec) { s.Exporter.HeadersFrom = nil })
		h.Gone("url-api-telemetry", new(corev1.Secret))
	})
}

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
