package controller

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestRolloutOf(t *testing.T) {
	three, two := int32(3), int32(2)
	seen := metav1.ObjectMeta{Generation: 2}
	deployment := func(spec appsv1.DeploymentSpec, status appsv1.DeploymentStatus) *appsv1.Deployment {
		spec.Replicas, status.ObservedGeneration = &three, 2
		return &appsv1.Deployment{ObjectMeta: seen, Spec: spec, Status: status}
	}
	statefulSet := func(update appsv1.StatefulSetUpdateStrategy, status appsv1.StatefulSetStatus) *appsv1.StatefulSet {
		status.ObservedGeneration = 2
		return &appsv1.StatefulSet{ObjectMeta: seen, Spec: appsv1.StatefulSetSpec{Replicas: &three, UpdateStrategy: update}, Status: status}
	}
	daemonSet := func(update appsv1.DaemonSetUpdateStrategyType, status appsv1.DaemonSetStatus) *appsv1.DaemonSet {
		status.ObservedGeneration, status.DesiredNumberScheduled = 2, 3
		return &appsv1.DaemonSet{ObjectMeta: seen, Spec: appsv1.DaemonSetSpec{UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: update}}, Status: status}
	}
	partition := appsv1.StatefulSetUpdateStrategy{RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{Partition: &two}}
	late := []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded"}}
	paused := appsv1.DeploymentSpec{Paused: true}
	for name, test := range map[string]struct {
		object client.Object
		want   rollout
	}{
		"not seen":               {&appsv1.Deployment{ObjectMeta: seen}, unseen},
		"not seen, StatefulSet":  {&appsv1.StatefulSet{ObjectMeta: seen}, unseen},
		"not seen, DaemonSet":    {&appsv1.DaemonSet{ObjectMeta: seen}, unseen},
		"done":                   {deployment(appsv1.DeploymentSpec{}, appsv1.DeploymentStatus{UpdatedReplicas: 3, Replicas: 3, AvailableReplicas: 3}), rollout{updated: 3}},
		"some updated":           {deployment(appsv1.DeploymentSpec{}, appsv1.DeploymentStatus{UpdatedReplicas: 1, Replicas: 4, AvailableReplicas: 3}), rollout{1, "1 of 3 pods are updated", ""}},
		"old ones left":          {deployment(appsv1.DeploymentSpec{}, appsv1.DeploymentStatus{UpdatedReplicas: 3, Replicas: 4, AvailableReplicas: 4}), rollout{3, "1 pods of before are still there", ""}},
		"one not available":      {deployment(appsv1.DeploymentSpec{}, appsv1.DeploymentStatus{UpdatedReplicas: 3, Replicas: 3, AvailableReplicas: 2}), rollout{3, "2 of 3 pods are available", ""}},
		"late":                   {deployment(appsv1.DeploymentSpec{}, appsv1.DeploymentStatus{UpdatedReplicas: 1, Replicas: 4, AvailableReplicas: 3, Conditions: late}), rollout{1, "1 of 3 pods are updated, ProgressDeadlineExceeded", ""}},
		"late once":              {deployment(appsv1.DeploymentSpec{}, appsv1.DeploymentStatus{UpdatedReplicas: 3, Replicas: 3, AvailableReplicas: 3, Conditions: late}), rollout{updated: 3}},
		"paused":                 {deployment(paused, appsv1.DeploymentStatus{Replicas: 3, AvailableReplicas: 3}), rollout{0, "", "it is paused"}},
		"paused half way":        {deployment(paused, appsv1.DeploymentStatus{UpdatedReplicas: 3, Replicas: 4, AvailableReplicas: 4}), rollout{3, "", "it is paused"}},
		"paused, none to update": {deployment(paused, appsv1.DeploymentStatus{UpdatedReplicas: 3, Replicas: 3, AvailableReplicas: 3}), rollout{updated: 3}},

		"StatefulSet done":         {statefulSet(appsv1.StatefulSetUpdateStrategy{}, appsv1.StatefulSetStatus{UpdatedReplicas: 3, AvailableReplicas: 3}), rollout{updated: 3}},
		"StatefulSet some updated": {statefulSet(appsv1.StatefulSetUpdateStrategy{}, appsv1.StatefulSetStatus{UpdatedReplicas: 1, AvailableReplicas: 2}), rollout{1, "1 of 3 pods are updated", ""}},
		"StatefulSet available":    {statefulSet(appsv1.StatefulSetUpdateStrategy{}, appsv1.StatefulSetStatus{UpdatedReplicas: 3, AvailableReplicas: 2}), rollout{3, "2 of 3 pods are available", ""}},
		"partition, under way":     {statefulSet(partition, appsv1.StatefulSetStatus{AvailableReplicas: 3}), rollout{0, "0 of 1 pods are updated", ""}},
		"partition, done":          {statefulSet(partition, appsv1.StatefulSetStatus{UpdatedReplicas: 1, AvailableReplicas: 3}), rollout{1, "", "its partition, 2, keeps pods as they are"}},
		"StatefulSet OnDelete": {statefulSet(appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType},
			appsv1.StatefulSetStatus{UpdatedReplicas: 1, AvailableReplicas: 2}), rollout{1, "", onDelete}},

		"DaemonSet done":         {daemonSet("", appsv1.DaemonSetStatus{UpdatedNumberScheduled: 3, NumberAvailable: 3}), rollout{updated: 3}},
		"DaemonSet some updated": {daemonSet("", appsv1.DaemonSetStatus{UpdatedNumberScheduled: 1, NumberAvailable: 3}), rollout{1, "1 of 3 pods are updated", ""}},
		"DaemonSet available":    {daemonSet("", appsv1.DaemonSetStatus{UpdatedNumberScheduled: 3, NumberAvailable: 1}), rollout{3, "1 of 3 pods are available", ""}},
		"DaemonSet OnDelete":     {daemonSet(appsv1.OnDeleteDaemonSetStrategyType, appsv1.DaemonSetStatus{UpdatedNumberScheduled: 1, NumberAvailable: 3}), rollout{1, "", onDelete}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := rolloutOf(test.object); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}
