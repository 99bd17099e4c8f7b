//go:build e2e

package chartest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

const (
	root      = "../.."
	namespace = "linktrail"
)

const (
	assetsVariable  = "KUBEBUILDER_ASSETS"
	strimziVariable = "LINKTRAIL_STRIMZI_CRDS"
)

// Where the definitions of custom resources are that projects ship within their Go modules: those that the charts use.
// Strimzi's are in its release only, so a variable of the environment says where they are.
var definitions = []struct {
	module string
	files  []string
}{
	{"github.com/prometheus-operator/prometheus-operator@v0.85.0", []string{
		"example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
		"example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
		"example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
	}},
	{"github.com/kedacore/keda/v2@v2.21.0", []string{
		"config/crd/bases/keda.sh_scaledobjects.yaml",
		"config/crd/bases/keda.sh_triggerauthentications.yaml",
	}},
	{"sigs.k8s.io/gateway-api@v1.3.0", []string{"config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"}},
}

// server is there for all tests, once it is there.
var server apiServer

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	os.Exit(withServer(m))
}

// withServer runs the tests with kube-apiserver and etcd.
func withServer(m *testing.M) int {
	stop, err := server.start()
	if err != nil {
		fmt.Fprintln(os.Stderr, "chartest:", err)
		return 1
	}
	code := m.Run()
	if err := stop(); err != nil {
		fmt.Fprintln(os.Stderr, "chartest: stop kube-apiserver and etcd:", err)
		return 1
	}
	return code
}

func TestAPIServerTakesEveryManifest(t *testing.T) {
	charts, err := filepath.Glob(filepath.Join(root, "charts/*/Chart.yaml"))
	if err != nil || len(charts) == 0 {
		t.Fatalf("no charts: %v", err)
	}
	for _, file := range charts {
		chart := filepath.Dir(file)
		t.Run(filepath.Base(chart), func(t *testing.T) {
			run(t, root, "hack/charts", "deps", filepath.Base(chart))
			for _, values := range valuesOf(t, chart) {
				t.Run(strings.TrimSuffix(filepath.Base(values), ".yaml"), func(t *testing.T) {
					for _, object := range manifests(t, chart, values) {
						if err := server.apply(t.Context(), object); err != nil {
							t.Errorf("%s %s: %v", object.GetKind(), object.GetName(), err)
						}
						if err := server.admit(t.Context(), object); err != nil {
							t.Errorf("%s %s: its pod: %v", object.GetKind(), object.GetName(), err)
						}
					}
				})
			}
		})
	}
}

// What the server must refuse, or the test above says nothing.
func TestAPIServerRefuses(t *testing.T) {
	for name, manifest := range map[string]string{
		"a field that is not there":        `{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80}], selectors: {a: b}}}`,
		"brokers counted in the Kafka":     `{apiVersion: kafka.strimzi.io/v1, kind: Kafka, metadata: {name: a}, spec: {kafka: {replicas: 1, listeners: [{name: tls, port: 9093, type: internal, tls: true}]}}}`,
		"an ACL with one operation":        `{apiVersion: kafka.strimzi.io/v1, kind: KafkaUser, metadata: {name: a}, spec: {authorization: {type: simple, acls: [{resource: {type: topic, name: a}, operation: Read}]}}}`,
		"a monitor of a port by its digit": `{apiVersion: monitoring.coreos.com/v1, kind: PodMonitor, metadata: {name: a}, spec: {selector: {}, podMetricsEndpoints: [{port: 80}]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			if err := server.apply(t.Context(), decode(t, []byte(manifest))[0]); err == nil {
				t.Error("it was applied")
			}
		})
	}
	t.Run("a pod that may be root", func(t *testing.T) {
		pod := decode(t, []byte(`{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a, image: a}]}}`))[0]
		if err := server.admit(t.Context(), pod); err == nil || !strings.Contains(err.Error(), "restricted") {
			t.Errorf("it was not refused for its security: %v", err)
		}
	})
}

type apiServer struct {
	client.Client
	kubeconfig string // a file
}

// patience is how long the server may take to start, and to take a definition. These are large, and the machine may be busy.
const patience = 3 * time.Minute

// start starts kube-apiserver and etcd with the definitions of custom resources, and returns how to stop them.
func (s *apiServer) start() (stop func() error, err error) {
	for variable, what := range map[string]string{
		assetsVariable:  "the folder of kube-apiserver and etcd",
		strimziVariable: "the file or folder of Strimzi's custom resource definitions",
	} {
		if os.Getenv(variable) == "" {
			return nil, fmt.Errorf("%s does not name %s; `hack/charts validate` gets it and runs these tests", variable, what)
		}
	}
	paths := []string{os.Getenv(strimziVariable)}
	for _, d := range definitions {
		folder, err := moduleFolder(d.module)
		if err != nil {
			return nil, err
		}
		for _, file := range d.files {
			paths = append(paths, filepath.Join(folder, file))
		}
	}
	environment := &envtest.Environment{
		ErrorIfCRDPathMissing:    true,
		CRDInstallOptions:        envtest.CRDInstallOptions{Paths: paths, MaxTime: patience},
		ControlPlaneStartTimeout: patience,
		ControlPlaneStopTimeout:  patience,
	}
	config, err := environment.Start()
	if err != nil {
		return nil, fmt.Errorf("start kube-apiserver and etcd of %s: %w", os.Getenv(assetsVariable), err)
	}
	end := environment.Stop
	if s.Client, err = client.New(config, client.Options{}); err != nil {
		return nil, errors.Join(err, end())
	}
	if s.kubeconfig, err = kubeconfig(environment); err != nil {
		return nil, errors.Join(err, end())
	}
	restricted := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: namespace, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}}
	if err := s.Create(context.Background(), restricted); err != nil {
		return nil, errors.Join(err, end())
	}
	return func() error { return errors.Join(end(), os.RemoveAll(filepath.Dir(s.kubeconfig))) }, nil
}

// kubeconfig writes a file by which helm may do all, in a folder of its own, and returns its name.
func kubeconfig(environment *envtest.Environment) (string, error) {
	admin, err := environment.AddUser(envtest.User{Name: "helm", Groups: []string{"system:masters"}}, nil)
	if err != nil {
		return "", err
	}
	content, err := admin.KubeConfig()
	if err != nil {
		return "", err
	}
	folder, err := os.MkdirTemp("", "chartest")
	if err != nil {
		return "", err
	}
	file := filepath.Join(folder, "kubeconfig")
	return file, os.WriteFile(file, content, 0o600)
}

// apply has the server check an object as server-side apply does, which is always strict about fields.
func (s apiServer) apply(ctx context.Context, object *unstructured.Unstructured) error {
	object = object.DeepCopy()
	namespaced, err := s.IsObjectNamespaced(object)
	if err != nil {
		return err
	}
	if namespaced {
		object.SetNamespace(namespace)
	}
	return s.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("chartest"), client.DryRunAll)
}

// admit has the server admit the pod that an object is or makes, if there is one.
func (s apiServer) admit(ctx context.Context, object *unstructured.Unstructured) error {
	var path []string
	switch object.GetKind() {
	case "Pod":
		path = []string{"spec"}
	case "Deployment", "StatefulSet", "DaemonSet", "Job":
		path = []string{"spec", "template", "spec"}
	case "CronJob":
		path = []string{"spec", "jobTemplate", "spec", "template", "spec"}
	default:
		return nil
	}
	spec, _, err := unstructured.NestedMap(object.Object, path...)
	if err != nil {
		return err
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "admitted", Namespace: namespace}}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(spec, &pod.Spec); err != nil {
		return err
	}
	// StatefulSets give their pods volumes of their own.
	claims, _, err := unstructured.NestedSlice(object.Object, "spec", "volumeClaimTemplates")
	if err != nil {
		return err
	}
	for _, claim := range claims {
		name, _, _ := unstructured.NestedString(claim.(map[string]any), "metadata", "name")
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	}
	return s.Create(ctx, pod, client.DryRunAll)
}

// valuesOf are the files of values that a chart is tried with: its defaults first.
func valuesOf(t *testing.T, chart string) []string {
	t.Helper()
	files := []string{filepath.Join(chart, "values.yaml")}
	for _, pattern := range []string{"values-*.yaml", "ci/*-values.yaml"} {
		more, err := filepath.Glob(filepath.Join(chart, pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, more...)
	}
	return files
}

func manifests(t *testing.T, chart, values string) []*unstructured.Unstructured {
	t.Helper()
	chart, values = strings.TrimPrefix(chart, root+"/"), strings.TrimPrefix(values, root+"/")
	return decode(t, run(t, root, "hack/tools/run", "helm", "template", "linktrail", chart, "--namespace", namespace, "--values", values))
}

func decode(t *testing.T, text []byte) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
		object := &unstructured.Unstructured{}
		switch err := decoder.Decode(&object.Object); {
		case errors.Is(err, io.EOF):
			return objects
		case err != nil:
			t.Fatal(err)
		case len(object.Object) > 0:
			objects = append(objects, object)
		}
	}
}

// moduleFolder has Go fetch a module, and returns where it put it.
func moduleFolder(module string) (string, error) {
	command := exec.Command("go", "mod", "download", "-json", module)
	command.Dir = os.TempDir()      // outside of this module, whose go.sum stays as it is
	output, err := command.Output() // it says also in its output what went wrong
	if err != nil {
		return "", fmt.Errorf("fetch %s: %w\n%s", module, err, output)
	}
	var fetched struct{ Dir string }
	if err := json.Unmarshal(output, &fetched); err != nil {
		return "", fmt.Errorf("fetch %s: %w", module, err)
	}
	return fetched.Dir, nil
}

func run(t *testing.T, dir, name string, arguments ...string) []byte {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, arguments...)
	command.Dir = dir
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		t.Fatal(fmt.Errorf("%s: %w\n%s", command, err, stderr.Bytes()))
	}
	return output
}
