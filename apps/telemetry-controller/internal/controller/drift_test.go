//go:build e2e

package controller_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

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
}
