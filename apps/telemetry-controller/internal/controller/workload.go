package controller

import (
	"context"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
)

// workload is a Deployment, a StatefulSet or a DaemonSet. It is the cache's own: nobody may change it.
type workload struct {
	client.Object
	kind     string
	pods     *metav1.LabelSelector
	template *corev1.PodTemplateSpec
	rollout  rollout
}

// overlayName is the name of the ConfigMap and of the Secret that hold a workload's overlay; its chart mounts them by it.
func (w workload) overlayName() string { return overlayNameOf(w.GetName()) }

func overlayNameOf(workload string) string { return workload + "-telemetry" }

func (w workload) String() string { return w.kind + " " + w.GetName() }

// workloads returns all of a namespace, by kind and name.
func workloads(ctx context.Context, c client.Reader, namespace string) ([]workload, error) {
	opts := []client.ListOption{client.InNamespace(namespace), client.UnsafeDisableDeepCopy}
	var found []workload
	var deployments appsv1.DeploymentList
	if err := c.List(ctx, &deployments, opts...); err != nil {
		return nil, err
	}
	for i := range deployments.Items {
		d := &deployments.Items[i]
		found = append(found, workload{d, "Deployment", d.Spec.Selector, &d.Spec.Template, rolloutOf(d)})
	}
	var statefulSets appsv1.StatefulSetList
	if err := c.List(ctx, &statefulSets, opts...); err != nil {
		return nil, err
	}
	for i := range statefulSets.Items {
		s := &statefulSets.Items[i]
		found = append(found, workload{s, "StatefulSet", s.Spec.Selector, &s.Spec.Template, rolloutOf(s)})
	}
	var daemonSets appsv1.DaemonSetList
	if err := c.List(ctx, &daemonSets, opts...); err != nil {
		return nil, err
	}
	for i := range daemonSets.Items {
		d := &daemonSets.Items[i]
		found = append(found, workload{d, "DaemonSet", d.Spec.Selector, &d.Spec.Template, rolloutOf(d)})
	}
	slices.SortFunc(found, func(a, b workload) int {
		if c := strings.Compare(a.kind, b.kind); c != 0 {
			return c
		}
		return strings.Compare(a.GetName(), b.GetName())
	})
	return found, nil
}

// byName returns workloads by their name, which those of several kinds may share.
func byName(all []workload) map[string][]workload {
	named := make(map[string][]workload, len(all))
	for _, w := range all {
		named[w.GetName()] = append(named[w.GetName()], w)
	}
	return named
}

// choose returns the workloads that a selector chooses; an empty one chooses none.
func choose(all []workload, selector *metav1.LabelSelector) ([]workload, error) {
	matches, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return nil, userError{v1alpha1.ConditionConfigApplied, v1alpha1.ReasonInvalidSelector, err}
	}
	if matches.Empty() {
		return nil, nil
	}
	return slices.DeleteFunc(slices.Clone(all), func(w workload) bool { return !matches.Matches(labels.Set(w.GetLabels())) }), nil
}

// selects reports whether a selector chooses an object of these labels; one that is not valid or empty chooses none.
func selects(selector *metav1.LabelSelector, of map[string]string) bool {
	if len(selector.MatchLabels) == 0 && len(selector.MatchExpressions) == 0 {
		return false
	}
	chosen, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && chosen.Matches(labels.Set(of))
}
