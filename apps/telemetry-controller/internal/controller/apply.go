package controller

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
	"github.com/linktrail/linktrail/apps/telemetry-controller/internal/render"
)

const (
	// FieldOwner is who applies.
	FieldOwner = "telemetry-controller"
	// ManagedBy is the value of app.kubernetes.io/managed-by of all objects that are ours.
	ManagedBy = "telemetry-controller"
	// HashAnnotation of a pod is the hash of the overlay that it should have in force: when it changes, the kubelet writes
	// the pod's volumes at once, and not within the minute or two that it otherwise takes. In a pod template, it is that of
	// the overlay which its pods were made for.
	HashAnnotation = "telemetry.linktrail.io/overlay"

	managedByLabel = "app.kubernetes.io/managed-by"
)

// apply applies what differs of a workload's ConfigMap and Secret. It writes neither when one of them is somebody else's.
func (r *TelemetryReconciler) apply(ctx context.Context, t *v1alpha1.Telemetry, w workload, overlay render.Overlay) error {
	key := client.ObjectKey{Namespace: t.Namespace, Name: w.overlayName()}
	owner := metav1ac.OwnerReference().WithAPIVersion(v1alpha1.GroupVersion.String()).WithKind("Telemetry").
		WithName(t.Name).WithUID(t.UID).WithController(true).WithBlockOwnerDeletion(false)
	labels := map[string]string{managedByLabel: ManagedBy}

	var config corev1.ConfigMap
	hasConfig, err := r.find(ctx, "ConfigMap", key, &config)
	if err != nil {
		return err
	}
	var secret corev1.Secret
	hasSecret := false
	if overlay.Secret != nil {
		if hasSecret, err = r.find(ctx, "Secret", key, &secret); err != nil {
			return err
		}
	}

	if hasConfig, err = r.thaw(ctx, hasConfig, &config, config.Immutable); err != nil {
		return err
	}
	if !hasConfig || !maps.Equal(config.Data, overlay.ConfigMap) || !belongsTo(&config, t) {
		if before := config.DeepCopy(); hasConfig && withoutOthers(config.Data, overlay.ConfigMap) {
			if err := r.Patch(ctx, &config, client.MergeFrom(before)); err != nil {
				return err
			}
		}
		wanted := corev1ac.ConfigMap(key.Name, key.Namespace).WithLabels(labels).WithOwnerReferences(owner).WithData(overlay.ConfigMap)
		if err := r.Apply(ctx, wanted, client.FieldOwner(FieldOwner), client.ForceOwnership); err != nil {
			return err
		}
	}

	if overlay.Secret == nil {
		return nil
	}
	if hasSecret, err = r.thaw(ctx, hasSecret, &secret, secret.Immutable); err != nil {
		return err
	}
	if hasSecret && equality.Semantic.DeepEqual(secret.Data, overlay.Secret) && belongsTo(&secret, t) {
		return nil
	}
	if before := secret.DeepCopy(); hasSecret && withoutOthers(secret.Data, overlay.Secret) {
		if err := r.Patch(ctx, &secret, client.MergeFrom(before)); err != nil {
			return err
		}
	}
	wanted := corev1ac.Secret(key.Name, key.Namespace).WithLabels(labels).WithOwnerReferences(owner).WithData(overlay.Secret)
	return r.Apply(ctx, wanted, client.FieldOwner(FieldOwner), client.ForceOwnership)
}

// dropSecret deletes the Secret of a workload whose overlay has no headers any more.
func (r *TelemetryReconciler) dropSecret(ctx context.Context, t *v1alpha1.Telemetry, w workload) error {
	key := client.ObjectKey{Namespace: t.Namespace, Name: w.overlayName()}
	var secret corev1.Secret
	if err := r.Get(ctx, key, &secret); err != nil {
		return client.IgnoreNotFound(err)
	}
	if !belongsTo(&secret, t) {
		return nil
	}
	return r.remove(ctx, &secret)
}

// thaw deletes what someone has made immutable, which can be changed in no other way, and reports whether there is one then.
func (r *TelemetryReconciler) thaw(ctx context.Context, has bool, object client.Object, immutable *bool) (bool, error) {
	if !has || immutable == nil || !*immutable {
		return has, nil
	}
	return false, r.remove(ctx, object)
}

// find reads an overlay's ConfigMap or Secret and reports whether it is there. One that is somebody else's is a userError.
func (r *TelemetryReconciler) find(ctx context.Context, kind string, key client.ObjectKey, object client.Object) (bool, error) {
	err := r.Get(ctx, key, object)
	if apierrors.IsNotFound(err) { // the cache holds none without our label
		err = r.Direct.Get(ctx, key, object)
	}
	if err != nil {
		return false, client.IgnoreNotFound(err)
	}
	if !ours(object) {
		return false, userError{v1alpha1.ConditionConfigApplied, v1alpha1.ReasonNameTaken, fmt.Errorf("%s %s is not the controller's, and is left alone: give it another name, or delete it", kind, key.Name)}
	}
	return true, nil
}

// ours reports whether an object is the controller's: of a Telemetry, or of nobody and with our label.
func ours(object client.Object) bool {
	owner := metav1.GetControllerOf(object)
	if owner == nil {
		return object.GetLabels()[managedByLabel] == ManagedBy
	}
	version, err := schema.ParseGroupVersion(owner.APIVersion)
	return err == nil && version.Group == v1alpha1.GroupVersion.Group && owner.Kind == "Telemetry"
}

// belongsTo reports whether an object has the owner and the label that are applied.
func belongsTo(object client.Object, t *v1alpha1.Telemetry) bool {
	return metav1.IsControlledBy(object, t) && object.GetLabels()[managedByLabel] == ManagedBy
}

// remove deletes an object unless it has changed since it was read: it may be another Telemetry's by now.
func (r *TelemetryReconciler) remove(ctx context.Context, object client.Object) error {
	uid, version := object.GetUID(), object.GetResourceVersion()
	return client.IgnoreNotFound(r.Delete(ctx, object, client.Preconditions{UID: &uid, ResourceVersion: &version}))
}

// withoutOthers deletes the keys that someone has added, which applying would leave, and reports whether there were any.
func withoutOthers[V any](has, wanted map[string]V) bool {
	before := len(has)
	maps.DeleteFunc(has, func(key string, _ V) bool {
		_, ok := wanted[key]
		return !ok
	})
	return len(has) < before
}

// prune deletes the ConfigMaps and Secrets of workloads that are selected no more.
func (r *TelemetryReconciler) prune(ctx context.Context, t *v1alpha1.Telemetry, chosen []workload) error {
	var configs corev1.ConfigMapList
	var secrets corev1.SecretList
	mine := []client.ListOption{client.InNamespace(t.Namespace), client.MatchingLabels{managedByLabel: ManagedBy}, client.UnsafeDisableDeepCopy}
	if err := r.List(ctx, &configs, mine...); err != nil {
		return err
	}
	if err := r.List(ctx, &secrets, mine...); err != nil {
		return err
	}
	var objects []client.Object
	for i := range configs.Items {
		objects = append(objects, &configs.Items[i])
	}
	for i := range secrets.Items {
		objects = append(objects, &secrets.Items[i])
	}
	wanted := make(map[string]bool, len(chosen))
	for _, w := range chosen {
		wanted[w.overlayName()] = true
	}
	for _, object := range objects {
		if wanted[object.GetName()] || !metav1.IsControlledBy(object, t) {
			continue
		}
		if err := r.remove(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

// nudge has the kubelet write the volumes of pods at once.
func (r *TelemetryReconciler) nudge(ctx context.Context, pods []*corev1.Pod, hash string) error {
	for _, pod := range pods {
		if pod.Annotations[HashAnnotation] == hash {
			continue
		}
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, HashAnnotation, hash)
		var metadata metav1.PartialObjectMetadata // so that the answer is no more
		metadata.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Pod"))
		metadata.Namespace, metadata.Name = pod.Namespace, pod.Name
		if err := r.Patch(ctx, &metadata, client.RawPatch(types.MergePatchType, patch)); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}
