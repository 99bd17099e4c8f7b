//go:build e2e

package controller_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
	"github.com/linktrail/linktrail/apps/telemetry-controller/internal/controller"
)

// definitions is the folder of the CRD, in the controller's chart.
const definitions = "../../../../charts/telemetry-controller/files"

// patience is how long anything may take: the machine may be busy.
const patience = time.Minute

var (
	scheme = runtime.NewScheme()
	host   *rest.Config
	api    client.Client // without a cache
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
	return m.Run(), nil
}

// now is the time of a test's controller, which the test may put forward.
type now struct{ forward atomic.Int64 }

func (n *now) Now() time.Time { return time.Now().Add(time.Duration(n.forward.Load())) }

// house is a namespace with a controller.
type house struct {
	t         *testing.T
	namespace string
	clock     now
	writes    atomic.Int64 // what the controller has written but status and events
	stop      func()
}

// MustHouse makes a namespace and starts a controller for it.
func MustHouse(t *testing.T) *house {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "telemetry-"}}
	must(t, api.Create(t.Context(), namespace))
	h := &house{t: t, namespace: namespace.Name}
	h.start()
	t.Cleanup(func() { h.stop() })
	return h
}

// start starts the controller; stop ends it.
func (h *house) start() {
	h.t.Helper()
	unchecked := true // the controllers of all tests have one name
	mgr, err := ctrl.NewManager(host, ctrl.Options{
		Scheme: scheme, Cache: controller.CacheOptions(h.namespace), Metrics: server.Options{BindAddress: "0"},
		HealthProbeBindAddress: "0", Controller: config.Controller{SkipNameValidation: &unchecked},
	})
	must(h.t, err)
	r := &controller.TelemetryReconciler{
		Client: counting{mgr.GetClient(), &h.writes}, Direct: mgr.GetAPIReader(), Events: mgr.GetEventRecorder("telemetry-controller"),
		Pods: controller.OpsListeners{Client: &http.Client{}}, Now: h.clock.Now,
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

// Deployment makes a workload.
func (h *house) Deployment(name string) *appsv1.Deployment {
	h.t.Helper()
	selector := map[string]string{"app": name}
	object := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: name, Labels: map[string]string{"app.kubernetes.io/part-of": "linktrail"}},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: selector},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: selector}, Spec: podSpec(0)},
		},
	}
	must(h.t, api.Create(h.t.Context(), object))
	return object
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
	Hash atomic.Pointer[string] // what it reports; nil has it answer with an error
}

// Pod makes a pod of a workload.
func (h *house) Pod(workload, name string) *pod {
	h.t.Helper()
	p := new(pod)
	p.Report("")
	ops := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hash := p.Hash.Load()
		if r.URL.Path != "/telemetry" || hash == nil {
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"hash": *hash})
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
	must(h.t, api.Create(h.t.Context(), p.Pod))
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip}
	must(h.t, api.Status().Update(h.t.Context(), p.Pod))
	return p
}

// Report has the pod report a hash from now on.
func (p *pod) Report(hash string) { p.Hash.Store(&hash) }

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
