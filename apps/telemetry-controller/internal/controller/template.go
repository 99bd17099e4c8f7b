package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
	"github.com/linktrail/linktrail/internal/telemetry"
)

const (
	// OverlayVolume is the name of the volume that is put into pod templates; no chart names one of its own so.
	OverlayVolume = "telemetry-linktrail-io"
	// OverlayPath is where an overlay is mounted, as in linktrail's own chart.
	OverlayPath = "/etc/linktrail/telemetry"
)

// insertion is what is put into a workload's pod template: no more than this, so that it can be taken back.
type insertion struct {
	// hash is the annotation's; "" is none.
	hash string
	// containers are those that mount the overlay's volume. It is put in when there are some.
	containers []string
}

func (i insertion) empty() bool { return i.hash == "" && len(i.containers) == 0 }

func (i insertion) equal(other insertion) bool {
	return i.hash == other.hash && slices.Equal(i.containers, other.containers)
}

// overlayVolume is the volume that mounts a workload's overlay as linktrail's own chart does.
func overlayVolume(w workload) corev1.Volume {
	name, optional := corev1.LocalObjectReference{Name: w.overlayName()}, true
	return corev1.Volume{Name: OverlayVolume, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: name, Optional: &optional}},
		{Secret: &corev1.SecretProjection{
			LocalObjectReference: name, Optional: &optional,
			Items: []corev1.KeyToPath{{Key: telemetry.HeadersFile, Path: telemetry.HeadersFile}},
		}},
	}}}}
}

// inserted is what is in a workload's pod template. A volume that someone has changed counts as not there, and so is put
// right.
func inserted(w workload) insertion {
	i := insertion{hash: w.template.Annotations[HashAnnotation]}
	want := overlayVolume(w).Projected.Sources
	intact := slices.ContainsFunc(w.template.Spec.Volumes, func(v corev1.Volume) bool {
		return v.Name == OverlayVolume && v.Projected != nil && equality.Semantic.DeepEqual(v.Projected.Sources, want)
	})
	for _, c := range w.template.Spec.Containers {
		if m := mountOf(c); intact && m != nil && m.Name == OverlayVolume && m.ReadOnly {
			i.containers = append(i.containers, c.Name)
		}
	}
	return i
}

// touched reports whether anything in a pod template is the controller's.
func touched(w workload) bool {
	_, annotated := w.template.Annotations[HashAnnotation]
	return annotated || slices.ContainsFunc(w.template.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == OverlayVolume })
}

// mountOf is what a container has where an overlay is mounted; nil when that is nothing.
func mountOf(c corev1.Container) *corev1.VolumeMount {
	for i := range c.VolumeMounts {
		if c.VolumeMounts[i].MountPath == OverlayPath {
			return &c.VolumeMounts[i]
		}
	}
	return nil
}

// mountsItself reports whether a workload has its overlay by its own chart.
func mountsItself(w workload) bool {
	name := w.overlayName()
	return slices.ContainsFunc(w.template.Spec.Volumes, func(v corev1.Volume) bool {
		return v.Name != OverlayVolume && mountsConfigMap(v, name)
	})
}

func mountsConfigMap(v corev1.Volume, name string) bool {
	if v.ConfigMap != nil && v.ConfigMap.Name == name {
		return true
	}
	return v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool {
		return s.ConfigMap != nil && s.ConfigMap.Name == name
	})
}

// insertionFor returns what should be in a workload's pod template. It is empty where the pods would not read the overlay
// all the same.
func insertionFor(t *v1alpha1.Telemetry, w workload, hash string) insertion {
	var i insertion
	itself := mountsItself(w)
	if t.Spec.Injection == v1alpha1.InjectionMount && !itself {
		for _, c := range w.template.Spec.Containers {
			if m := mountOf(c); m == nil || m.Name == OverlayVolume {
				i.containers = append(i.containers, c.Name)
			}
		}
	}
	if !itself && len(i.containers) == 0 {
		return i
	}
	i.hash = w.template.Annotations[HashAnnotation]
	if t.Spec.Delivery == v1alpha1.DeliveryRollout {
		i.hash = hash
	}
	// With another delivery the annotation stays as a Rollout before it has left it: taking it away would replace all pods
	// once more, for nothing. It says no more than what they were made with.
	return i
}

// insert puts into a workload's pod template what should be there, and takes out of it what was put there before and should
// not be. What anyone else has put there stays. It is no error when the workload is gone.
func (r *TelemetryReconciler) insert(ctx context.Context, w workload, i insertion) error {
	// The uid keeps the API server from making the workload anew.
	object := map[string]any{
		"apiVersion": "apps/v1", "kind": w.kind,
		"metadata": map[string]any{"namespace": w.GetNamespace(), "name": w.GetName(), "uid": string(w.GetUID())},
	}
	if !i.empty() {
		template := make(map[string]any)
		if i.hash != "" {
			template["metadata"] = map[string]any{"annotations": map[string]any{HashAnnotation: i.hash}}
		}
		if len(i.containers) > 0 {
			mount := map[string]any{"name": OverlayVolume, "mountPath": OverlayPath, "readOnly": true}
			var containers []any
			for _, name := range i.containers {
				containers = append(containers, map[string]any{"name": name, "volumeMounts": []any{mount}})
			}
			volume := overlayVolume(w)
			content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&volume)
			if err != nil {
				return err
			}
			template["spec"] = map[string]any{"volumes": []any{content}, "containers": containers}
		}
		object["spec"] = map[string]any{"template": template}
	}
	err := r.Apply(ctx, client.ApplyConfigurationFromUnstructured(&unstructured.Unstructured{Object: object}), client.FieldOwner(FieldOwner), client.ForceOwnership)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil // by its uid
	}
	if err != nil {
		return fmt.Errorf("%s: %w", w, err)
	}
	return nil
}

// takeBack takes what was put into pod templates out of those that no object selects any more. That replaces their pods, all
// at once: who deletes an object waits for it.
func (r *TelemetryReconciler) takeBack(ctx context.Context, t *v1alpha1.Telemetry, all []workload, rivals []v1alpha1.Telemetry) error {
	var errs []error
	for _, w := range all {
		if !touched(w) { // first: to ask each of many objects takes its time
			continue
		}
		if t.DeletionTimestamp.IsZero() && selects(&t.Spec.Selector, w.GetLabels()) || rivalOf(rivals, w) != "" {
			continue
		}
		mine, err := r.applied(ctx, w)
		if err == nil && mine {
			err = r.insert(ctx, w, insertion{})
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if !mine {
			continue
		}
		r.Events.Eventf(t, w.Object, corev1.EventTypeNormal, v1alpha1.ReasonSucceeded, "TakeBack", "%s has its pod template as it was", w)
	}
	return errors.Join(errs...)
}

// applied reports whether the controller has applied anything to a workload. The cache does not say whose a field is.
func (r *TelemetryReconciler) applied(ctx context.Context, w workload) (bool, error) {
	var object metav1.PartialObjectMetadata
	object.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind(w.kind))
	if err := r.Direct.Get(ctx, client.ObjectKeyFromObject(w), &object); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	return slices.ContainsFunc(object.ManagedFields, func(f metav1.ManagedFieldsEntry) bool {
		return f.Manager == FieldOwner && f.Operation == metav1.ManagedFieldsOperationApply
	}), nil
}

// finalize takes back what the object has put into pod templates. Its ConfigMaps and Secrets go first, or the pods that
// are made then would read them once more.
func (r *TelemetryReconciler) finalize(ctx context.Context, t *v1alpha1.Telemetry) error {
	if !controllerutil.ContainsFinalizer(t, v1alpha1.Finalizer) {
		return nil
	}
	all, err := workloads(ctx, r.Client, t.Namespace)
	if err != nil {
		return err
	}
	rivals, err := r.rivals(ctx, t)
	if err != nil {
		return err
	}
	if err := r.prune(ctx, t, nil); err != nil {
		return err
	}
	if err := r.takeBack(ctx, t, all, rivals); err != nil {
		return err
	}
	return client.IgnoreNotFound(r.setFinalizer(ctx, t, false))
}

// setFinalizer puts the finalizer on the object or takes it off, unless that is so.
func (r *TelemetryReconciler) setFinalizer(ctx context.Context, t *v1alpha1.Telemetry, on bool) error {
	if controllerutil.ContainsFinalizer(t, v1alpha1.Finalizer) == on {
		return nil
	}
	next := t.DeepCopy()
	if on {
		controllerutil.AddFinalizer(next, v1alpha1.Finalizer)
	} else {
		controllerutil.RemoveFinalizer(next, v1alpha1.Finalizer)
	}
	if err := r.Patch(ctx, next, client.MergeFromWithOptions(t, client.MergeFromWithOptimisticLock{})); err != nil {
		return err
	}
	t.Finalizers, t.ResourceVersion = next.Finalizers, next.ResourceVersion
	return nil
}
