// Package controller makes what Telemetry objects want so.
package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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

// maxObjects is how many objects are reconciled at once, so that the pods of one which do not answer keep no other waiting.
// maxWrites is how many workloads of each have something applied at once.
const (
	maxObjects = 4
	maxWrites  = 8
)

// TelemetryReconciler reconciles a Telemetry.
type TelemetryReconciler struct {
	client.Client               // its cache holds, of ConfigMaps and Secrets, only those that are ours
	Direct        client.Reader // without a cache
	Events        events.EventRecorder
	Pods          Pods
	Now           func() time.Time
	Namespace     string // the one that is served; all without it
}

// Reconcile applies the overlay of each workload, has pods read it, and says in the status who has followed.
func (r *TelemetryReconciler) Reconcile(ctx context.Context, req ctrl.Request) (result ctrl.Result, err error) {
	var t v1alpha1.Telemetry
	if err := r.Get(ctx, req.NamespacedName, &t); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	before := t.Status.DeepCopy()
	defer func() {
		t.Status.ObservedGeneration = t.Generation
		shorten(&t.Status)
		if !equality.Semantic.DeepEqual(*before, t.Status) {
			base := t.DeepCopy()
			base.Status = *before
			err = errors.Join(err, client.IgnoreNotFound(r.Status().Patch(ctx, &t, client.MergeFrom(base))))
		}
	}()

	var after time.Duration
	if t.DeletionTimestamp.IsZero() {
		after, err = r.reconcile(ctx, &t)
	} else {
		err = r.finalize(ctx, &t) // what it owns goes with it
	}
	if fault, ok := asUserError(err); ok {
		r.stall(&t, fault)
		return ctrl.Result{RequeueAfter: cmp.Or(after, later)}, nil // what is referred to may appear
	}
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: soon}, nil // the cache was behind
	}
	if err != nil {
		fail(&t, err)
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: after}, nil
}

// reconcile returns when to look again, with a userError too. Where it is not known what an overlay is to be, each workload keeps
// the one that it has.
func (r *TelemetryReconciler) reconcile(ctx context.Context, t *v1alpha1.Telemetry) (time.Duration, error) {
	in, fault := r.resolve(ctx, t) // fault is the first userError; it may be of one workload, while the others go on
	_, unresolved := asUserError(fault)
	if fault != nil && !unresolved {
		return 0, fault
	}
	present, err := workloads(ctx, r.Client, t.Namespace)
	if err != nil {
		return 0, err
	}
	chosen, err := choose(present, &t.Spec.Selector)
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
	inserts := t.Spec.Injection == v1alpha1.InjectionMount || t.Spec.Delivery == v1alpha1.DeliveryRollout
	if inserts {
		if err := r.setFinalizer(ctx, t, true); err != nil {
			return 0, err
		}
	}
	now := r.Now()
	next := nextEnd(t, now)
	statuses, overlays := make([]v1alpha1.WorkloadStatus, len(chosen)), make([]render.Overlay, len(chosen))
	rendered := make(map[v1alpha1.Ratio]render.Overlay)
	namesakes := byName(present)
	for i, w := range chosen {
		status := &statuses[i]
		status.Kind, status.Name = w.kind, w.GetName()
		for _, other := range namesakes[w.GetName()] { // the workload itself, and those whose overlay would have the same name
			if status.ConflictsWith = rivalOf(rivals, other); status.ConflictsWith != "" {
				fault = cmp.Or(fault, conflict(w, other, status.ConflictsWith))
				break
			}
		}
		if status.ConflictsWith != "" {
			continue
		}
		if unresolved {
			overlays[i], status.Ratio, err = r.kept(ctx, t, w, now)
		} else {
			in.Ratio = ratioOf(t, w.GetName(), now)
			status.Ratio = in.Ratio
			overlays[i], err = renderOnce(rendered, in)
		}
		if err != nil {
			return 0, err
		}
		status.Hash = overlays[i].Hash
	}
	err = inParallel(ctx, len(chosen), maxWrites, func(ctx context.Context, i int) error {
		w, status := chosen[i], &statuses[i]
		if status.Hash == "" {
			return nil
		}
		err := r.apply(ctx, t, w, overlays[i])
		if err == nil && overlays[i].Secret == nil && !unresolved { // headers that are not seen now may be there all the same
			err = r.dropSecret(ctx, t, w)
		}
		if fault, ok := asUserError(err); ok {
			status.Hash, status.Reason, status.Message = "", fault.reason, fault.Error()
			return nil
		}
		if err != nil {
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
	line := queue{reconciler: r, telemetry: t, first: busy(chosen)}
	for i, w := range chosen {
		if statuses[i].Reason == v1alpha1.ReasonNameTaken {
			fault = cmp.Or[error](fault, userError{v1alpha1.ConditionConfigApplied, v1alpha1.ReasonNameTaken, fmt.Errorf("%s: %s", w, statuses[i].Message)})
		}
		if statuses[i].Hash == "" {
			continue
		}
		if err := line.roll(ctx, w, &statuses[i]); err != nil {
			return 0, err
		}
	}
	// A pod that does not answer takes its time: whatever is to be done is done before any is asked.
	asking := newInquiry()
	err = inParallel(ctx, len(chosen), maxReports, func(ctx context.Context, i int) error {
		if w := chosen[i]; statuses[i].Hash != "" {
			r.follow(ctx, t, w, pods.of(w), &statuses[i], asking)
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
	r.noteRootless(t, statuses)
	t.Status.Workloads, t.Status.OmittedWorkloads = statuses, 0
	t.Status.Pods = fmt.Sprintf("%d/%d", all.done, all.done+all.pending+all.unknown)
	if err := r.prune(ctx, t, chosen); err != nil {
		return 0, err
	}
	if err := r.takeBack(ctx, t, present, rivals); err != nil {
		return 0, err
	}
	left := slices.ContainsFunc(present, func(w workload) bool { return touched(w) && rivalOf(rivals, w) == "" })
	if !inserts && !left {
		if err := r.setFinalizer(ctx, t, false); err != nil {
			return 0, err
		}
	}
	switch {
	case line.moves:
		next = min(next, soon)
	case all.unknown > 0, all.pending > 0 && t.Spec.Delivery == v1alpha1.DeliveryRollout:
		next = min(next, unsure)
	case all.pending > 0:
		next = min(next, soon)
	}
	if fault == nil {
		r.conclude(t, all)
	}
	return next, fault
}

// renderOnce renders an overlay unless there is one of that ratio.
func renderOnce(rendered map[v1alpha1.Ratio]render.Overlay, in render.Input) (render.Overlay, error) {
	overlay, ok := rendered[in.Ratio]
	if ok {
		return overlay, nil
	}
	overlay, err := render.Render(in)
	rendered[in.Ratio] = overlay
	return overlay, err
}

// kept returns the overlay that a workload has, and its ratio; none where there is none. An override that has ended is over all
// the same.
func (r *TelemetryReconciler) kept(ctx context.Context, t *v1alpha1.Telemetry, w workload, now time.Time) (render.Overlay, v1alpha1.Ratio, error) {
	key := client.ObjectKey{Namespace: t.Namespace, Name: w.overlayName()}
	var config corev1.ConfigMap
	if err := r.Get(ctx, key, &config); err != nil || !belongsTo(&config, t) {
		return render.Overlay{}, "", client.IgnoreNotFound(err)
	}
	var secret corev1.Secret
	if err := r.Get(ctx, key, &secret); client.IgnoreNotFound(err) != nil {
		return render.Overlay{}, "", err
	}
	if !belongsTo(&secret, t) {
		secret.Data = nil
	}
	overlay := render.Applied(config.Data, secret.Data)
	ratio := ratioOf(t, w.GetName(), now)
	again, err := overlay.WithRatio(ratio) // an error is of what someone has edited
	if err == nil && (again.Hash == overlay.Hash || ended(t, w.GetName(), now)) {
		return again, ratio, nil
	}
	for _, was := range t.Status.Workloads {
		if was.Kind == w.kind && was.Name == w.GetName() {
			return overlay, was.Ratio, nil
		}
	}
	return overlay, "", nil
}

// follow says in the status of a workload how many of its pods have what was applied.
func (r *TelemetryReconciler) follow(ctx context.Context, t *v1alpha1.Telemetry, w workload, pods []*corev1.Pod, status *v1alpha1.WorkloadStatus, asking inquiry) {
	if t.Spec.Delivery == v1alpha1.DeliveryRollout {
		has := carrying(w, pods, status.Hash)
		status.Done, status.Pending = has.done, has.pending
		return
	}
	has, rootless := r.ask(ctx, pods, status.Hash, asking)
	status.Done, status.Pending, status.Unknown = has.done, has.pending, has.unknown
	if rootless && status.Reason == "" && status.Ratio != t.Spec.Sampling.Ratio {
		status.Reason = v1alpha1.ReasonNoRootSpans
		status.Message = "its pods continue traces and begin none: the override's ratio is without effect"
	}
}

// noteRootless tells of overrides that have turned out to be without effect.
func (r *TelemetryReconciler) noteRootless(t *v1alpha1.Telemetry, statuses []v1alpha1.WorkloadStatus) {
	for _, s := range statuses {
		if s.Reason != v1alpha1.ReasonNoRootSpans {
			continue
		}
		known := slices.ContainsFunc(t.Status.Workloads, func(was v1alpha1.WorkloadStatus) bool {
			return was.Kind == s.Kind && was.Name == s.Name && was.Reason == s.Reason
		})
		if !known {
			r.Events.Eventf(t, nil, corev1.EventTypeWarning, s.Reason, "Sample", "%s %s: %s", s.Kind, s.Name, s.Message)
		}
	}
}

// shorten leaves as many workloads in a status as etcd bears: those first of which something is to be told.
func shorten(s *v1alpha1.TelemetryStatus) {
	more := len(s.Workloads) - v1alpha1.ListedWorkloads
	if more <= 0 {
		return
	}
	slices.SortStableFunc(s.Workloads, func(a, b v1alpha1.WorkloadStatus) int {
		return cmp.Compare(urgency(b), urgency(a))
	})
	s.Workloads, s.OmittedWorkloads = s.Workloads[:v1alpha1.ListedWorkloads], int32(more) //nolint:gosec // the API server has fewer workloads
	slices.SortFunc(s.Workloads, func(a, b v1alpha1.WorkloadStatus) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
}

// urgency is the more, the rather someone wants to know of a workload.
func urgency(s v1alpha1.WorkloadStatus) int {
	switch {
	case s.ConflictsWith != "", s.Reason != "":
		return 2
	case s.Pending > 0, s.Unknown > 0:
		return 1
	}
	return 0
}

// conclude sets the conditions of an object whose overlays are applied.
func (r *TelemetryReconciler) conclude(t *v1alpha1.Telemetry, all count) {
	applied := fmt.Sprintf("%d workloads have their overlay", len(t.Status.Workloads))
	reason := v1alpha1.ReasonSucceeded
	if len(t.Status.Workloads) == 0 {
		reason, applied = v1alpha1.ReasonNoWorkloads, "the selector chooses no workload"
	}
	setCondition(t, v1alpha1.ConditionConfigApplied, metav1.ConditionTrue, reason, applied)
	setCondition(t, v1alpha1.ConditionStalled, metav1.ConditionFalse, v1alpha1.ReasonSucceeded, "")
	done, why, message := metav1.ConditionTrue, reason, fmt.Sprintf("%d pods have it in force", all.done)
	waits, which := waitsFor(t.Status.Workloads)
	switch {
	case waits != "":
		done, why, message = metav1.ConditionFalse, waits, which
	case all.unknown > 0:
		done, why, message = metav1.ConditionFalse, v1alpha1.ReasonPodsUnknown, fmt.Sprintf("%d pods do not say what they have in force, %d have something else", all.unknown, all.pending)
	case all.pending > 0:
		done, why, message = metav1.ConditionFalse, v1alpha1.ReasonPodsPending, fmt.Sprintf("%d pods do not have it in force", all.pending)
	}
	setCondition(t, v1alpha1.ConditionDelivered, done, why, message)
	if was := meta.IsStatusConditionTrue(t.Status.Conditions, v1alpha1.ConditionReady); !was && done == metav1.ConditionTrue {
		r.Events.Eventf(t, nil, corev1.EventTypeNormal, v1alpha1.ReasonSucceeded, "Deliver", "%s, spans go to %s", message, t.Status.Endpoint)
	}
	setCondition(t, v1alpha1.ConditionReady, done, why, message)
}

// waitsFor returns the reason for which pods of workloads do not have it yet and a message about it; "" when there is none.
// What moves comes before what waits for someone.
func waitsFor(statuses []v1alpha1.WorkloadStatus) (reason, message string) {
	for _, reason := range []string{v1alpha1.ReasonRolloutInProgress, v1alpha1.ReasonRolloutHeld, v1alpha1.ReasonNotMounted} {
		var first string
		more := -1
		for _, s := range statuses {
			if s.Reason != reason {
				continue
			}
			if first == "" {
				first = fmt.Sprintf("%s %s: %s", s.Kind, s.Name, s.Message)
			}
			more++
		}
		if more > 0 {
			first += fmt.Sprintf(" (and %d more workloads)", more)
		}
		if first != "" {
			return reason, first
		}
	}
	return "", ""
}

// fail says that what is wanted is not applied, and is tried again.
func fail(t *v1alpha1.Telemetry, err error) {
	for _, kind := range []string{v1alpha1.ConditionConfigApplied, v1alpha1.ConditionDelivered, v1alpha1.ConditionStalled, v1alpha1.ConditionReady} {
		setCondition(t, kind, metav1.ConditionFalse, v1alpha1.ReasonApplyFailed, err.Error())
	}
}

// stall says that nothing more happens until someone changes something. What pods have in force is not what is wanted then.
func (r *TelemetryReconciler) stall(t *v1alpha1.Telemetry, fault userError) {
	was := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionStalled)
	if was == nil || was.Status != metav1.ConditionTrue || was.Message != fault.Error() {
		r.Events.Eventf(t, nil, corev1.EventTypeWarning, fault.reason, "Reconcile", "%s", fault.Error())
	}
	for _, kind := range []string{fault.condition, v1alpha1.ConditionConfigApplied, v1alpha1.ConditionDelivered, v1alpha1.ConditionReady} {
		setCondition(t, kind, metav1.ConditionFalse, fault.reason, fault.Error())
	}
	setCondition(t, v1alpha1.ConditionStalled, metav1.ConditionTrue, fault.reason, fault.Error())
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

// conflict says that another Telemetry selects a workload, or another workload of its name.
func conflict(w, other workload, rival string) error {
	err := fmt.Errorf("%s is selected by Telemetry %s too", w, rival)
	if w.Object != other.Object {
		err = fmt.Errorf("%s and %s, which Telemetry %s selects, would have one overlay, %s", w, other, rival, w.overlayName())
	}
	return userError{v1alpha1.ConditionConfigApplied, v1alpha1.ReasonConflict, err}
}

// ratioOf returns the ratio that holds for a workload now.
func ratioOf(t *v1alpha1.Telemetry, workload string, now time.Time) v1alpha1.Ratio {
	for _, o := range t.Spec.Sampling.Overrides {
		if o.Workload == workload && (o.Until == nil || now.Before(o.Until.Time)) {
			return o.Ratio
		}
	}
	return t.Spec.Sampling.Ratio
}

// ended reports whether a workload had an override that has ended.
func ended(t *v1alpha1.Telemetry, workload string, now time.Time) bool {
	return slices.ContainsFunc(t.Spec.Sampling.Overrides, func(o v1alpha1.Override) bool {
		return o.Workload == workload && o.Until != nil && !now.Before(o.Until.Time)
	})
}

// nextEnd returns in how long the next override ends, or later when that is sooner.
func nextEnd(t *v1alpha1.Telemetry, now time.Time) time.Duration {
	next := later
	for _, o := range t.Spec.Sampling.Overrides {
		if o.Until != nil && now.Before(o.Until.Time) {
			next = min(next, o.Until.Sub(now))
		}
	}
	return next
}

var _ reconcile.Reconciler = (*TelemetryReconciler)(nil)
