//go:build e2e

package controller_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
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
	"github.com/linktrail/linktrail/hack/testenv"
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

// render has Helm make what the controller's chart has of rights, with those that the default object takes.
func render() (string, error) {
	helm := exec.Command("hack/tools/run", "helm", "template", "tc", "charts/telemetry-controller", "--namespace", anyNamespace,
		"--set", "default=true", "--show-only", "templates/rbac.yaml", "--show-only", "templates/admissionpolicy.yaml")
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
		Pods: h.pods, Now: h.clock.Now, Namespace: h.namespace,
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

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits until try returns nil.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	testenv.Eventually(t, patience, try)
}
