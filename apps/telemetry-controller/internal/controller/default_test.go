//go:build e2e

package controller_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
	"github.com/linktrail/linktrail/apps/telemetry-controller/internal/controller"
)

// manifest is a default object with a ratio.
func manifest(ratio string) string {
	return `apiVersion: telemetry.linktrail.io/v1alpha1
kind: Telemetry
metadata:
  name: default
  labels: {app.kubernetes.io/part-of: linktrail}
spec:
  selector: {matchLabels: {app.kubernetes.io/part-of: linktrail}}
  exporter: {endpoint: "jaeger:4317"}
  sampling: {ratio: "` + ratio + `"}
`
}

// TestDefault has an object follow its ConfigMap.
func TestDefault(t *testing.T) {
	h := MustHouse(t)
	h.Deployment("url-api")
	source := h.Source(manifest("0.25"))
	r := h.Default()

	h.Overlay("url-api", has("Sampler: 0.25"))
	var object v1alpha1.Telemetry
	h.Get("default", &object)
	if owner := metav1.GetControllerOf(&object); owner == nil || owner.Kind != "ConfigMap" || owner.UID != source.UID {
		t.Errorf("its owner is %+v, want ConfigMap %s", owner, source.Name)
	}
	if object.Labels["app.kubernetes.io/part-of"] != "linktrail" {
		t.Errorf("its labels are %v", object.Labels)
	}

	t.Run("OK what someone changes stays", func(t *testing.T) {
		h.Change("default", func(s *v1alpha1.TelemetrySpec) {
			s.Sampling.Ratio, s.Exporter.Endpoint = "0.5", "other:4317"
		})
		h.Overlay("url-api", has("Sampler: 0.5"))
		_, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(source)})
		must(t, err)
		h.Get("default", &object)
		if object.Spec.Sampling.Ratio != "0.5" {
			t.Errorf("its ratio is %s", object.Spec.Sampling.Ratio)
		}
	})
	t.Run("OK until the ConfigMap changes", func(t *testing.T) {
		source.Data[controller.DefaultKey] = manifest("0.75")
		must(t, api.Update(t.Context(), source))
		h.Overlay("url-api", has("Sampler: 0.75"))
		h.Overlay("url-api", has("Endpoint: jaeger:4317"))
	})
	t.Run("OK deleted, it is made again", func(t *testing.T) {
		h.Get("default", &object)
		must(t, api.Delete(t.Context(), &object))
		eventually(t, func() error {
			var again v1alpha1.Telemetry
			err := api.Get(t.Context(), client.ObjectKeyFromObject(&object), &again)
			if err == nil && again.UID == object.UID {
				err = fmt.Errorf("it is still there")
			}
			return err
		})
	})
	t.Run("ERR no manifest", func(t *testing.T) {
		for _, fault := range []struct{ text, want string }{
			{strings.Replace(manifest("1"), "sampling", "sampler", 1), `unknown field "sampler"`},
			{strings.Replace(manifest("1"), "  name: default\n", "  name: default\n  namespace: elsewhere\n", 1), "metadata.namespace is elsewhere"},
			{strings.Replace(manifest("1"), "kind: Telemetry", "kind: Telemetries", 1), "must be telemetry.linktrail.io/v1alpha1 and Telemetry"},
			{manifest("2"), "spec.sampling.ratio"},
		} {
			source.Data[controller.DefaultKey] = fault.text
			must(t, api.Update(t.Context(), source))
			h.Event(source.Name, "InvalidDefault", fault.want)
		}
		source.Data[controller.DefaultKey] = manifest("0.125")
		must(t, api.Update(t.Context(), source))
		h.Overlay("url-api", has("Sampler: 0.125"))
	})
}

// TestDefaultOfSomeoneElse leaves an object alone that someone has made.
func TestDefaultOfSomeoneElse(t *testing.T) {
	h := MustHouse(t)
	made := h.Telemetry("default", nil)
	source := h.Source(manifest("0.25"))
	h.Default()
	h.Event(source.Name, "NotOurs", "Telemetry default")
	var object v1alpha1.Telemetry
	h.Get("default", &object)
	if object.Generation != made.Generation || len(object.OwnerReferences) > 0 || len(object.Annotations) > 0 {
		t.Errorf("it was changed: %+v", object)
	}

	t.Run("OK once it is gone", func(t *testing.T) {
		must(t, api.Delete(t.Context(), &object))
		eventually(t, func() error {
			err := api.Get(t.Context(), client.ObjectKeyFromObject(made), &object)
			if err == nil && object.Spec.Sampling.Ratio != "0.25" {
				err = fmt.Errorf("its ratio is %s", object.Spec.Sampling.Ratio)
			}
			return err
		})
	})
}

// TestDefaultRefused has the API server refuse a change of the default object: here because its ConfigMap is none of the chart's.
func TestDefaultRefused(t *testing.T) {
	h := MustEmptyHouse(t)
	source := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "other"}, Data: map[string]string{controller.DefaultKey: manifest("0.25")},
	}
	must(t, api.Create(t.Context(), source))
	MustRun(t, h.account, h.namespace, func(mgr ctrl.Manager) error {
		r := defaultReconciler(mgr, h.namespace)
		r.ConfigMap.Name = source.Name
		return r.SetupWithManager(mgr)
	})
	object := &v1alpha1.Telemetry{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "default"}}
	eventually(t, func() error { return api.Get(t.Context(), client.ObjectKeyFromObject(object), object) })
	h.Fenced(object)
	source.Data[controller.DefaultKey] = manifest("0.75")
	must(t, api.Update(t.Context(), source))
	h.Event(source.Name, "Refused", "this changes its spec")
}

// Source makes the ConfigMap of the default object, as Helm does.
func (h *house) Source(text string) *corev1.ConfigMap {
	h.t.Helper()
	config := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: h.namespace, Name: "telemetry-controller-default", Labels: map[string]string{"app.kubernetes.io/managed-by": "Helm"},
		},
		Data: map[string]string{controller.DefaultKey: text},
	}
	must(h.t, api.Create(h.t.Context(), config))
	return config
}

// Default runs the reconciler of the default object until the test ends, with the rights of the controller.
func (h *house) Default() *controller.DefaultReconciler {
	h.t.Helper()
	h.Fenced(h.Owned("another", "another"))
	r := new(controller.DefaultReconciler)
	MustRun(h.t, h.account, h.namespace, func(mgr ctrl.Manager) error {
		*r = *defaultReconciler(mgr, h.namespace)
		return r.SetupWithManager(mgr)
	})
	return r
}

func defaultReconciler(mgr ctrl.Manager, namespace string) *controller.DefaultReconciler {
	return &controller.DefaultReconciler{
		Client: mgr.GetClient(), Events: mgr.GetEventRecorder("telemetry-controller"),
		ConfigMap: types.NamespacedName{Namespace: namespace, Name: "telemetry-controller-default"},
	}
}

func telemetryReconciler(mgr ctrl.Manager, clock *now) *controller.TelemetryReconciler {
	return &controller.TelemetryReconciler{
		Client: mgr.GetClient(), Direct: mgr.GetAPIReader(), Events: mgr.GetEventRecorder("telemetry-controller"),
		Pods: controller.OpsListeners{Client: &http.Client{}}, Now: clock.Now,
	}
}

// MustRun runs a manager with what setup gives it until the test ends.
func MustRun(t *testing.T, host *rest.Config, namespace string, setup func(ctrl.Manager) error) ctrl.Manager {
	t.Helper()
	unchecked := true // the controllers of all tests have one name
	mgr, err := ctrl.NewManager(host, ctrl.Options{
		Scheme: scheme, Cache: controller.CacheOptions(namespace), Metrics: server.Options{BindAddress: "0"},
		HealthProbeBindAddress: "0", Controller: config.Controller{SkipNameValidation: &unchecked},
	})
	must(t, err)
	must(t, setup(mgr))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-ended)
	})
	return mgr
}

// Event waits for one about an object of the namespace.
func (h *house) Event(object, reason, note string) {
	h.t.Helper()
	eventually(h.t, func() error {
		var list eventsv1.EventList
		if err := api.List(h.t.Context(), &list, client.InNamespace(h.namespace)); err != nil {
			return err
		}
		var notes []string
		for _, e := range list.Items {
			if e.Regarding.Name == object && e.Reason == reason && strings.Contains(e.Note, note) {
				return nil
			}
			notes = append(notes, e.Reason+": "+e.Note)
		}
		return fmt.Errorf("no event %s with %q about %s; there are %q", reason, note, object, notes)
	})
}
