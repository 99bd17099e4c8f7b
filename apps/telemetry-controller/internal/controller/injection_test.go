//go:build e2e

package controller_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
	"github.com/linktrail/linktrail/apps/telemetry-controller/internal/controller"
)

func injection(s *v1alpha1.TelemetrySpec) {
	s.Delivery, s.Injection = v1alpha1.DeliveryRollout, v1alpha1.InjectionMount
}

// shop is a workload whose chart knows nothing of overlays: two containers, one with something of its own at the path.
func shop(s *appsv1.DeploymentSpec) {
	s.Template.Annotations = map[string]string{"example.com/its": "own"}
	s.Template.Spec = corev1.PodSpec{
		Volumes: []corev1.Volume{{Name: "its", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
		Containers: []corev1.Container{
			{Name: "orders", Image: "orders", VolumeMounts: []corev1.VolumeMount{{Name: "its", MountPath: "/its"}}},
			{Name: "proxy", Image: "proxy", VolumeMounts: []corev1.VolumeMount{{Name: "its", MountPath: controller.OverlayPath}}},
		},
	}
}

// Mounted waits until the first container of a Deployment mounts what it should, or nothing, and has its pods replaced.
func (h *house) Mounted(name string, want bool) {
	h.t.Helper()
	eventually(h.t, func() error {
		spec := h.Template(name).Spec
		volume := slices.IndexFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Name == controller.OverlayVolume })
		mount := slices.IndexFunc(spec.Containers[0].VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == controller.OverlayVolume })
		if got := volume >= 0 && mount >= 0; got != want || !got && (volume >= 0 || mount >= 0) {
			return fmt.Errorf("mounted is %t, want %t, of %+v", got, want, spec)
		}
		return nil
	})
	h.Rolled(name)
}

// TestInjection mounts the overlay of a workload whose chart does not, and takes back no more than that.
func TestInjection(t *testing.T) {
	h := MustHouse(t)
	before := h.Deployment("shop", shop).Spec.Template
	itself := h.Deployment("url-api", mounts("url-api")).Spec.Template
	h.Telemetry("default", injection)
	h.Mounted("shop", true)
	hash := h.Stamped("shop")
	h.Stamped("url-api")
	h.Rolled("url-api")

	inserted := h.Template("shop")
	optional, mode := true, int32(0o644)
	name := corev1.LocalObjectReference{Name: "shop-telemetry"}
	want := before.DeepCopy()
	want.Annotations[controller.HashAnnotation] = hash
	want.Spec.Volumes = append(want.Spec.Volumes, corev1.Volume{Name: controller.OverlayVolume, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		DefaultMode: &mode,
		Sources: []corev1.VolumeProjection{
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: name, Optional: &optional}},
			{Secret: &corev1.SecretProjection{LocalObjectReference: name, Optional: &optional, Items: []corev1.KeyToPath{{Key: "headers.yaml", Path: "headers.yaml"}}}},
		},
	}}})
	want.Spec.Containers[0].VolumeMounts = append(want.Spec.Containers[0].VolumeMounts,
		corev1.VolumeMount{Name: controller.OverlayVolume, MountPath: controller.OverlayPath, ReadOnly: true})
	sorted := func(t *corev1.PodTemplateSpec) *corev1.PodTemplateSpec {
		t = t.DeepCopy()
		slices.SortFunc(t.Spec.Volumes, func(a, b corev1.Volume) int { return strings.Compare(a.Name, b.Name) })
		for i := range t.Spec.Containers {
			slices.SortFunc(t.Spec.Containers[i].VolumeMounts, func(a, b corev1.VolumeMount) int { return strings.Compare(a.Name, b.Name) })
		}
		return t
	}
	if diff := cmp.Diff(sorted(want), sorted(&inserted)); diff != "" {
		t.Errorf("the template is (-want +got)\n%s", diff)
	}
	got := h.Template("url-api")
	delete(got.Annotations, controller.HashAnnotation)
	if diff := cmp.Diff(itself.Spec, got.Spec); diff != "" {
		t.Errorf("one that mounts it itself was changed (-before +after)\n%s", diff)
	}

	t.Run("OK edited by someone", func(t *testing.T) {
		h.edit("shop", func(s *appsv1.DeploymentSpec) {
			s.Template.Spec.Containers[0].VolumeMounts = slices.DeleteFunc(s.Template.Spec.Containers[0].VolumeMounts, func(m corev1.VolumeMount) bool {
				return m.Name == controller.OverlayVolume
			})
		})
		h.Rolled("shop")
		h.Mounted("shop", true)
	})
	for name, test := range map[string]struct{ end, again func(*testing.T) }{
		"OK taken back with the injection": {
			func(*testing.T) {
				h.Change("default", func(s *v1alpha1.TelemetrySpec) { s.Injection = v1alpha1.InjectionNone })
			},
			func(*testing.T) { h.Change("default", injection) },
		},
		"OK taken back from one that is selected no more": {
			func(*testing.T) { h.Unselect("shop") },
			func(t *testing.T) {
				var object appsv1.Deployment
				h.Get("shop", &object)
				object.Labels = map[string]string{"app.kubernetes.io/part-of": "linktrail"}
				must(t, api.Update(t.Context(), &object))
			},
		},
		"OK taken back with the object": {
			func(t *testing.T) {
				object := &v1alpha1.Telemetry{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "default"}}
				must(t, api.Delete(t.Context(), object))
				h.Gone("default", object)
			},
			func(*testing.T) { h.Telemetry("default", injection) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			test.end(t)
			h.Mounted("shop", false)
			after := h.Template("shop")
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("the template is not as it was (-before +after)\n%s", diff)
			}
			test.again(t)
			h.Rolled("url-api")
			h.Mounted("shop", true)
			h.Stamped("url-api")
			h.Rolled("url-api")
		})
	}

	t.Run("OK what someone else has put there stays", func(t *testing.T) {
		h.edit("shop", func(s *appsv1.DeploymentSpec) {
			s.Template.Annotations["example.com/later"] = "theirs"
			s.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "LATER", Value: "theirs"}}
		})
		must(t, api.Delete(t.Context(), &v1alpha1.Telemetry{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "default"}}))
		h.Gone("default", new(v1alpha1.Telemetry))
		want := before.DeepCopy()
		want.Annotations["example.com/later"] = "theirs"
		want.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "LATER", Value: "theirs"}}
		if diff := cmp.Diff(*want, h.Template("shop")); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	})
}

// TestInjectionReload has pods that read a change themselves mount it first.
func TestInjectionReload(t *testing.T) {
	h := MustHouse(t)
	h.Deployment("a", shop)
	h.Deployment("b", shop)
	h.Telemetry("default", func(s *v1alpha1.TelemetrySpec) { s.Injection = v1alpha1.InjectionMount })
	h.Workload("default", "b", v1alpha1.ReasonRolloutInProgress, "waits for Deployment a")
	h.Mounted("a", true)
	h.Mounted("b", true)
	for _, name := range []string{"a", "b"} {
		if got := h.Template(name).Annotations[controller.HashAnnotation]; got != "" {
			t.Errorf("%s is annotated with %q, which is for a Rollout", name, got)
		}
	}
	h.Condition("default", v1alpha1.ConditionDelivered, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
}

// TestInjectionIntoNothing deletes what something was put into before the object.
func TestInjectionIntoNothing(t *testing.T) {
	h := MustHouse(t)
	deployment := h.Deployment("shop", shop)
	object := h.Telemetry("default", injection)
	h.Mounted("shop", true)
	h.Get("default", object)
	if !slices.Contains(object.Finalizers, v1alpha1.Finalizer) {
		t.Fatalf("finalizers are %v", object.Finalizers)
	}
	h.stop()
	must(t, api.Delete(t.Context(), object))
	must(t, api.Delete(t.Context(), deployment))
	h.start()
	h.Gone("default", new(v1alpha1.Telemetry))

	// With another object, and one that comes by another's name while the controller looks elsewhere.
	h.Deployment("shop", shop)
	object = h.Telemetry("default", injection)
	h.Mounted("shop", true)
	h.stop()
	must(t, api.Delete(t.Context(), object))
	must(t, api.Delete(t.Context(), &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "shop"}}))
	before := h.Deployment("shop", shop).Spec.Template
	h.start()
	h.Gone("default", new(v1alpha1.Telemetry))
	if diff := cmp.Diff(before, h.Template("shop")); diff != "" {
		t.Errorf("-before +after\n%s", diff)
	}
}

// TestInjectionBesideOthers has a workload's own chart take a container out while the overlay is mounted there.
func TestInjectionBesideOthers(t *testing.T) {
	h := MustHouse(t)
	manifest := func(containers ...string) map[string]any {
		labels := map[string]any{"app": "shop"}
		var list []any
		for _, name := range containers {
			list = append(list, map[string]any{"name": name, "image": name})
		}
		return map[string]any{
			"apiVersion": "apps/v1", "kind": "Deployment",
			"metadata": map[string]any{"namespace": h.namespace, "name": "shop", "labels": map[string]any{"app.kubernetes.io/part-of": "linktrail"}},
			"spec": map[string]any{
				"selector": map[string]any{"matchLabels": labels},
				"template": map[string]any{"metadata": map[string]any{"labels": labels}, "spec": map[string]any{"containers": list}},
			},
		}
	}
	apply := func(containers ...string) error {
		object := &unstructured.Unstructured{Object: manifest(containers...)}
		return api.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("helm"), client.ForceOwnership)
	}
	must(t, apply("orders", "proxy", "sidecar"))
	h.Rolled("shop")
	h.Telemetry("default", injection)
	h.Mounted("shop", true)

	t.Run("OK by a patch", func(t *testing.T) {
		var object appsv1.Deployment
		h.Get("shop", &object)
		must(t, api.Patch(t.Context(), &object, client.RawPatch(types.StrategicMergePatchType,
			[]byte(`{"spec":{"template":{"spec":{"containers":[{"name":"sidecar","$patch":"delete"}]}}}}`))))
		if got := h.Template("shop").Spec.Containers; len(got) != 2 {
			t.Errorf("containers are %+v", got)
		}
		h.Rolled("shop")
	})
	t.Run("Err by server-side apply", func(t *testing.T) {
		if err := apply("orders"); err == nil || !strings.Contains(err.Error(), "image: Required value") {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("OK by server-side apply once it is mounted no more", func(t *testing.T) {
		h.Change("default", func(s *v1alpha1.TelemetrySpec) { s.Injection = v1alpha1.InjectionNone })
		h.Mounted("shop", false)
		must(t, apply("orders"))
		if got := h.Template("shop").Spec.Containers; len(got) != 1 {
			t.Errorf("containers are %+v", got)
		}
	})
}

// TestNoFinalizer has no finalizer on an object that puts nothing in.
func TestNoFinalizer(t *testing.T) {
	h := MustHouse(t)
	h.Deployment("url-api", mounts("url-api"))
	h.Telemetry("default", nil)
	object := h.Condition("default", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	if len(object.Finalizers) > 0 {
		t.Errorf("finalizers are %v", object.Finalizers)
	}
	h.Change("default", rollout)
	h.Stamped("url-api")
	h.Get("default", object)
	if !slices.Contains(object.Finalizers, v1alpha1.Finalizer) {
		t.Errorf("finalizers are %v, and something was put in", object.Finalizers)
	}
	h.Unselect("url-api")
	h.Change("default", func(s *v1alpha1.TelemetrySpec) { s.Delivery = v1alpha1.DeliveryReload })
	eventually(t, func() error {
		h.Get("default", object)
		if len(object.Finalizers) > 0 {
			return fmt.Errorf("finalizers are %v", object.Finalizers)
		}
		return nil
	})
	if got := h.Template("url-api").Annotations; len(got) > 0 {
		t.Errorf("the template has %v", got)
	}
}

// edit changes a Deployment as someone with an editor does.
func (h *house) edit(name string, change func(*appsv1.DeploymentSpec)) {
	h.t.Helper()
	var object appsv1.Deployment
	h.Get(name, &object)
	before := object.DeepCopy()
	change(&object.Spec)
	must(h.t, api.Patch(context.Background(), &object, client.StrategicMergeFrom(before)))
}
