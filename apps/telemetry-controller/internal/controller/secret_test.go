//go:build e2e

package controller_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
	"github.com/linktrail/linktrail/internal/telemetry"
)

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
