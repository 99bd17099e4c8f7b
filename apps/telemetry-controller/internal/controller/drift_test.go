//go:build e2e

package controller_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
	"github.com/linktrail/linktrail/internal/telemetry"
)

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
	t.Run("OK made immutable", func(t *testing.T) {
		h.Get(right.Name, right)
		yes := true
		frozen := right.DeepCopy()
		frozen.Immutable, frozen.Data[telemetry.OverlayFile] = &yes, "Telemetry: {Endpoint: elsewhere:1}"
		must(t, api.Update(t.Context(), frozen))
		config := h.Overlay("url-api", same)
		if config.Immutable != nil {
			t.Error("it is still immutable")
		}
	})
	t.Run("OK a Secret made immutable", func(t *testing.T) {
		vendor := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "vendor"}, Data: map[string][]byte{"x-api-key": []byte("first")}}
		must(t, api.Create(t.Context(), vendor))
		h.Change("default", func(s *v1alpha1.TelemetrySpec) {
			s.Exporter.HeadersFrom = &v1alpha1.HeadersSource{SecretRef: v1alpha1.SecretReference{Name: vendor.Name}}
		})
		secret := new(corev1.Secret)
		key := client.ObjectKey{Namespace: h.namespace, Name: "url-api-telemetry"}
		eventually(t, func() error { return api.Get(t.Context(), key, secret) })
		yes := true
		frozen := secret.DeepCopy()
		frozen.Immutable = &yes
		must(t, api.Update(t.Context(), frozen))
		eventually(t, func() error {
			now := new(corev1.Secret)
			if err := api.Get(t.Context(), key, now); err != nil {
				return err
			}
			if now.Immutable != nil || !cmp.Equal(now.Data, secret.Data) {
				return fmt.Errorf("it is %+v", now)
			}
			return nil
		})
	})
}
