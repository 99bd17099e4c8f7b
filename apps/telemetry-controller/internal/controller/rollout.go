package controller

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
)

// rollout is how far a workload's own controller is with replacing its pods.
type rollout struct {
	// updated is how many pods are of the present template.
	updated int32
	// going is what is missing until it has ended; "" when it has, and when it is held.
	going string
	// held is why it does not go on until someone changes something; "" when it does.
	held string
}

// unseen is a rollout of which its controller has not heard yet.
var unseen = rollout{going: "its change has not been taken up yet"}

func rolloutOf(object client.Object) rollout {
	switch w := object.(type) {
	case *appsv1.Deployment:
		return deploymentRollout(w)
	case *appsv1.StatefulSet:
		return statefulSetRollout(w)
	case *appsv1.DaemonSet:
		return daemonSetRollout(w)
	}
	return rollout{}
}

func deploymentRollout(d *appsv1.Deployment) rollout {
	want, has := replicas(d.Spec.Replicas), d.Status
	r := rollout{updated: has.UpdatedReplicas}
	switch {
	case has.ObservedGeneration < d.Generation:
		return unseen
	case d.Spec.Paused && (has.UpdatedReplicas < want || has.Replicas > has.UpdatedReplicas):
		r.held = "it is paused"
	case has.UpdatedReplicas < want:
		r.going = fmt.Sprintf("%d of %d pods are updated", has.UpdatedReplicas, want)
	case has.Replicas > has.UpdatedReplicas:
		r.going = fmt.Sprintf("%d pods of before are still there", has.Replicas-has.UpdatedReplicas)
	default:
		r.going = unavailable(has.AvailableReplicas, want)
	}
	for _, c := range has.Conditions {
		if r.going != "" && c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse {
			r.going += ", " + c.Reason
		}
	}
	return r
}

func statefulSetRollout(s *appsv1.StatefulSet) rollout {
	want, has := replicas(s.Spec.Replicas), s.Status
	r := rollout{updated: has.UpdatedReplicas}
	var partition int32
	if update := s.Spec.UpdateStrategy.RollingUpdate; update != nil && update.Partition != nil {
		partition = *update.Partition
	}
	switch {
	case has.ObservedGeneration < s.Generation:
		return unseen
	case has.UpdatedReplicas < want && s.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType:
		r.held = onDelete
	case has.UpdatedReplicas < want-partition:
		r.going = fmt.Sprintf("%d of %d pods are updated", has.UpdatedReplicas, want-partition)
	case has.AvailableReplicas < want:
		r.going = unavailable(has.AvailableReplicas, want)
	case has.UpdatedReplicas < want:
		r.held = fmt.Sprintf("its partition, %d, keeps pods as they are", partition)
	}
	return r
}

func daemonSetRollout(d *appsv1.DaemonSet) rollout {
	has := d.Status
	r := rollout{updated: has.UpdatedNumberScheduled}
	switch {
	case has.ObservedGeneration < d.Generation:
		return unseen
	case has.UpdatedNumberScheduled >= has.DesiredNumberScheduled:
		r.going = unavailable(has.NumberAvailable, has.DesiredNumberScheduled)
	case d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType:
		r.held = onDelete
	default:
		r.going = fmt.Sprintf("%d of %d pods are updated", has.UpdatedNumberScheduled, has.DesiredNumberScheduled)
	}
	return r
}

const onDelete = "its update strategy is OnDelete: pods are replaced as someone deletes them"

func unavailable(has, want int32) string {
	if has >= want {
		return ""
	}
	return fmt.Sprintf("%d of %d pods are available", has, want)
}

func replicas(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

// queue lets one workload at a time have its pods replaced.
type queue struct {
	reconciler *TelemetryReconciler
	telemetry  *v1alpha1.Telemetry
	first      *workload // the first of those that are selected whose pods are being replaced, whoever began it
	moves      bool      // something happens without anyone's doing
}

// busy returns the first workload whose pods are being replaced. When that does not get on, the others stay as they are: what
// broke it might break them.
func busy(chosen []workload) *workload {
	for i := range chosen {
		if chosen[i].rollout.going != "" {
			return &chosen[i]
		}
	}
	return nil
}

// turn reports whether a workload may have its pods replaced. One that is being rolled out with something of the controller's
// in its template may have that exchanged: it may be what keeps the rollout from ending.
func (q *queue) turn(w workload) bool {
	return q.first == nil || q.first.Object == w.Object && touched(w)
}

// roll has a workload's pods replaced when it is its turn, and says in its status what it waits for. That something is taken
// out of a pod template replaces pods too, so it waits as well.
func (q *queue) roll(ctx context.Context, w workload, status *v1alpha1.WorkloadStatus) error {
	want := insertionFor(q.telemetry, w, status.Hash)
	rolls, wrong := q.telemetry.Spec.Delivery == v1alpha1.DeliveryRollout, !want.equal(inserted(w))
	if wrong && want.empty() { // what looks like the controller's may be someone else's
		var err error
		if wrong, err = q.reconciler.applied(ctx, w); err != nil {
			return err
		}
	}
	switch {
	case wrong && q.turn(w):
		if err := q.reconciler.insert(ctx, w, want); err != nil {
			return err
		}
		q.reconciler.Events.Eventf(q.telemetry, w.Object, corev1.EventTypeNormal, v1alpha1.ReasonRolloutInProgress, "Rollout", "%s has a new pod template, for overlay %s", w, status.Hash)
		w.rollout = unseen
		status.Reason, status.Message = v1alpha1.ReasonRolloutInProgress, w.rollout.going
		q.first, q.moves = &w, true
	case wrong:
		status.Reason, status.Message = v1alpha1.ReasonRolloutInProgress, fmt.Sprintf("waits for %s (%s)", q.first, q.first.rollout.going)
		q.moves = true
	case rolls && want.empty():
		status.Reason = v1alpha1.ReasonNotMounted
		status.Message = fmt.Sprintf("its pods do not mount ConfigMap %s at %s; injection: Mount does that", w.overlayName(), OverlayPath)
	case !rolls && len(want.containers) == 0: // how its pods come and go is not ours
	case w.rollout.going != "":
		status.Reason, status.Message = v1alpha1.ReasonRolloutInProgress, w.rollout.going
		q.moves = true
	case w.rollout.held != "":
		status.Reason, status.Message = v1alpha1.ReasonRolloutHeld, w.rollout.held
	}
	return nil
}

// carrying counts the pods of a workload that were made of a template with a hash and are ready. A pod that was told to
// read it says nothing about its template, so no more are done than the workload's own controller has updated.
func carrying(w workload, pods []*corev1.Pod, hash string) count {
	var done int32
	for _, pod := range pods {
		if pod.Annotations[HashAnnotation] == hash && ready(pod) {
			done++
		}
	}
	if w.template.Annotations[HashAnnotation] != hash {
		done = 0
	}
	done = min(done, w.rollout.updated)
	return count{done: done, pending: int32(len(pods)) - done} //nolint:gosec // the API server has fewer pods
}

func ready(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
