package controller

import (
	"unique"

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
		o.Spec = corev1.PodSpec{Containers: slimPorts(o.Spec.Containers)}
		o.Status = corev1.PodStatus{Phase: o.Status.Phase, PodIP: o.Status.PodIP, Conditions: slimConditions(o.Status.Conditions)}
	case *appsv1.Deployment:
		slimMeta(&o.ObjectMeta)
		s := o.Spec
		o.Spec = appsv1.DeploymentSpec{Replicas: s.Replicas, Paused: s.Paused, Selector: s.Selector, Template: slimTemplate(o.Name, s.Template)}
		var progress []appsv1.DeploymentCondition
		for _, c := range o.Status.Conditions {
			if c.Type == appsv1.DeploymentProgressing {
				progress = append(progress, appsv1.DeploymentCondition{Type: c.Type, Status: c.Status, Reason: c.Reason})
			}
		}
		o.Status.Conditions = progress
	case *appsv1.StatefulSet:
		slimMeta(&o.ObjectMeta)
		s := o.Spec
		o.Spec = appsv1.StatefulSetSpec{Replicas: s.Replicas, UpdateStrategy: s.UpdateStrategy, Selector: s.Selector, Template: slimTemplate(o.Name, s.Template)}
		o.Status.Conditions = nil
	case *appsv1.DaemonSet:
		slimMeta(&o.ObjectMeta)
		s := o.Spec
		o.Spec = appsv1.DaemonSetSpec{UpdateStrategy: s.UpdateStrategy, Selector: s.Selector, Template: slimTemplate(o.Name, s.Template)}
		o.Status.Conditions = nil
	}
	return object, nil
}

// slimMeta leaves no annotation but ours; kubectl's holds a whole object. Labels are kept once for all that have the same.
func slimMeta(m *metav1.ObjectMeta) {
	m.Labels = shared(m.Labels)
	hash, ok := m.Annotations[HashAnnotation]
	m.Annotations, m.OwnerReferences, m.Finalizers = nil, nil, nil
	if ok {
		m.Annotations = map[string]string{HashAnnotation: hash}
	}
}

// shared is a map whose strings are kept once for all that have the same.
func shared(m map[string]string) map[string]string {
	if m == nil {
		return nil
	}
	s := make(map[string]string, len(m))
	for key, value := range m {
		s[unique.Make(key).Value()] = unique.Make(value).Value()
	}
	return s
}

// slimPorts leaves the ops port, where it is not the usual one.
func slimPorts(containers []corev1.Container) []corev1.Container {
	port := opsPortOf(containers)
	if port == opsNumber {
		return nil
	}
	return []corev1.Container{{Ports: []corev1.ContainerPort{{Name: opsPort, ContainerPort: int32(port)}}}} //nolint:gosec // it was one
}

// slimConditions leaves whether a pod is ready.
func slimConditions(conditions []corev1.PodCondition) (slim []corev1.PodCondition) {
	for _, c := range conditions {
		if c.Type == corev1.PodReady {
			slim = append(slim, corev1.PodCondition{Type: c.Type, Status: c.Status})
		}
	}
	return slim
}

// slimTemplate leaves of a workload's pod template what may be an overlay's. Where its own chart mounts the overlay, nothing
// is put into its containers, and so none is looked at but to take something out.
func slimTemplate(workload string, t corev1.PodTemplateSpec) (slim corev1.PodTemplateSpec) {
	slim.Annotations = t.Annotations
	slimMeta(&slim.ObjectMeta)
	itself, inserted := false, false
	for _, v := range t.Spec.Volumes {
		switch {
		case v.Name == OverlayVolume:
			inserted = true
		case mountsConfigMap(v, overlayNameOf(workload)):
			itself = true
		default:
			continue
		}
		slim.Spec.Volumes = append(slim.Spec.Volumes, v)
	}
	if itself && !inserted {
		return slim
	}
	for _, c := range t.Spec.Containers {
		with := corev1.Container{Name: c.Name}
		for _, m := range c.VolumeMounts {
			if m.MountPath == OverlayPath {
				with.VolumeMounts = append(with.VolumeMounts, m)
			}
		}
		slim.Spec.Containers = append(slim.Spec.Containers, with)
	}
	return slim
}
