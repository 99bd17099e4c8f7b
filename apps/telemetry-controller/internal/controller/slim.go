package controller

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// slim takes out of an object what the controller does not look at, before it is cached: of pods and workloads that is nearly
// all. What is left must never be written back whole.
func slim(object any) (any, error) {
	if o, ok := object.(metav1.Object); ok {
		o.SetManagedFields(nil)
	}
	switch o := object.(type) {
	case *corev1.Pod:
		slimMeta(&o.ObjectMeta)
		var ops []corev1.Container
		for _, c := range o.Spec.Containers {
			for _, p := range c.Ports {
				if p.Name == opsPort {
					ops = append(ops, corev1.Container{Ports: []corev1.ContainerPort{{Name: opsPort, ContainerPort: p.ContainerPort}}})
				}
			}
		}
		o.Spec = corev1.PodSpec{Containers: ops}
		o.Status = corev1.PodStatus{Phase: o.Status.Phase, PodIP: o.Status.PodIP}
	case *appsv1.Deployment:
		slimMeta(&o.ObjectMeta)
		o.Spec, o.Status = appsv1.DeploymentSpec{Selector: o.Spec.Selector}, appsv1.DeploymentStatus{}
	case *appsv1.StatefulSet:
		slimMeta(&o.ObjectMeta)
		o.Spec, o.Status = appsv1.StatefulSetSpec{Selector: o.Spec.Selector}, appsv1.StatefulSetStatus{}
	case *appsv1.DaemonSet:
		slimMeta(&o.ObjectMeta)
		o.Spec, o.Status = appsv1.DaemonSetSpec{Selector: o.Spec.Selector}, appsv1.DaemonSetStatus{}
	}
	return object, nil
}

// slimMeta leaves no annotation but ours; kubectl's holds a whole object.
func slimMeta(m *metav1.ObjectMeta) {
	hash, ok := m.Annotations[HashAnnotation]
	m.Annotations, m.OwnerReferences, m.Finalizers = nil, nil, nil
	if ok {
		m.Annotations = map[string]string{HashAnnotation: hash}
	}
}
