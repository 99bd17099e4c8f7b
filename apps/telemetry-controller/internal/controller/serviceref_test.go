//go:build e2e

package controller_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
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

// TestServiceElsewhere refers to a Service of a namespace that the controller does not serve.
func TestServiceElsewhere(t *testing.T) {
	h := MustHouse(t)
	h.Deployment("url-api")
	h.Telemetry("default", nil)
	h.Condition("default", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	h.Change("default", func(s *v1alpha1.TelemetrySpec) {
		s.Exporter = v1alpha1.Exporter{ServiceRef: &v1alpha1.ServiceReference{Name: "kubernetes", Namespace: "default", Port: intstr.FromInt32(443)}}
	})
	for _, kind := range []string{
		v1alpha1.ConditionEndpointResolved, v1alpha1.ConditionConfigApplied, v1alpha1.ConditionDelivered, v1alpha1.ConditionReady,
	} {
		h.Condition("default", kind, metav1.ConditionFalse, v1alpha1.ReasonNamespaceNotServed)
	}
	h.Condition("default", v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonNamespaceNotServed)
}
