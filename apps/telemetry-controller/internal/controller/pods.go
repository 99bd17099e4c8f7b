package controller

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// pods are those of a namespace that have not ended and are not about to, by each of their labels: going through all of them
// for each workload would take too long with thousands. They are the cache's own: nobody may change them.
type pods struct {
	all     []*corev1.Pod
	byLabel map[[2]string][]*corev1.Pod
}

// podsOf reads the pods of a namespace.
func podsOf(ctx context.Context, c client.Reader, namespace string) (pods, error) {
	var list corev1.PodList
	if err := c.List(ctx, &list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return pods{}, err
	}
	p := pods{byLabel: make(map[[2]string][]*corev1.Pod)}
	for i := range list.Items {
		pod := &list.Items[i]
		if !pod.DeletionTimestamp.IsZero() || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		p.all = append(p.all, pod)
		for key, value := range pod.Labels {
			p.byLabel[[2]string{key, value}] = append(p.byLabel[[2]string{key, value}], pod)
		}
	}
	return p, nil
}

// of returns those of a workload.
func (p pods) of(w workload) []*corev1.Pod {
	selector, err := metav1.LabelSelectorAsSelector(w.pods)
	if err != nil {
		return nil // the API server lets no workload have such a one
	}
	some := p.all
	for key, value := range w.pods.MatchLabels {
		if fewer := p.byLabel[[2]string{key, value}]; len(fewer) < len(some) {
			some = fewer
		}
	}
	var chosen []*corev1.Pod
	for _, pod := range some {
		if selector.Matches(labels.Set(pod.Labels)) {
			chosen = append(chosen, pod)
		}
	}
	return chosen
}
