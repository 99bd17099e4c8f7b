//go:build e2e

package controller_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
	"github.com/linktrail/linktrail/apps/telemetry-controller/internal/controller"
	"github.com/linktrail/linktrail/internal/telemetry"
)

const (
	root = "../../../.."
	// definitions is the folder of the CRD, in the controller's chart.
	definitions = root + "/charts/telemetry-controller/files"
	// anyNamespace stands for a test's in what the chart makes.
	anyNamespace = "some-namespace"
)

// patience is how long anything may take: the machine may be busy.
const patience = time.Minute

var (
	scheme = runtime.NewScheme()
	host   *rest.Config
	api    client.Client // without a cache
	rights string        // what the chart has of rights, and of what fences them
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	code, err := withServer(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "controller:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

// withServer runs the tests with kube-apiserver and etcd, which KUBEBUILDER_ASSETS names.
func withServer(m *testing.M) (code int, err error) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return 0, errors.New("KUBEBUILDER_ASSETS does not name the folder of kube-apiserver and etcd; `hack/charts validate` gets it and runs these tests")
	}
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return 0, err
	}
	environment := &envtest.Environment{
		CRDDirectoryPaths: []string{definitions}, ErrorIfCRDPathMissing: true,
		ControlPlaneStartTimeout: 3 * time.Minute, ControlPlaneStopTimeout: time.Minute,
		CRDInstallOptions: envtest.CRDInstallOptions{MaxTime: time.Minute},
	}
	if host, err = environment.Start(); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, environment.Stop()) }()
	if api, err = client.New(host, client.Options{Scheme: scheme}); err != nil {
		return 0, err
	}
	if rights, err = render(); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// render has Helm make what the controller's chart has of rights.
func render() (string, error) {
	helm := exec.Command("hack/tools/run", "helm", "template", "tc", "charts/telemetry-controller", "--namespace", anyNamespace,
		"--show-only", "templates/rbac.yaml", "--show-only", "templates/admissionpolicy.yaml")
	helm.Dir = root
	var stderr strings.Builder
	helm.Stderr = &stderr
	text, err := helm.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", helm, err, stderr.String())
	}
	return string(text), nil
}

// now is the time of a test's controller, which the test may put forward, or have the controller fail for a while.
type now struct {
	forward atomic.Int64
	panics  atomic.Int64 // how often it does so from now on
}

func (n *now) Now() time.Time {
	if n.panics.Add(-1) >= 0 {
		panic("what time is it?")
	}
	return time.Now().Add(time.Duration(n.forward.Load()))
}

// house is a namespace with a controller, which has the rights of the chart and no other.
type house struct {
	t         *testing.T
	namespace string
	account   *rest.Config // the controller's
	clock     now
	pods      controller.Pods
	writes    atomic.Int64 // what the controller has written but status and events
	stop      func()
}

// MustHouse makes a namespace and starts a controller for it.
func MustHouse(t *testing.T) *house {
	t.Helper()
	h := MustEmptyHouse(t)
	h.start()
	return h
}

// MustEmptyHouse is a house whose controller has not been started.
func MustEmptyHouse(t *testing.T) *house {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "telemetry-"}}
	must(t, api.Create(t.Context(), namespace))
	h := &house{t: t, namespace: namespace.Name, pods: controller.OpsListeners{Client: &http.Client{}}, stop: func() {}}
	h.account = rest.CopyConfig(host)
	h.account.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:" + h.namespace + ":telemetry-controller",
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:" + h.namespace, "system:authenticated"},
	}
	h.entitle()
	t.Cleanup(func() { h.stop() })
	return h
}

// entitle gives the account the rights of the chart, and waits until the API server knows.
func (h *house) entitle() {
	h.t.Helper()
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(strings.ReplaceAll(rights, anyNamespace, h.namespace)), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			break
		} else {
			must(h.t, err)
		}
		if len(object.Object) == 0 {
			continue
		}
		if object.GetKind() == "Role" || object.GetKind() == "RoleBinding" {
			object.SetNamespace(h.namespace)
		} else { // it belongs to no namespace, and would be in the way of the other tests' speed
			h.t.Cleanup(func() { must(h.t, api.Delete(context.Background(), object)) })
		}
		must(h.t, api.Create(h.t.Context(), object))
	}
	controllers := h.client()
	eventually(h.t, func() error {
		return controllers.List(h.t.Context(), new(v1alpha1.TelemetryList), client.InNamespace(h.namespace))
	})
}

// client is one with the rights of the controller.
func (h *house) client() client.Client {
	h.t.Helper()
	c, err := client.New(h.account, client.Options{Scheme: scheme})
	must(h.t, err)
	return c
}

// start starts the controller; stop ends it.
func (h *house) start() {
	h.t.Helper()
	unchecked := true // the controllers of all tests have one name
	mgr, err := ctrl.NewManager(h.account, ctrl.Options{
		Scheme: scheme, Cache: controller.CacheOptions(h.namespace), Metrics: server.Options{BindAddress: "0"},
		HealthProbeBindAddress: "0", Controller: config.Controller{SkipNameValidation: &unchecked},
	})
	must(h.t, err)
	r := &controller.TelemetryReconciler{
		Client: counting{mgr.GetClient(), &h.writes}, Direct: mgr.GetAPIReader(), Events: mgr.GetEventRecorder("telemetry-controller"),
		Pods: h.pods, Now: h.clock.Now,
	}
	must(h.t, r.SetupWithManager(mgr))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	h.stop = func() {
		h.t.Helper()
		cancel()
		must(h.t, <-ended)
		h.stop = func() {}
	}
}

// counting is a client that counts what it writes.
type counting struct {
	client.Client
	writes *atomic.Int64
}

func (c counting) Apply(ctx context.Context, object runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
	c.writes.Add(1)
	return c.Client.Apply(ctx, object, opts...)
}

func (c counting) Patch(ctx context.Context, object client.Object, patch client.Patch, opts ...client.PatchOption) error {
	c.writes.Add(1)
	return c.Client.Patch(ctx, object, patch, opts...)
}

func (c counting) Delete(ctx context.Context, object client.Object, opts ...client.DeleteOption) error {
	c.writes.Add(1)
	return c.Client.Delete(ctx, object, opts...)
}

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
	var object appsv1.Deployment
	h.Get(name, &object)
	object.Status = appsv1.DeploymentStatus{
		ObservedGeneration: object.Generation, UpdatedReplicas: updated, Replicas: updated + before,
		ReadyReplicas: updated + before, AvailableReplicas: updated + before,
	}
	must(h.t, api.Status().Update(h.t.Context(), &object))
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

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits until try returns nil.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %v", patience, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
