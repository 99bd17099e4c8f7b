//go:build linux

package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	"github.com/linktrail/linktrail/hack/testenv/process"
	"github.com/linktrail/linktrail/internal/telemetry"
)

const (
	// definitions is the folder of the CRD, seen from the repository's root.
	definitions = "charts/telemetry-controller/files"
	// groupLabel of a workload says which of the Telemetry objects selects it.
	groupLabel = "bench"
	// opsPort is that of linktrail's services.
	opsPort = "6060"
	// makers is how many objects are made at once.
	makers = 16
	// fleetDeadline is how long anything of the controller may take.
	fleetDeadline = 3 * time.Minute
)

var telemetryKind = schema.GroupVersionKind{Group: "telemetry.linktrail.io", Version: "v1alpha1", Kind: "Telemetry"}

//go:embed workload.yaml
var workloadYAML []byte

// cluster is a kube-apiserver and an etcd. Nothing else of Kubernetes runs: pods are objects.
type cluster struct {
	dir         string
	environment *envtest.Environment
	config      *rest.Config
	client      client.Client
	kubeconfig  string // the controller's
}

// assets returns the folder of kube-apiserver and etcd.
func assets(ctx context.Context) (string, error) {
	folder := os.Getenv("KUBEBUILDER_ASSETS")
	if folder == "" {
		command := exec.CommandContext(ctx, "hack/charts", "assets")
		command.Stderr = os.Stderr
		out, err := command.Output()
		if err != nil {
			return "", fmt.Errorf("no kube-apiserver and etcd: let KUBEBUILDER_ASSETS name a folder that has them; or leave the controller out with -controller='': %w", err)
		}
		folder = strings.TrimSpace(string(out))
	}
	for _, name := range []string{"kube-apiserver", "etcd"} {
		if _, err := exec.LookPath(filepath.Join(folder, name)); err != nil {
			return "", fmt.Errorf("KUBEBUILDER_ASSETS: %s is not there or cannot be run: let it name a folder that has kube-apiserver and etcd; or leave the controller out with -controller=''", filepath.Join(folder, name))
		}
	}
	return folder, nil
}

// newCluster starts one that knows the CRD. close ends it, also when newCluster has failed.
func newCluster(ctx context.Context) (*cluster, error) {
	log.SetLogger(logr.Discard())
	c := &cluster{}
	folder, err := assets(ctx)
	if err != nil {
		return c, err
	}
	if c.dir, err = os.MkdirTemp("", "linktrail-bench-cluster-"); err != nil {
		return c, err
	}
	c.environment = &envtest.Environment{
		BinaryAssetsDirectory: folder, CRDDirectoryPaths: []string{definitions}, ErrorIfCRDPathMissing: true,
		ControlPlaneStartTimeout: process.StartDeadline, ControlPlaneStopTimeout: process.StopDeadline,
	}
	if c.config, err = c.environment.Start(); err != nil {
		return c, err
	}
	c.config.QPS = -1 // nothing waits before it asks
	if c.client, err = client.New(c.config, client.Options{}); err != nil {
		return c, err
	}
	return c, c.makeUser(ctx)
}

// makeUser makes a service account's identity for the controller, as which the API server treats it no better than any. What
// it may do is not measured: it may do all.
func (c *cluster) makeUser(ctx context.Context) error {
	const name = "system:serviceaccount:bench:telemetry-controller"
	user, err := c.environment.AddUser(envtest.User{Name: name, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:bench"}}, c.config)
	if err != nil {
		return err
	}
	text, err := user.KubeConfig()
	if err != nil {
		return err
	}
	c.kubeconfig = filepath.Join(c.dir, "kubeconfig")
	if err := os.WriteFile(c.kubeconfig, text, 0o600); err != nil {
		return err
	}
	return c.client.Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "bench"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}},
	})
}

func (c *cluster) close() (err error) {
	if c.environment != nil {
		err = c.environment.Stop()
	}
	if c.dir != "" {
		err = errors.Join(err, os.RemoveAll(c.dir))
	}
	return err
}

// fleet is a namespace with workloads, each with one pod, and what is to be seen of their overlays.
type fleet struct {
	*cluster
	size
	namespace  string
	bytes      int    // of a Deployment and its pod, as JSON
	deployment string // the first one's name
	ops        *http.Server
	watching   func()

	mu       sync.Mutex
	overlays map[string]string                     // the endpoint in each ConfigMap, by its name
	hashes   map[string]string                     // what a workload's pod reports, by the ConfigMap's name
	objects  map[string]*unstructured.Unstructured // the Telemetry objects, by name
}

// newFleet makes workloads and their pods. close ends it, also when newFleet has failed.
func (c *cluster) newFleet(ctx context.Context, of size) (*fleet, error) {
	f := &fleet{
		cluster: c, size: of, namespace: fmt.Sprintf("bench-%d-%d", of.workloads, of.groups),
		overlays: make(map[string]string), hashes: make(map[string]string), objects: make(map[string]*unstructured.Unstructured),
	}
	if err := c.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: f.namespace}}); err != nil {
		return f, err
	}
	if err := f.serveOps(); err != nil {
		return f, err
	}
	if err := f.watch(ctx); err != nil {
		return f, err
	}
	making, ctx := errgroup.WithContext(ctx)
	making.SetLimit(makers)
	for i := range of.workloads {
		making.Go(func() error { return f.makeWorkload(ctx, i) })
	}
	return f, making.Wait()
}

func (f *fleet) close() error {
	if f.watching != nil {
		f.watching()
	}
	if f.ops == nil {
		return nil
	}
	return f.ops.Close()
}

func workloadName(i int) string { return fmt.Sprintf("workload-%04d", i) }
func podIP(i int) string        { return fmt.Sprintf("127.1.%d.%d", i/250, i%250+1) }
func overlayName(i int) string  { return workloadName(i) + "-telemetry" }
func group(i int) string        { return fmt.Sprintf("group-%02d", i) }

// template returns the Deployment and the pod's status that all workloads are made of.
func template() (d appsv1.Deployment, s corev1.PodStatus, err error) {
	deployment, status, ok := bytes.Cut(workloadYAML, []byte("\n---\n"))
	if !ok {
		return d, s, errors.New("workload.yaml has one document")
	}
	return d, s, errors.Join(yaml.UnmarshalStrict(deployment, &d), yaml.UnmarshalStrict(status, &s))
}

// makeWorkload makes a Deployment and a pod of it that runs, as far as the API server knows.
func (f *fleet) makeWorkload(ctx context.Context, i int) error {
	d, status, err := template()
	if err != nil {
		return err
	}
	d.Namespace, d.Name = f.namespace, workloadName(i)
	d.Labels[groupLabel] = group(i % f.groups)
	d.Spec.Selector.MatchLabels["app.kubernetes.io/name"] = d.Name
	d.Spec.Template.Labels["app.kubernetes.io/name"] = d.Name
	for _, v := range d.Spec.Template.Spec.Volumes {
		if v.Projected != nil {
			v.Projected.Sources[0].ConfigMap.Name, v.Projected.Sources[1].Secret.Name = overlayName(i), overlayName(i)
		}
	}
	if err := f.client.Create(ctx, &d); err != nil {
		return err
	}
	pod := corev1.Pod{ObjectMeta: *d.Spec.Template.ObjectMeta.DeepCopy(), Spec: *d.Spec.Template.Spec.DeepCopy()}
	pod.Namespace, pod.Name = f.namespace, d.Name+"-6c4f9d7b5-x2x7k"
	pod.Spec.NodeName = "node"
	if err := f.client.Create(ctx, &pod); err != nil {
		return err
	}
	pod.Status = status
	pod.Status.PodIP = podIP(i)
	pod.Status.PodIPs = []corev1.PodIP{{IP: pod.Status.PodIP}}
	if err := f.client.Status().Update(ctx, &pod); err != nil {
		return err
	}
	if i > 0 {
		return nil
	}
	f.deployment = d.Name
	for _, object := range []any{d, pod} {
		text, err := json.Marshal(object)
		if err != nil {
			return err
		}
		f.bytes += len(text)
	}
	return nil
}

// serveOps serves /telemetry of all pods, each at its own address. A pod reports what its workload's ConfigMap holds: the
// kubelet's time and the service's are not in what is measured.
func (f *fleet) serveOps() error {
	names := make(map[string]string, f.workloads)
	for i := range f.workloads {
		names[net.JoinHostPort(podIP(i), opsPort)] = overlayName(i)
	}
	f.ops = &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, ok := names[r.Host]
		if !ok || r.URL.Path != "/telemetry" {
			http.NotFound(w, r)
			return
		}
		f.mu.Lock()
		hash := f.hashes[name]
		f.mu.Unlock()
		_ = json.NewEncoder(w).Encode(map[string]string{"hash": hash})
	})}
	for address := range names {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		go func() { _ = f.ops.Serve(l) }() // until close, which closes l
	}
	return nil
}

// watch follows the ConfigMaps and the Telemetry objects.
func (f *fleet) watch(ctx context.Context) error {
	seen, err := cache.New(f.config, cache.Options{DefaultNamespaces: map[string]cache.Config{f.namespace: {}}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = seen.Start(ctx) }) // it ends with ctx
	f.watching = func() { cancel(); running.Wait() }
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(telemetryKind)
	for _, kind := range []client.Object{&corev1.ConfigMap{}, object} {
		informer, err := seen.GetInformer(ctx, kind)
		if err != nil {
			return err
		}
		if _, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc: f.note, UpdateFunc: func(_, now any) { f.note(now) }, DeleteFunc: f.forget,
		}); err != nil {
			return err
		}
	}
	if !seen.WaitForCacheSync(ctx) {
		return context.Cause(ctx)
	}
	return nil
}

func (f *fleet) note(object any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch o := object.(type) {
	case *corev1.ConfigMap:
		text := []byte(o.Data[telemetry.OverlayFile])
		block, _ := telemetry.OverlayBlock(text)
		endpoint, _ := block["Endpoint"].(string)
		f.overlays[o.Name], f.hashes[o.Name] = endpoint, telemetry.OverlayHash(text, nil)
	case *unstructured.Unstructured:
		f.objects[o.GetName()] = o
	}
}

func (f *fleet) forget(object any) {
	if gone, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
		object = gone.Obj
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch o := object.(type) {
	case *corev1.ConfigMap:
		delete(f.overlays, o.Name)
		delete(f.hashes, o.Name)
	case *unstructured.Unstructured:
		delete(f.objects, o.GetName())
	}
}

// until returns when is returns nil, which is called with what was seen.
func (f *fleet) until(ctx context.Context, is func() error) error {
	ctx, cancel := context.WithTimeout(ctx, fleetDeadline)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		f.mu.Lock()
		err := is()
		f.mu.Unlock()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// applied returns nil when all workloads have an overlay with this endpoint, and all objects say that what they want now is
// applied.
func (f *fleet) applied(endpoint string) error {
	right := 0
	for _, is := range f.overlays {
		if is == endpoint {
			right++
		}
	}
	if right != f.workloads {
		return fmt.Errorf("%d of %d ConfigMaps have %s", right, f.workloads, endpoint)
	}
	return f.all("ConfigApplied")
}

// all returns nil when all objects have a condition, of what they want now.
func (f *fleet) all(condition string) error {
	for i := range f.groups {
		object := f.objects[group(i)]
		if object == nil {
			return fmt.Errorf("Telemetry %s has not been seen", group(i))
		}
		if err := hasCondition(object, condition); err != nil {
			return err
		}
	}
	return nil
}

// hasCondition returns nil when an object has a condition, of what it wants now.
func hasCondition(object *unstructured.Unstructured, condition string) error {
	list, _, err := unstructured.NestedSlice(object.Object, "status", "conditions")
	if err != nil {
		return err
	}
	for _, item := range list {
		fields, _ := item.(map[string]any)
		if fields["type"] != condition {
			continue
		}
		if fields["status"] == "True" && fields["observedGeneration"] == object.GetGeneration() {
			return nil
		}
		return fmt.Errorf("%s of Telemetry %s is %v for %v and generation %v of %d: %v", condition, object.GetName(),
			fields["status"], fields["reason"], fields["observedGeneration"], object.GetGeneration(), fields["message"])
	}
	return fmt.Errorf("Telemetry %s has no %s", object.GetName(), condition)
}

// object is a Telemetry of a name that selects a group's workloads.
func (f *fleet) object(name, selected, endpoint string) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"selector": map[string]any{"matchLabels": map[string]any{groupLabel: selected}},
		"exporter": map[string]any{"endpoint": endpoint},
		"sampling": map[string]any{"ratio": "0.1"},
	}}}
	object.SetGroupVersionKind(telemetryKind)
	object.SetNamespace(f.namespace)
	object.SetName(name)
	return object
}

// tellAll makes the Telemetry objects, or has them send to another endpoint.
func (f *fleet) tellAll(ctx context.Context, endpoint string) error {
	for i := range f.groups {
		object := f.object(group(i), group(i), endpoint)
		err := f.client.Create(ctx, object)
		if err == nil {
			continue
		}
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
		patch := fmt.Appendf(nil, `{"spec":{"exporter":{"endpoint":%q}}}`, endpoint)
		if err := f.client.Patch(ctx, object, client.RawPatch(types.MergePatchType, patch)); err != nil {
			return err
		}
	}
	return nil
}

// clear deletes the Telemetry objects and, since nothing here collects garbage, what they own.
func (f *fleet) clear(ctx context.Context) error {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(telemetryKind)
	for _, kind := range []client.Object{object, &corev1.ConfigMap{}} {
		if err := f.client.DeleteAllOf(ctx, kind, client.InNamespace(f.namespace)); err != nil {
			return err
		}
	}
	return f.until(ctx, func() error {
		if left := len(f.objects) + len(f.overlays); left > 0 {
			return fmt.Errorf("%d objects are left", left)
		}
		return nil
	})
}
