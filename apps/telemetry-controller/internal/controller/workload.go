package controller

import (
	"context"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
)

// workload is a Deployment, a StatefulSet or a DaemonSet. It is the cache's own: nobody may change it.
type workload struct {
	client.Object
	kind string
	pods *metav1.LabelSelector
}

// overlayName is the name of the ConfigMap and of the Secret that hold a workload's overlay; its chart mounts them by it.
func (w workload) overlayName() string { return w.GetName() + "-telemetry" }

// workloads returns those of a namespace that a selector chooses, by kind and name; an empty one chooses none.
func workloads(ctx context.Context, c client.Reader, namespace string, selector *metav1.LabelSelector) ([]workload, error) {
	if len(selector.MatchLabels) == 0 && len(selector.MatchExpressions) == 0 {
		return nil, nil
	}
	chosen, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return nil, userError{v1alpha1.ConditionConfigApplied, v1alpha1.ReasonInvalidSelector, err}
	}
	opts := []client.ListOption{client.InNamespace(namespace), client.MatchingLabelsSelector{Selector: chosen}, client.UnsafeDisableDeepCopy}
	var found []workload
	var deployments appsv1.DeploymentList
	if err := c.List(ctx, &deployments, opts...); err != nil {
		return nil, err
	}
	for i := range deployments.Items {
		found = append(found, workload{&deployments.Items[i], "Deployment", deployments.Items[i].Spec.Selector})
	}
	var statefulSets appsv1.StatefulSetList
	if err := c.List(ctx, &statefulSets, opts...); err != nil {
		return nil, err
	}
	for i := range statefulSets.Items {
		found = append(found, workload{&statefulSets.Items[i], "StatefulSet", statefulSets.Items[i].Spec.Selector})
	}
	var daemonSets appsv1.DaemonSetList
	if err := c.List(ctx, &daemonSets, opts...); err != nil {
		return nil, err
	}
	for i := range daemonSets.Items {
		found = append(found, workload{&daemonSets.Items[i], "DaemonSet", daemonSets.Items[i].Spec.Selector})
	}
	slices.SortFunc(found, func(a, b workload) int {
		if c := strings.Compare(a.kind, b.kind); c != 0 {
			return c
		}
		return strings.Compare(a.GetName(), b.GetName())
	})
	return found, nil
}

// selects reports whether a selector chooses an object of these labels; one that is not valid or empty chooses none.
func selects(selector *metav1.LabelSelector, of map[string]string) bool {
	if len(selector.MatchLabels) == 0 && len(selector.MatchExpressions) == 0 {
		return false
	}
	chosen, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && chosen.Matches(labels.Set(of))
}
