// Package controller makes what Telemetry objects want so.
package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
	"github.com/linktrail/linktrail/apps/telemetry-controller/internal/render"
)

// How long until an object is looked at again without a reason: while pods are about to follow, while some do not answer,
// who cost a wait each time, and when all is done, since objects that are referred to are not watched.
const (
	soon   = 2 * time.Second
	unsure = 10 * time.Second
	later  = 30 * time.Second
)

// maxWrites is how many workloads have something applied at once.
const maxWrites = 8

// TelemetryReconciler reconciles a Telemetry.
type TelemetryReconciler struct {
	client.Client               // its cache holds, of ConfigMaps and Secrets, only those that are ours
	Direct        client.Reader // without a cache
	Events        events.EventRecorder
	Pods          Pods
	Now           func() time.Time
}

// Reconcile applies the overlay of each workload, has pods read it, and says in the status who has followed.
func (r *TelemetryReconciler) Reconcile(ctx context.Context, req ctrl.Request) (result ctrl.Result, err error) {
	var t v1alpha1.Telemetry
	if err := r.Get(ctx, req.NamespacedName, &t); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !t.DeletionTimestamp.IsZero() { // what it owns goes with it
		return ctrl.Result{}, nil
	}
	before := t.DeepCopy()
	defer func() {
		t.Status.ObservedGeneration = t.Generation
		if !equality.Semantic.DeepEqual(before.Status, t.Status) {
			err = errors.Join(err, client.IgnoreNotFound(r.Status().Patch(ctx, &t, client.MergeFrom(before))))
		}
	}()

	after, err := r.reconcile(ctx, &t)
	if fault, ok := asUserError(err); ok {
		r.stall(&t, fault)
		return ctrl.Result{RequeueAfter: later}, nil // what is referred to may appear
	}
	if err != nil {
		setCondition(&t, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonApplyFailed, err.Error())
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: after}, nil
}

// reconcile returns when to look again.
func (r *TelemetryReconciler) reconcile(ctx context.Context, t *v1alpha1.Telemetry) (time.Duration, error) {
	in, err := r.resolve(ctx, t)
	if err != nil {
		return 0, err
	}
	t.Status.Endpoint = in.Endpoint
	setCondition(t, v1alpha1.ConditionEndpointResolved, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "spans go to "+in.Endpoint)

	chosen, err := workloads(ctx, r.Client, t.Namespace, &t.Spec.Selector)
	if err != nil {
		return 0, err
	}
	rivals, err := r.rivals(ctx, t)
	if err != nil {
		return 0, err
	}
	pods, err := podsOf(ctx, r.Client, t.Namespace)
	if err != nil {
		return 0, err
	}
	now, next := r.Now(), later
	var conflict error
	statuses := make([]v1alpha1.WorkloadStatus, len(chosen))
	overlays := make(map[v1alpha1.Ratio]render.Overlay)
	for i, w := range chosen {
		status := &statuses[i]
		status.Kind, status.Name = w.kind, w.GetName()
		if status.ConflictsWith = rivalOf(rivals, w); status.ConflictsWith != "" {
			conflict = fmt.Errorf("%s %s is selected by Telemetry %s too", w.kind, w.GetName(), status.ConflictsWith)
			continue
		}
		var ends time.Duration
		status.Ratio, ends = ratioOf(t, w.GetName(), now)
		if ends > 0 {
			next = min(next, ends)
		}
		overlay, ok := overlays[status.Ratio]
		if !ok {
			in.Ratio = status.Ratio
			if overlay, err = render.Render(in); err != nil {
				return 0, userError{v1alpha1.ConditionConfigApplied, v1alpha1.ReasonInvalidReference, err}
			}
			overlays[status.Ratio] = overlay
		}
		status.Hash = overlay.Hash
	}
	err = inParallel(ctx, len(chosen), maxWrites, func(ctx context.Context, i int) error {
		w, status := chosen[i], &statuses[i]
		if status.ConflictsWith != "" {
			return nil
		}
		if err := r.apply(ctx, t, w, overlays[status.Ratio]); err != nil {
			return err
		}
		if t.Spec.Delivery == v1alpha1.DeliveryReload {
			return r.nudge(ctx, pods.of(w), status.Hash)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	// One that does not answer takes its time: all that is applied is applied before any is asked.
	slots := make(chan struct{}, maxReports)
	err = inParallel(ctx, len(chosen), maxReports, func(ctx context.Context, i int) error {
		if status := &statuses[i]; status.ConflictsWith == "" {
			has := r.ask(ctx, pods.of(chosen[i]), status.Hash, slots)
			status.Done, status.Pending, status.Unknown = has.done, has.pending, has.unknown
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	var all count
	for _, s := range statuses {
		all.add(count{s.Done, s.Pending, s.Unknown})
	}
	t.Status.Workloads = statuses
	t.Status.Pods = fmt.Sprintf("%d/%d", all.done, all.done+all.pending+all.unknown)
	if err := r.prune(ctx, t, chosen); err != nil {
		return 0, err
	}
	if conflict != nil {
		return 0, userError{v1alpha1.ConditionConfigApplied, v1alpha1.ReasonConflict, conflict}
	}
	r.conclude(t, len(chosen), all)
	switch {
	case all.unknown > 0:
		next = min(next, unsure)
	case all.pending > 0:
		next = min(next, soon)
	}
	return next, nil
}

// conclude sets the conditions of an object whose overlays are applied.
func (r *TelemetryReconciler) conclude(t *v1alpha1.Telemetry, workloads int, all count) {
	applied := fmt.Sprintf("%d workloads have their overlay", workloads)
	reason := v1alpha1.ReasonSucceeded
	if workloads == 0 {
		reason, applied = v1alpha1.ReasonNoWorkloads, "the selector chooses no workload"
	}
	setCondition(t, v1alpha1.ConditionConfigApplied, metav1.ConditionTrue, reason, applied)
	setCondition(t, v1alpha1.ConditionStalled, metav1.ConditionFalse, v1alpha1.ReasonSucceeded, "")
	done, why, message := metav1.ConditionTrue, reason, fmt.Sprintf("%d pods have it in force", all.done)
	switch {
	case all.unknown > 0:
		done, why, message = metav1.ConditionFalse, v1alpha1.ReasonPodsUnknown, fmt.Sprintf("%d pods do not say what they have in force, %d have something else", all.unknown, all.pending)
	case all.pending > 0:
		done, why, message = metav1.ConditionFalse, v1alpha1.ReasonPodsPending, fmt.Sprintf("%d pods have something else in force", all.pending)
	}
	setCondition(t, v1alpha1.ConditionDelivered, done, why, message)
	if was := meta.IsStatusConditionTrue(t.Status.Conditions, v1alpha1.ConditionReady); !was && done == metav1.ConditionTrue {
		r.Events.Eventf(t, nil, corev1.EventTypeNormal, v1alpha1.ReasonSucceeded, "Deliver", "%s, spans go to %s", message, t.Status.Endpoint)
	}
	setCondition(t, v1alpha1.ConditionReady, done, why, message)
}

// stall says that nothing more happens until someone changes something. What pods have in force is not what is wanted then.
func (r *TelemetryReconciler) stall(t *v1alpha1.Telemetry, fault userError) {
	was := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionStalled)
	if was == nil || was.Status != metav1.ConditionTrue || was.Message != fault.Error() {
		r.Events.Eventf(t, nil, corev1.EventTypeWarning, fault.reason, "Reconcile", "%s", fault.Error())
	}
	setCondition(t, fault.condition, metav1.ConditionFalse, fault.reason, fault.Error())
	setCondition(t, v1alpha1.ConditionDelivered, metav1.ConditionFalse, fault.reason, fault.Error())
	setCondition(t, v1alpha1.ConditionStalled, metav1.ConditionTrue, fault.reason, fault.Error())
	setCondition(t, v1alpha1.ConditionReady, metav1.ConditionFalse, fault.reason, fault.Error())
}

func setCondition(t *v1alpha1.Telemetry, kind string, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&t.Status.Conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: t.Generation,
	})
}

// rivals are the other Telemetry objects of a namespace.
func (r *TelemetryReconciler) rivals(ctx context.Context, t *v1alpha1.Telemetry) ([]v1alpha1.Telemetry, error) {
	var list v1alpha1.TelemetryList
	if err := r.List(ctx, &list, client.InNamespace(t.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	var rivals []v1alpha1.Telemetry
	for _, other := range list.Items {
		if other.Name != t.Name && other.DeletionTimestamp.IsZero() {
			rivals = append(rivals, other)
		}
	}
	return rivals, nil
}

// rivalOf returns the name of one that selects a workload.
func rivalOf(rivals []v1alpha1.Telemetry, w workload) string {
	for i := range rivals {
		if selects(&rivals[i].Spec.Selector, w.GetLabels()) {
			return rivals[i].Name
		}
	}
	return ""
}

// ratioOf returns the ratio that holds for a workload now and, where that ends by itself, in how long.
func ratioOf(t *v1alpha1.Telemetry, workload string, now time.Time) (v1alpha1.Ratio, time.Duration) {
	for _, o := range t.Spec.Sampling.Overrides {
		switch {
		case o.Workload != workload:
		case o.Until == nil:
			return o.Ratio, 0
		case now.Before(o.Until.Time):
			return o.Ratio, o.Until.Sub(now)
		}
	}
	return t.Spec.Sampling.Ratio, 0
}

var _ reconcile.Reconciler = (*TelemetryReconciler)(nil)
