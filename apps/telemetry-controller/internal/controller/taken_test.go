//go:build e2e

package controller_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
)

// TestNameTaken has someone's own ConfigMap and Secret be called as an overlay would be.
func TestNameTaken(t *testing.T) {
	h := MustHouse(t)
	name := metav1.ObjectMeta{Namespace: h.namespace, Name: "orders-telemetry"}
	config := &corev1.ConfigMap{ObjectMeta: name, Data: map[string]string{"dashboard.json": "{}"}}
	secret := &corev1.Secret{ObjectMeta: name, Data: map[string][]byte{"Authorization": []byte("Bearer mine")}}
	for _, object := range []client.Object{config, secret} {
		must(t, api.Create(t.Context(), object))
	}
	untouched := func() {
		t.Helper()
		for _, object := range []client.Object{config, secret} {
			now, _ := object.DeepCopyObject().(client.Object)
			h.Get(object.GetName(), now)
			if diff := cmp.Diff(object, now); diff != "" {
				t.Errorf("-before +after\n%s", diff)
			}
		}
	}
	h.Deployment("orders")
	h.Deployment("url-api")
	h.Telemetry("default", func(s *v1alpha1.TelemetrySpec) { // its headers are to be written into where they come from
		s.Exporter.HeadersFrom = &v1alpha1.HeadersSource{SecretRef: v1alpha1.SecretReference{Name: secret.Name}}
	})
	object := h.Condition("default", v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonNameTaken)
	h.Condition("default", v1alpha1.ConditionConfigApplied, metav1.ConditionFalse, v1alpha1.ReasonNameTaken)
	h.Condition("default", v1alpha1.ConditionDelivered, metav1.ConditionFalse, v1alpha1.ReasonNameTaken)
	if w := h.Workload("default", "orders", v1alpha1.ReasonNameTaken, "ConfigMap orders-telemetry is not the controller's"); w.Hash != "" {
		t.Errorf("its hash is %s", w.Hash)
	}
	h.Event(object.Name, v1alpha1.ReasonNameTaken, "delete it")
	h.Overlay("url-api", nil) // the others go on
	untouched()

	t.Run("OK the Secret alone", func(t *testing.T) {
		must(t, api.Delete(t.Context(), config))
		h.Change("default", func(s *v1alpha1.TelemetrySpec) { s.Sampling.Ratio = "0.5" }) // sooner than it is looked at again
		h.Workload("default", "orders", v1alpha1.ReasonNameTaken, "Secret orders-telemetry is not the controller's")
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(config), new(corev1.ConfigMap)); !apierrors.IsNotFound(err) {
			t.Errorf("half an overlay is there: %v", err)
		}
		config = &corev1.ConfigMap{ObjectMeta: name, Data: config.Data}
		must(t, api.Create(t.Context(), config))
	})
	t.Run("OK they outlive the workload and the object", func(t *testing.T) {
		h.Unselect("orders")
		h.Condition("default", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		must(t, api.Delete(t.Context(), object))
		h.Gone(object.Name, object)
		untouched()
	})
}

// TestNameFree has an overlay lose what says whose it is: its label, or its owner.
func TestNameFree(t *testing.T) {
	h := MustHouse(t)
	h.Deployment("url-api")
	object := h.Telemetry("default", nil)
	config := h.Overlay("url-api", nil)
	for name, change := range map[string]func(*corev1.ConfigMap){
		"OK no label": func(c *corev1.ConfigMap) { c.Labels = nil },
		"OK no owner": func(c *corev1.ConfigMap) { c.OwnerReferences = nil },
	} {
		t.Run(name, func(t *testing.T) {
			h.Get(config.Name, config)
			change(config)
			config.Data = map[string]string{"other.yaml": "x"}
			must(t, api.Update(t.Context(), config))
			h.Overlay("url-api", func(c *corev1.ConfigMap) error {
				if len(c.Data) != 1 || !metav1.IsControlledBy(c, object) || len(c.Labels) != 1 {
					return fmt.Errorf("it is %+v", c)
				}
				return has("Endpoint: jaeger:4317")(c)
			})
		})
	}
}
