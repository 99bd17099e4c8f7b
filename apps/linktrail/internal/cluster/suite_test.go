//go:build e2e

package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/telemetry"
)

const (
	// definitions is the folder of the CRD, in the controller's chart.
	definitions = "../../../../charts/telemetry-controller/files"
	// deadline is how long anything may take: the machine may be busy.
	deadline = time.Minute
)

var (
	scheme     = runtime.NewScheme()
	binaries   string // the folder of linktrail and telemetry-controller
	server     *envtest.Environment
	api        client.Client // may do anything
	kubeconfig string        // whose user may do anything
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	code, err := withServer(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

// environment is kube-apiserver and etcd, which KUBEBUILDER_ASSETS names, with the CRDs of folders.
func environment(folders ...string) *envtest.Environment {
	return &envtest.Environment{
		CRDDirectoryPaths: folders, ErrorIfCRDPathMissing: true,
		ControlPlaneStartTimeout: 3 * time.Minute, ControlPlaneStopTimeout: time.Minute,
		CRDInstallOptions: envtest.CRDInstallOptions{MaxTime: time.Minute},
	}
}

func withServer(m *testing.M) (code int, err error) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return 0, errors.New("KUBEBUILDER_ASSETS does not name the folder of kube-apiserver and etcd; `hack/charts validate` gets it and runs these tests")
	}
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return 0, err
	}
	server = environment(definitions)
	host, err := server.Start()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	if api, err = client.New(host, client.Options{Scheme: scheme}); err != nil {
		return 0, err
	}
	folder, err := os.MkdirTemp("", "linktrail-cluster-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	if kubeconfig, err = kubeconfigOf(server, folder, "admin", "system:masters"); err != nil {
		return 0, err
	}
	return testenv.WithCommands(m, &binaries, "../..", "../../../telemetry-controller"), nil
}

// kubeconfigOf writes a kubeconfig for a user of some groups, and returns its path.
func kubeconfigOf(server *envtest.Environment, folder, user string, groups ...string) (string, error) {
	added, err := server.AddUser(envtest.User{Name: user, Groups: groups}, nil)
	if err != nil {
		return "", err
	}
	content, err := added.KubeConfig()
	if err != nil {
		return "", err
	}
	path := filepath.Join(folder, user)
	return path, os.WriteFile(path, content, 0o600)
}

// house is a namespace with a telemetry controller of its own.
type house struct {
	t         *testing.T
	namespace string
	stop      func() // ends the controller
}

// MustHouse makes a namespace and starts a controller for it.
func MustHouse(t *testing.T) *house {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "cluster-"}}
	must(t, api.Create(t.Context(), namespace))
	h := &house{t: t, namespace: namespace.Name}
	c := exec.Command(filepath.Join(binaries, "telemetry-controller"), "-namespace", h.namespace, "-leader-elect=false",
		"-metrics-bind-address", "0", "-health-probe-bind-address", "0")
	var log output
	c.Env, c.Stdout, c.Stderr = append(os.Environ(), "KUBECONFIG="+kubeconfig), &log, &log
	must(t, c.Start())
	h.stop = func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		_ = c.Wait()
		h.stop = func() {}
	}
	t.Cleanup(func() {
		h.stop()
		if t.Failed() {
			t.Logf("the controller said:\n%s", &log)
		}
	})
	return h
}

// Telemetry makes an object that selects all that is part of a thing, and sends to jaeger:4317.
func (h *house) Telemetry(name, part string, overrides ...v1alpha1.Override) {
	h.t.Helper()
	must(h.t, api.Create(h.t.Context(), &v1alpha1.Telemetry{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: name}, Spec: v1alpha1.TelemetrySpec{
		Selector: metav1.LabelSelector{MatchLabels: map[string]string{"app.kubernetes.io/part-of": part}},
		Exporter: v1alpha1.Exporter{Endpoint: "jaeger:4317"},
		Sampling: v1alpha1.Sampling{Ratio: "0.1", Overrides: overrides},
	}}))
}

// Get reads a Telemetry.
func (h *house) Get(name string) *v1alpha1.Telemetry {
	h.t.Helper()
	object := new(v1alpha1.Telemetry)
	must(h.t, api.Get(h.t.Context(), client.ObjectKey{Namespace: h.namespace, Name: name}, object))
	return object
}

// Change changes the spec of a Telemetry.
func (h *house) Change(name string, change func(*v1alpha1.TelemetrySpec)) {
	h.t.Helper()
	object := h.Get(name)
	before := object.DeepCopy()
	change(&object.Spec)
	must(h.t, api.Patch(h.t.Context(), object, client.MergeFrom(before)))
}

// Observed waits until the controller has looked at all of a Telemetry.
func (h *house) Observed(name string) *v1alpha1.Telemetry {
	h.t.Helper()
	var object *v1alpha1.Telemetry
	eventually(h.t, func() error {
		if object = h.Get(name); object.Status.ObservedGeneration != object.Generation {
			return fmt.Errorf("generation %d is observed, not %d", object.Status.ObservedGeneration, object.Generation)
		}
		return nil
	})
	return object
}

// Deployment makes a workload that is part of a thing.
func (h *house) Deployment(name, part string) {
	h.t.Helper()
	selector := map[string]string{"app": name}
	must(h.t, api.Create(h.t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: name, Labels: map[string]string{"app.kubernetes.io/part-of": part}},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: selector},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: selector}, Spec: podSpec(0)},
		},
	}))
}

func podSpec(ops int32) corev1.PodSpec {
	container := corev1.Container{Name: "service", Image: "service"}
	if ops > 0 {
		container.Ports = []corev1.ContainerPort{{Name: "ops", ContainerPort: ops}}
	}
	return corev1.PodSpec{Containers: []corev1.Container{container}}
}

// pod is one that runs, as far as the API server knows, with an ops listener here that reads its ConfigMap as a pod would.
type pod struct {
	follows atomic.Bool // else it reports that nothing is in force
}

// Pod makes a pod of a workload.
func (h *house) Pod(workload, name string) *pod {
	h.t.Helper()
	p := new(pod)
	ops := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hash := ""
		if p.follows.Load() {
			var config corev1.ConfigMap
			if err := api.Get(r.Context(), client.ObjectKey{Namespace: h.namespace, Name: workload + "-telemetry"}, &config); err == nil {
				hash = telemetry.OverlayHash([]byte(config.Data[telemetry.OverlayFile]), nil)
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"hash": hash})
	}))
	h.t.Cleanup(ops.Close)
	ip, port, err := net.SplitHostPort(ops.Listener.Addr().String())
	must(h.t, err)
	number, err := strconv.ParseInt(port, 10, 32)
	must(h.t, err)
	object := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: name, Labels: map[string]string{"app": workload}},
		Spec:       podSpec(int32(number)),
	}
	must(h.t, api.Create(h.t.Context(), object))
	object.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip}
	must(h.t, api.Status().Update(h.t.Context(), object))
	return p
}

// command is `linktrail telemetry ARGS` in the namespace, not started.
func (h *house) command(args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(binaries, "linktrail"), append([]string{"telemetry"}, args...)...)
	c.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	if !slices.Contains(args, "--all-namespaces") {
		c.Args = append(c.Args, "--namespace", h.namespace)
	}
	return c
}

// result is what a command printed.
type result struct{ stdout, stderr string }

// want runs `linktrail telemetry ARGS` in the namespace, which must end with an exit code.
func (h *house) want(code int, args ...string) result {
	h.t.Helper()
	return want(h.t, code, h.command(args...))
}

// want runs a command, which must end with an exit code; an error must be one line.
func want(t *testing.T, code int, c *exec.Cmd) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil && c.ProcessState == nil {
		t.Fatal(err)
	}
	what, r := strings.Join(c.Args[1:], " "), result{stdout.String(), stderr.String()}
	if got := c.ProcessState.ExitCode(); got != code {
		t.Fatalf("%s: exit code %d, want %d\n%s%s", what, got, code, r.stdout, r.stderr)
	}
	if code != 0 && strings.Count(r.stderr, "linktrail: ") != 1 {
		t.Errorf("%s: the error is not one line:\n%s", what, r.stderr)
	}
	return r
}

// wantJSON runs a command that must succeed, and decodes what it prints.
func (h *house) wantJSON(into any, args ...string) {
	h.t.Helper()
	r := h.want(0, append(args, "--output", "json")...)
	if err := json.Unmarshal([]byte(r.stdout), into); err != nil {
		h.t.Fatalf("%v: %v\n%s", args, err, r.stdout)
	}
}

// running is a command that goes on.
type running struct {
	t              *testing.T
	cmd            *exec.Cmd
	stdout, stderr output
}

// start starts a command, which ends with the test.
func start(t *testing.T, c *exec.Cmd) *running {
	t.Helper()
	r := &running{t: t, cmd: c}
	c.Stdout, c.Stderr = &r.stdout, &r.stderr
	must(t, c.Start())
	t.Cleanup(func() {
		if c.ProcessState == nil {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	})
	return r
}

// says waits until the command has printed a text.
func (r *running) says(from *output, text string) {
	r.t.Helper()
	eventually(r.t, func() error {
		if !strings.Contains(from.String(), text) {
			return fmt.Errorf("no %q in\n%s%s", text, &r.stdout, &r.stderr)
		}
		return nil
	})
}

// interrupt presses Ctrl-C, and returns the exit code.
func (r *running) interrupt() int {
	r.t.Helper()
	must(r.t, r.cmd.Process.Signal(os.Interrupt))
	return r.end()
}

// end waits for the end, and returns the exit code.
func (r *running) end() int {
	r.t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = r.cmd.Wait()
	}()
	select {
	case <-ended:
	case <-time.After(deadline):
		_ = r.cmd.Process.Kill()
		<-ended
		r.t.Fatalf("it still runs %v later:\n%s%s", deadline, &r.stdout, &r.stderr)
	}
	return r.cmd.ProcessState.ExitCode()
}

// output collects what a process prints. Safe for concurrent use.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
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
	end := time.Now().Add(deadline)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %v: %v", deadline, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// wire is a TCP way to the API server that can be cut.
type wire struct {
	t       *testing.T
	address string
	target  string
	cut     context.CancelFunc
}

// newWire opens one, and returns a kubeconfig that goes by it.
func newWire(t *testing.T) (*wire, string) {
	t.Helper()
	content, err := os.ReadFile(kubeconfig)
	must(t, err)
	w := &wire{t: t, address: "127.0.0.1:0", target: server.ControlPlane.APIServer.HostPort()}
	w.open()
	t.Cleanup(func() { w.cut() })
	if !strings.Contains(string(content), w.target) {
		t.Fatalf("the kubeconfig does not go to %s:\n%s", w.target, content)
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	must(t, os.WriteFile(path, []byte(strings.ReplaceAll(string(content), w.target, w.address)), 0o600))
	return w, path
}

// open listens, until cut also ends what goes through.
func (w *wire) open() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var listener net.Listener
	eventually(w.t, func() (err error) {
		listener, err = net.Listen("tcp", w.address)
		return err
	})
	w.address = listener.Addr().String()
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	var all sync.WaitGroup
	all.Go(func() {
		for {
			here, err := listener.Accept()
			if err != nil {
				return
			}
			there, err := net.Dial("tcp", w.target)
			if err != nil {
				_ = here.Close()
				continue
			}
			context.AfterFunc(ctx, func() { _, _ = here.Close(), there.Close() })
			for _, pair := range [][2]net.Conn{{here, there}, {there, here}} {
				all.Go(func() {
					_, _ = pair[0].(*net.TCPConn).WriteTo(pair[1])
					_ = pair[1].Close()
				})
			}
		}
	})
	w.cut = func() {
		cancel()
		all.Wait()
	}
}
