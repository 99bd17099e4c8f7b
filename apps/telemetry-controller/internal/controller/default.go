package controller

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
	"sigs.k8s.io/yaml"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
)

const (
	// DefaultKey is the key of the ConfigMap that holds the default object: its manifest.
	DefaultKey = "telemetry.yaml"
	// DefaultAnnotation of the default object names the manifest that it was made of, or has last followed.
	DefaultAnnotation = "telemetry.linktrail.io/default"
)

// The reasons of events about the default object.
const (
	reasonInvalidDefault = "InvalidDefault"
	reasonRefused        = "Refused"
	reasonNotOurs        = "NotOurs"
)

// DefaultReconciler makes the Telemetry object that a ConfigMap holds, for Helm, which cannot make an object in the release
// that brings its kind. The object follows the manifest when that changes; what someone changes in it otherwise stays until
// then. It is owned by the ConfigMap, so it goes with it. An object of that name that is not the ConfigMap's is left alone.
type DefaultReconciler struct {
	client.Client
	Events    events.EventRecorder
	ConfigMap types.NamespacedName

	configs client.Reader // its cache holds the one ConfigMap, which is Helm's and so in no other cache
}

// SetupWithManager has the manager run the reconciler: when the ConfigMap changes, and when the object is deleted.
func (r *DefaultReconciler) SetupWithManager(mgr ctrl.Manager) error {
	configs, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(),
		DefaultNamespaces: map[string]cache.Config{r.ConfigMap.Namespace: {}},
		ByObject: map[client.Object]cache.ByObject{
			&corev1.ConfigMap{}: {Field: fields.OneTermEqualSelector("metadata.name", r.ConfigMap.Name)},
		},
	})
	if err != nil {
		return err
	}
	if err := mgr.Add(configs); err != nil {
		return err
	}
	r.configs = configs
	gone := predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		UpdateFunc: func(event.UpdateEvent) bool { return false },
		DeleteFunc: func(e event.DeleteEvent) bool { return e.Object.GetNamespace() == r.ConfigMap.Namespace },
	}
	again := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: r.ConfigMap}}
	})
	return ctrl.NewControllerManagedBy(mgr).
		Named("default").
		WatchesRawSource(source.Kind(configs, &corev1.ConfigMap{}, &handler.TypedEnqueueRequestForObject[*corev1.ConfigMap]{})).
		Watches(&v1alpha1.Telemetry{}, again, builder.WithPredicates(gone)).
		Complete(traced{r, "default"})
}

// Reconcile makes the object, or has it follow the ConfigMap.
func (r *DefaultReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var config corev1.ConfigMap
	if err := r.configs.Get(ctx, req.NamespacedName, &config); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !config.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	wanted, err := manifestOf(&config)
	if err != nil {
		r.Events.Eventf(&config, nil, corev1.EventTypeWarning, reasonInvalidDefault, "Read", "%s", err)
		return ctrl.Result{}, err
	}
	err = r.follow(ctx, &config, wanted)
	switch {
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		r.Events.Eventf(&config, nil, corev1.EventTypeWarning, reasonInvalidDefault, "Apply", "%s", err)
	case apierrors.IsForbidden(err):
		r.Events.Eventf(&config, nil, corev1.EventTypeWarning, reasonRefused, "Apply", "%s", err)
	}
	return ctrl.Result{}, err
}

// follow creates the object, or changes it when the manifest has changed since it was last followed.
func (r *DefaultReconciler) follow(ctx context.Context, config *corev1.ConfigMap, wanted *v1alpha1.Telemetry) error {
	var has v1alpha1.Telemetry
	err := r.Get(ctx, client.ObjectKeyFromObject(wanted), &has)
	if apierrors.IsNotFound(err) {
		return r.Create(ctx, wanted, client.FieldOwner(FieldOwner))
	}
	if err != nil {
		return err
	}
	owner := ownerOf(&has, config.Name)
	switch {
	case owner == nil:
		const left = "Telemetry %s is not made of ConfigMap %s, and is left alone"
		ctrl.LoggerFrom(ctx).Info(fmt.Sprintf(left, has.Name, config.Name))
		r.Events.Eventf(config, &has, corev1.EventTypeWarning, reasonNotOurs, "Apply", left, has.Name, config.Name)
		return nil
	case owner.UID != config.UID, !has.DeletionTimestamp.IsZero(): // about to go, as its ConfigMap has; then there is another try
		return nil
	case has.Annotations[DefaultAnnotation] == wanted.Annotations[DefaultAnnotation]:
		return nil
	}
	next := has.DeepCopy()
	next.Spec = wanted.Spec
	for name, value := range wanted.Labels {
		metav1.SetMetaDataLabel(&next.ObjectMeta, name, value)
	}
	for name, value := range wanted.Annotations {
		metav1.SetMetaDataAnnotation(&next.ObjectMeta, name, value)
	}
	return r.Patch(ctx, next, client.MergeFromWithOptions(&has, client.MergeFromWithOptimisticLock{}), client.FieldOwner(FieldOwner))
}

// ownerOf returns the reference to the ConfigMap of a name, of whatever id; nil when there is none.
func ownerOf(object client.Object, config string) *metav1.OwnerReference {
	owner := metav1.GetControllerOf(object)
	if owner == nil || owner.Kind != "ConfigMap" || owner.Name != config {
		return nil
	}
	return owner
}

// manifestOf reads the object out of its ConfigMap.
func manifestOf(config *corev1.ConfigMap) (*v1alpha1.Telemetry, error) {
	text, ok := config.Data[DefaultKey]
	if !ok {
		return nil, fmt.Errorf("ConfigMap %s has no key %s", config.Name, DefaultKey)
	}
	var t v1alpha1.Telemetry
	if err := yaml.UnmarshalStrict([]byte(text), &t); err != nil {
		return nil, fmt.Errorf("%s of ConfigMap %s: %w", DefaultKey, config.Name, err)
	}
	var err error
	switch kind := t.GroupVersionKind(); {
	case kind != v1alpha1.GroupVersion.WithKind("Telemetry"):
		err = fmt.Errorf("apiVersion and kind are %q and %q, and must be %s and Telemetry", t.APIVersion, t.Kind, v1alpha1.GroupVersion)
	case t.Name == "":
		err = errors.New("metadata.name is missing")
	case t.Namespace != "" && t.Namespace != config.Namespace:
		err = fmt.Errorf("metadata.namespace is %s, and must be the ConfigMap's, %s, or missing", t.Namespace, config.Namespace)
	}
	if err != nil {
		return nil, fmt.Errorf("%s of ConfigMap %s: %w", DefaultKey, config.Name, err)
	}
	t.Namespace = config.Namespace
	sum := sha256.Sum256([]byte(text))
	metav1.SetMetaDataAnnotation(&t.ObjectMeta, DefaultAnnotation, hex.EncodeToString(sum[:16]))
	t.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(config, corev1.SchemeGroupVersion.WithKind("ConfigMap"))}
	t.OwnerReferences[0].BlockOwnerDeletion = nil // that would take the right to update the ConfigMap's finalizers
	return &t, nil
}
