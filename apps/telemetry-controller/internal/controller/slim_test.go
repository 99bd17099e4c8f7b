package controller

import (
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
)

// seen is all that the controller sees of a Deployment.
func seen(d *appsv1.Deployment) string {
	w := workload{d, "Deployment", d.Spec.Selector, &d.Spec.Template, deploymentRollout(d)}
	text := fmt.Sprint(w, d.UID, d.Labels, w.pods, inserted(w), touched(w), mountsItself(w), w.rollout)
	for _, injection := range []v1alpha1.Injection{v1alpha1.InjectionNone, v1alpha1.InjectionMount} {
		for _, delivery := range []v1alpha1.Delivery{v1alpha1.DeliveryReload, v1alpha1.DeliveryRollout} {
			text += fmt.Sprint(insertionFor(&v1alpha1.Telemetry{Spec: v1alpha1.TelemetrySpec{Injection: injection, Delivery: delivery}}, w, "hash"))
		}
	}
	return text
}

// TestSlim takes nothing away that the controller sees.
func TestSlim(t *testing.T) {
	own := corev1.Volume{Name: "telemetry", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: "orders-telemetry"}}}}
	other := corev1.Volume{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: "orders"}}}}
	ours := overlayVolume(workload{Object: &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "orders"}}})
	for name, volumes := range map[string][]corev1.Volume{
		"mounts nothing": {other}, "mounts it itself": {other, own}, "has it put in": {other, ours}, "both": {own, ours},
	} {
		replicas := int32(3)
		d := &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{
				Name: "orders", UID: "u", Generation: 2, Labels: map[string]string{"app": "orders"}, Annotations: map[string]string{"large": "x"},
				ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
			},
			Spec: appsv1.DeploymentSpec{
				Replicas: &replicas, Paused: true, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "orders"}},
				Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{HashAnnotation: "before", "large": "x"}},
					Spec: corev1.PodSpec{Volumes: volumes, Containers: []corev1.Container{
						{Name: "first", Image: "first", VolumeMounts: []corev1.VolumeMount{{Name: "config", MountPath: "/etc/orders"}, {Name: OverlayVolume, MountPath: OverlayPath, ReadOnly: true}}},
						{Name: "second", Image: "second"},
					}},
				},
			},
			Status: appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 3, UpdatedReplicas: 1, Conditions: []appsv1.DeploymentCondition{
				{Type: appsv1.DeploymentAvailable, Message: "large"}, {Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded"},
			}},
		}
		before := seen(d)
		if _, err := slim(d); err != nil {
			t.Fatal(err)
		}
		if after := seen(d); after != before {
			t.Errorf("%s: what is seen becomes\n%s, was\n%s", name, after, before)
		}
		if d.Annotations != nil || d.ManagedFields != nil || len(d.Spec.Template.Annotations) != 1 || len(d.Spec.Template.Spec.Volumes) != len(volumes)-map[bool]int{true: 1}[volumes[0].Name == "config"] {
			t.Errorf("%s: there is left %+v", name, d)
		}
	}

	for _, port := range []int32{opsNumber, 7070} {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{HashAnnotation: "hash", "large": "x"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "sidecar"}, {Name: "service", Ports: []corev1.ContainerPort{{Name: opsPort, ContainerPort: port}}}}},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "127.0.0.1", HostIP: "127.0.0.2", Conditions: []corev1.PodCondition{
				{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, {Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
		}
		if _, err := slim(pod); err != nil {
			t.Fatal(err)
		}
		if got := opsAddress(pod); got != fmt.Sprintf("127.0.0.1:%d", port) {
			t.Errorf("it is asked at %s, want port %d", got, port)
		}
		if !ready(pod) || pod.Status.Phase != corev1.PodRunning || pod.Status.HostIP != "" || len(pod.Annotations) != 1 || pod.Annotations[HashAnnotation] != "hash" {
			t.Errorf("there is left %+v", pod)
		}
	}
}
