//go:build e2e

package controller_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
	"github.com/linktrail/linktrail/apps/telemetry-controller/internal/controller"
	"github.com/linktrail/linktrail/internal/telemetry"
)

// Telemetry makes an object that selects all that is part of linktrail, and sends to jaeger:4317.
func (h *house) Telemetry(name string, change func(*v1alpha1.TelemetrySpec)) *v1alpha1.Telemetry {
	h.t.Helper()
	object := &v1alpha1.Telemetry{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: name}, Spec: v1alpha1.TelemetrySpec{
		Selector: metav1.LabelSelector{MatchLabels: map[string]string{"app.kubernetes.io/part-of": "linktrail"}},
		Exporter: v1alpha1.Exporter{Endpoint: "jaeger:4317"},
	}}
	if change != nil {
		change(&object.Spec)
	}
	must(h.t, api.Create(h.t.Context(), object))
	return object
}

// Change changes the spec of an object.
func (h *house) Change(name string, change func(*v1alpha1.TelemetrySpec)) {
	h.t.Helper()
	var object v1alpha1.Telemetry
	h.Get(name, &object)
	before := object.DeepCopy()
	change(&object.Spec)
	must(h.t, api.Patch(h.t.Context(), &object, client.MergeFrom(before)))
}

// Deployment makes a workload of one pod, with nothing but a container. Its own controller has nothing to do any more.
func (h *house) Deployment(name string, changes ...func(*appsv1.DeploymentSpec)) *appsv1.Deployment {
	h.t.Helper()
	selector := map[string]string{"app": name}
	object := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: name, Labels: map[string]string{"app.kubernetes.io/part-of": "linktrail"}},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: selector},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: selector}, Spec: podSpec(0)},
		},
	}
	for _, change := range changes {
		change(&object.Spec)
	}
	must(h.t, api.Create(h.t.Context(), object))
	h.Rolled(name)
	h.Get(name, object)
	return object
}

// mounts has a Deployment mount its overlay as linktrail's chart does.
func mounts(name string) func(*appsv1.DeploymentSpec) {
	return func(s *appsv1.DeploymentSpec) { s.Template.Spec = mounting(name) }
}

func mounting(name string) corev1.PodSpec {
	spec := podSpec(0)
	spec.Volumes = []corev1.Volume{{Name: "telemetry", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: name + "-telemetry"}}}},
	}}}}
	spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "telemetry", MountPath: controller.OverlayPath}}
	return spec
}

// Rolling says of a Deployment what its own controller would: how many pods are of the present template, and how many of
// the one before; all are available.
func (h *house) Rolling(name string, updated, before int32) {
	h.t.Helper()
	undisturbed(h.t, func() error {
		var object appsv1.Deployment
		h.Get(name, &object)
		object.Status = appsv1.DeploymentStatus{
			ObservedGeneration: object.Generation, UpdatedReplicas: updated, Replicas: updated + before,
			ReadyReplicas: updated + before, AvailableReplicas: updated + before,
		}
		return api.Status().Update(h.t.Context(), &object)
	})
}

// undisturbed reads and writes an object again when the controller has written it in between.
func undisturbed(t *testing.T, change func() error) {
	t.Helper()
	must(t, retry.RetryOnConflict(retry.DefaultBackoff, change))
}

// Rolled says of a Deployment that its pods are of the present template.
func (h *house) Rolled(name string) {
	h.t.Helper()
	h.Rolling(name, 1, 0)
}

// Unselect takes the labels off a Deployment.
func (h *house) Unselect(name string) {
	h.t.Helper()
	var object appsv1.Deployment
	h.Get(name, &object)
	before := object.DeepCopy()
	object.Labels = nil
	must(h.t, api.Patch(h.t.Context(), &object, client.MergeFrom(before)))
}

// Stamped waits until a Deployment's pod template is annotated with the hash of its present overlay, which it returns.
func (h *house) Stamped(name string) string {
	h.t.Helper()
	var hash string
	eventually(h.t, func() error {
		hash = hashOf(h.Overlay(name, nil))
		if got := h.Template(name).Annotations[controller.HashAnnotation]; got != hash {
			return fmt.Errorf("the template of %s is annotated with %q, want %q", name, got, hash)
		}
		return nil
	})
	return hash
}

// Template returns the pod template of a Deployment.
func (h *house) Template(name string) corev1.PodTemplateSpec {
	h.t.Helper()
	var object appsv1.Deployment
	h.Get(name, &object)
	return object.Spec.Template
}

// Workload waits until an object's status has a workload with a reason and a message that contains, and returns it.
func (h *house) Workload(object, name, reason, message string) (status v1alpha1.WorkloadStatus) {
	h.t.Helper()
	eventually(h.t, func() error {
		var now v1alpha1.Telemetry
		h.Get(object, &now)
		for _, status = range now.Status.Workloads {
			if status.Name == name && status.Reason == reason && strings.Contains(status.Message, message) {
				return nil
			}
		}
		return fmt.Errorf("no %s with %s and %q in %+v", name, reason, message, now.Status.Workloads)
	})
	return status
}

// Followed waits until an object's status says how many pods have followed, as in 1/2.
func (h *house) Followed(name, want string) {
	h.t.Helper()
	eventually(h.t, func() error {
		var now v1alpha1.Telemetry
		h.Get(name, &now)
		if now.Status.Pods != want {
			return fmt.Errorf("%s pods have followed, want %s: %+v", now.Status.Pods, want, now.Status)
		}
		return nil
	})
}

// hashOf is the hash of an overlay without headers.
func hashOf(config *corev1.ConfigMap) string {
	return telemetry.OverlayHash([]byte(config.Data[telemetry.OverlayFile]), nil)
}

func podSpec(ops int32) corev1.PodSpec {
	container := corev1.Container{Name: "service", Image: "service"}
	if ops > 0 {
		container.Ports = []corev1.ContainerPort{{Name: "ops", ContainerPort: ops}}
	}
	return corev1.PodSpec{Containers: []corev1.Container{container}}
}

// pod is one that runs, as far as the API server knows, with an ops listener here.
type pod struct {
	*corev1.Pod
	report atomic.Pointer[map[string]any] // what it says; nil has it answer with an error
	asked  atomic.Int64                   // how often it was asked
}

// Pod makes a pod of a workload. The hash, where there is one, is what its template was annotated with.
func (h *house) Pod(workload, name string, hash ...string) *pod {
	h.t.Helper()
	p := new(pod)
	p.Report("")
	ops := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked.Add(1)
		report := p.report.Load()
		if r.URL.Path != "/telemetry" || report == nil {
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		_ = json.NewEncoder(w).Encode(*report)
	}))
	h.t.Cleanup(ops.Close)
	ip, port, err := net.SplitHostPort(ops.Listener.Addr().String())
	must(h.t, err)
	number, err := strconv.ParseInt(port, 10, 32)
	must(h.t, err)
	p.Pod = &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: name, Labels: map[string]string{"app": workload}},
		Spec:       podSpec(int32(number)),
	}
	for _, hash := range hash {
		p.Annotations = map[string]string{controller.HashAnnotation: hash}
	}
	must(h.t, api.Create(h.t.Context(), p.Pod))
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip}
	must(h.t, api.Status().Update(h.t.Context(), p.Pod))
	return p
}

// Report has the pod report a hash from now on.
func (p *pod) Report(hash string) { p.Say(map[string]any{"hash": hash}) }

// Say has the pod answer so from now on; nil has it answer with an error.
func (p *pod) Say(report map[string]any) {
	if report == nil {
		p.report.Store(nil)
		return
	}
	p.report.Store(&report)
}

// Ready has the pod be ready.
func (p *pod) Ready(t *testing.T) {
	t.Helper()
	must(t, api.Get(t.Context(), client.ObjectKeyFromObject(p.Pod), p.Pod))
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	must(t, api.Status().Update(t.Context(), p.Pod))
}

// Get reads an object of the namespace.
func (h *house) Get(name string, into client.Object) {
	h.t.Helper()
	must(h.t, api.Get(h.t.Context(), client.ObjectKey{Namespace: h.namespace, Name: name}, into))
}

// Gone waits until an object of the namespace is not there.
func (h *house) Gone(name string, object client.Object) {
	h.t.Helper()
	eventually(h.t, func() error {
		err := api.Get(h.t.Context(), client.ObjectKey{Namespace: h.namespace, Name: name}, object)
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("%s is still there: %w", name, err)
		}
		return nil
	})
}

// Overlay waits until a workload's ConfigMap satisfies, and returns it.
func (h *house) Overlay(workload string, satisfies func(*corev1.ConfigMap) error) *corev1.ConfigMap {
	h.t.Helper()
	config := new(corev1.ConfigMap)
	eventually(h.t, func() error {
		if err := api.Get(h.t.Context(), client.ObjectKey{Namespace: h.namespace, Name: workload + "-telemetry"}, config); err != nil {
			return err
		}
		if satisfies == nil {
			return nil
		}
		return satisfies(config)
	})
	return config
}

// Condition waits until an object has a condition with a reason, and returns the object.
func (h *house) Condition(name, kind string, status metav1.ConditionStatus, reason string) *v1alpha1.Telemetry {
	h.t.Helper()
	object := new(v1alpha1.Telemetry)
	eventually(h.t, func() error {
		h.Get(name, object)
		got := meta.FindStatusCondition(object.Status.Conditions, kind)
		if got == nil || got.Status != status || got.Reason != reason || got.ObservedGeneration != object.Generation {
			return fmt.Errorf("%s is %+v, want %s for %s; status %+v", kind, got, status, reason, object.Status)
		}
		return nil
	})
	return object
}
