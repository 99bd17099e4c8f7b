package controller

import (
	"context"
	"net/http"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
)

// CacheOptions are those of the manager's cache: of ConfigMaps and Secrets it holds only what is ours, of everything but
// for one namespace where that is given, and of all objects what slim leaves.
func CacheOptions(namespace string) cache.Options {
	ours := cache.ByObject{Label: labels.SelectorFromSet(labels.Set{managedByLabel: ManagedBy})}
	options := cache.Options{
		ByObject:         map[client.Object]cache.ByObject{&corev1.ConfigMap{}: ours, &corev1.Secret{}: ours},
		DefaultTransform: slim,
	}
	if namespace != "" {
		options.DefaultNamespaces = map[string]cache.Config{namespace: {}}
	}
	return options
}

// Served reports an error until the API server serves Telemetry objects. Their CRD may come after the controller.
func Served(mapper meta.RESTMapper) healthz.Checker {
	return func(*http.Request) error {
		_, err := mapper.RESTMapping(v1alpha1.GroupVersion.WithKind("Telemetry").GroupKind(), v1alpha1.GroupVersion.Version)
		return err
	}
}

// SetupWithManager has the manager run the reconciler: for each Telemetry when it, or what it owns, changes, and for all
// of a namespace when a workload, its rollout, a pod or a Service does.
func (r *TelemetryReconciler) SetupWithManager(mgr ctrl.Manager) error {
	moved := predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool { return rolloutOf(e.ObjectOld) != rolloutOf(e.ObjectNew) }}
	changed := builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.LabelChangedPredicate{}, moved))
	neighbours := handler.EnqueueRequestsFromMapFunc(r.neighbours)
	return ctrl.NewControllerManagedBy(mgr).
		Named("telemetry").
		For(&v1alpha1.Telemetry{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Owns(&corev1.ConfigMap{}).
		Owns(&corev1.Secret{}).
		Watches(&v1alpha1.Telemetry{}, neighbours, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&appsv1.Deployment{}, neighbours, changed).
		Watches(&appsv1.StatefulSet{}, neighbours, changed).
		Watches(&appsv1.DaemonSet{}, neighbours, changed).
		Watches(&corev1.Pod{}, neighbours, builder.WithPredicates(predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool { return podMoved(e.ObjectOld, e.ObjectNew) }})).
		Watches(&corev1.Service{}, handler.EnqueueRequestsFromMapFunc(r.senders)).
		WithOptions(controller.Options{MaxConcurrentReconciles: maxObjects}).
		Complete(traced{r, "telemetry"})
}

// neighbours are the Telemetry objects of an object's namespace, which may select it, or select what it does.
func (r *TelemetryReconciler) neighbours(ctx context.Context, object client.Object) []reconcile.Request {
	return r.requests(ctx, func(t *v1alpha1.Telemetry) bool { return t.Namespace == object.GetNamespace() })
}

// senders are the Telemetry objects which send to a Service.
func (r *TelemetryReconciler) senders(ctx context.Context, service client.Object) []reconcile.Request {
	return r.requests(ctx, func(t *v1alpha1.Telemetry) bool {
		ref := t.Spec.Exporter.ServiceRef
		return ref != nil && ref.Name == service.GetName() &&
			(ref.Namespace == service.GetNamespace() || ref.Namespace == "" && t.Namespace == service.GetNamespace())
	})
}

func (r *TelemetryReconciler) requests(ctx context.Context, of func(*v1alpha1.Telemetry) bool) []reconcile.Request {
	var list v1alpha1.TelemetryList
	if err := r.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Telemetry objects cannot be listed")
		return nil
	}
	var requests []reconcile.Request
	for i := range list.Items {
		if of(&list.Items[i]) {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	return requests
}

// podMoved reports whether a pod has come to another phase, address, readiness or end since.
func podMoved(before, after client.Object) bool {
	old, ok := before.(*corev1.Pod)
	now, too := after.(*corev1.Pod)
	return ok && too && (old.Status.Phase != now.Status.Phase || old.Status.PodIP != now.Status.PodIP ||
		ready(old) != ready(now) || old.DeletionTimestamp.IsZero() != now.DeletionTimestamp.IsZero())
}
