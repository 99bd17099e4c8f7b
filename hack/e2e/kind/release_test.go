//go:build e2e

package kind

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linktrail/linktrail/hack/e2e/doors"
)

const (
	root = "../../.."
	// flagsVariable holds what helm is told beside the README's command: where images are.
	flagsVariable = "HELM_IMAGE_FLAGS"
)

func TestMain(m *testing.M) {
	if err := cluster(); err != nil {
		fmt.Fprintf(os.Stderr, "e2e: there is no cluster to install on: %v\n`make e2e` makes one; or let KUBECONFIG name yours.\n", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func cluster() error {
	if _, err := exec.LookPath("helm"); err != nil {
		return err
	}
	output, err := exec.Command("kubectl", "--request-timeout", "60s", "get", "--raw", "/readyz").CombinedOutput()
	if err != nil {
		return fmt.Errorf("kubectl: %w\n%s", err, output)
	}
	return nil
}

// run runs a command in the root of the tree; it must succeed within ten minutes. It returns what it prints.
func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	out, err := try(env, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func try(env []string, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = root, append(os.Environ(), env...), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.String(), nil
}

// release is linktrail in a namespace of its own.
type release struct {
	namespace string
	values    []string // --set values beyond the images
	notes     string
}

// newRelease makes the namespace, which admits only what pod security "restricted" lets in. It goes with the test.
func newRelease(t *testing.T) *release {
	t.Helper()
	suffix := make([]byte, 3)
	_, err := rand.Read(suffix)
	must(t, err)
	r := &release{namespace: "linktrail-e2e-" + hex.EncodeToString(suffix)}
	run(t, nil, "kubectl", "create", "namespace", r.namespace)
	t.Cleanup(func() {
		r.dumpFailed(t)
		run(t, nil, "kubectl", "delete", "namespace", r.namespace, "--timeout", "5m")
		// The CRD outlives its release: the next one is to install its own, unless another has objects of it.
		owner, _ := try(nil, "kubectl", "get", "crd", definition, "-o", `jsonpath={.metadata.annotations.meta\.helm\.sh/release-namespace}`)
		if objects, err := try(nil, "kubectl", "get", definition, "--all-namespaces", "-o", "name"); err == nil && objects == "" && owner == r.namespace {
			run(t, nil, "kubectl", "delete", "crd", definition, "--timeout", "1m")
		}
	})
	run(t, nil, "kubectl", "label", "namespace", r.namespace, "pod-security.kubernetes.io/enforce=restricted")
	return r
}

// part is a sub-test, of which a file tells what the cluster was like when it failed.
func (r *release) part(t *testing.T, name string, do func(*testing.T)) {
	t.Run(name, func(t *testing.T) {
		t.Cleanup(func() { r.dumpFailed(t) })
		do(t)
	})
}

// dumpFailed writes what a person would look at first, if the test failed.
func (r *release) dumpFailed(t *testing.T) {
	if !t.Failed() {
		return
	}
	var text strings.Builder
	add := func(args ...string) {
		out, err := r.tryKubectl(args...)
		fmt.Fprintln(&text, "$ kubectl", strings.Join(args, " "))
		fmt.Fprintln(&text, out, err)
	}
	add("get", "all,pvc", "-o", "wide")
	add("get", "events", "--sort-by", ".lastTimestamp")
	names, _ := r.tryKubectl("get", "pods", "-o", "name")
	for _, pod := range strings.Fields(names) {
		add("logs", pod, "--all-containers", "--prefix", "--tail", "100")
		add("logs", pod, "--all-containers", "--prefix", "--tail", "30", "--previous")
	}
	folder := filepath.Join(root, "bin", "e2e")
	must(t, os.MkdirAll(folder, 0o755))
	name := filepath.Join(folder, strings.NewReplacer("/", ".", "'", "").Replace(t.Name())+".txt")
	must(t, os.WriteFile(name, []byte(text.String()), 0o644))
	t.Logf("what the cluster is like: %s", name)
}

func (r *release) tryKubectl(args ...string) (string, error) {
	return try(nil, "kubectl", append([]string{"--namespace", r.namespace}, args...)...)
}

func (r *release) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return run(t, nil, "kubectl", append([]string{"--namespace", r.namespace}, args...)...)
}

// shell runs a line as a user types it; helm works in the release's namespace.
func (r *release) shell(t *testing.T, line string) string {
	t.Helper()
	return run(t, []string{"HELM_NAMESPACE=" + r.namespace}, "sh", "-euc", line)
}

// documented is the README's command for a checkout.
func documented(t *testing.T) string {
	t.Helper()
	const readme = root + "/charts/linktrail/README.md"
	text, err := os.ReadFile(readme)
	must(t, err)
	line := regexp.MustCompile("`(helm install linktrail charts/linktrail[^`]*)`").FindSubmatch(text)
	if line == nil {
		t.Fatalf("%s says no more how to install from a checkout", readme)
	}
	return string(line[1])
}

// install runs the README's command, with image values added.
func (r *release) install(t *testing.T) {
	t.Helper()
	out := r.shell(t, documented(t)+" "+os.Getenv(flagsVariable))
	_, notes, ok := strings.Cut(out, "NOTES:\n")
	if !ok {
		t.Fatalf("helm install shows no notes:\n%s", out)
	}
	r.notes = notes
}

// upgrade sets further values, and waits until all pods have them.
func (r *release) upgrade(t *testing.T, values ...string) {
	t.Helper()
	r.set(t, values...)
	r.settle(t)
}

// set sets further values.
func (r *release) set(t *testing.T, values ...string) {
	t.Helper()
	r.values = append(r.values, values...)
	line := "helm upgrade linktrail charts/linktrail " + os.Getenv(flagsVariable)
	for _, value := range r.values {
		line += " --set " + value
	}
	r.shell(t, line)
}

// settle waits until every pod is there and ready, and no other: old ones have sent their clicks and ended.
func (r *release) settle(t *testing.T) {
	t.Helper()
	for _, workload := range strings.Fields(r.kubectl(t, "get", "deployments,statefulsets", "-o", "name")) {
		r.kubectl(t, "rollout", "status", workload, "--timeout", "8m")
	}
	// What the workloads say of their pods may be a moment old.
	want := make(map[string]int)
	var workloads struct {
		Items []struct {
			Metadata metadata
			Spec     struct{ Replicas int }
		}
	}
	must(t, json.Unmarshal([]byte(r.kubectl(t, "get", "deployments,statefulsets", "-o", "json")), &workloads))
	for _, workload := range workloads.Items {
		if n := workload.Spec.Replicas; n > 0 {
			want[workload.Metadata.app()] += n
		}
	}
	doors.Eventually(t, "all pods are ready", func() error {
		ready := make(map[string]int)
		for _, pod := range r.allPods(t) {
			if pod.Metadata.DeletionTimestamp != nil {
				return fmt.Errorf("%s has not ended", pod.Metadata.Name)
			}
			if pod.ready() {
				ready[pod.Metadata.app()]++
			}
		}
		if !maps.Equal(ready, want) {
			return fmt.Errorf("%v are, want %v", ready, want)
		}
		return nil
	})
}

// told is the line of NOTES that contains a text.
func (r *release) told(t *testing.T, text string) string {
	t.Helper()
	for line := range strings.Lines(r.notes) {
		if strings.Contains(line, text) {
			return strings.TrimSpace(line)
		}
	}
	t.Fatalf("NOTES says nothing of %q:\n%s", text, r.notes)
	return ""
}

// apiKey is what NOTES' command reads.
func (r *release) apiKey(t *testing.T) string {
	t.Helper()
	return r.shell(t, r.told(t, "KEY=$(")+`; printf %s "$KEY"`)
}

var portArgument = regexp.MustCompile(` (\d+)\b`)

// forward runs a port-forward of NOTES until the test ends, and returns the addresses by port. They are any that are free,
// since the usual ones may be taken.
func (r *release) forward(t *testing.T, line string) map[string]string {
	t.Helper()
	args := strings.Fields(portArgument.ReplaceAllString(line, " :$1"))
	cmd := exec.Command(args[0], args[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	lines, opened, ended := make(chan string), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			select {
			case lines <- scanner.Text():
			case <-opened: // a line a connection follows, and kubectl waits for whoever reads them
			}
		}
	}()
	defer close(opened)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		_ = cmd.Wait() // it was killed
	})
	addresses := make(map[string]string)
	deadline := time.After(doors.Patience)
	for want := len(portArgument.FindAllString(line, -1)); len(addresses) < want; {
		select {
		case line := <-lines: // Forwarding from 127.0.0.1:40001 -> 8080
			if fields := strings.Fields(line); len(fields) == 5 && strings.HasPrefix(fields[2], "127.0.0.1:") {
				addresses[fields[4]] = "http://" + fields[2]
			}
		case <-ended:
			t.Fatalf("%s ended: %s", line, stderr.Bytes())
		case <-deadline:
			t.Fatalf("%s opened only %v", line, addresses)
		}
	}
	return addresses
}

// doors are url-api's, by NOTES' port-forward.
func (r *release) doors(t *testing.T) doors.Doors {
	t.Helper()
	forwarded := r.forward(t, r.told(t, "port-forward service/url-api"))
	return doors.Doors{Door: forwarded["8080"], API: forwarded["8081"], Key: r.apiKey(t)}
}

// jaeger is Jaeger's address, likewise.
func (r *release) jaeger(t *testing.T) string {
	t.Helper()
	return r.forward(t, r.told(t, "port-forward service/jaeger"))["16686"]
}

type metadata struct {
	Name              string
	UID               string
	Labels            map[string]string
	DeletionTimestamp *string
}

// app is the name of the app or server that it is for.
func (m metadata) app() string { return m.Labels["app.kubernetes.io/name"] }

// pod is what the tests look at of one.
type pod struct {
	Metadata metadata
	Spec     struct {
		ServiceAccountName           string
		AutomountServiceAccountToken *bool
		Volumes                      []struct {
			Projected struct {
				Sources []struct{ ServiceAccountToken *struct{} }
			}
		}
	}
	Status struct {
		Conditions            []struct{ Type, Status string }
		InitContainerStatuses []containerStatus
		ContainerStatuses     []containerStatus
	}
}

type containerStatus struct {
	Name         string
	RestartCount int
	LastState    json.RawMessage
}

func (p pod) ready() bool {
	for _, condition := range p.Status.Conditions {
		if condition.Type == "Ready" {
			return condition.Status == "True"
		}
	}
	return false
}

// pods are those of an app that are not being deleted, of all apps when app is empty.
func (r *release) pods(t *testing.T, app string) []pod {
	t.Helper()
	return slices.DeleteFunc(r.allPods(t), func(p pod) bool {
		return p.Metadata.DeletionTimestamp != nil || app != "" && p.Metadata.app() != app
	})
}

// allPods are also those that are being deleted.
func (r *release) allPods(t *testing.T) []pod {
	t.Helper()
	var list struct{ Items []pod }
	must(t, json.Unmarshal([]byte(r.kubectl(t, "get", "pods", "-o", "json")), &list))
	return list.Items
}

// get reads an address.
func get(address string) (string, error) {
	client := http.Client{Timeout: 10 * time.Second}
	res, err := client.Get(address)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	var body bytes.Buffer
	_, err = body.ReadFrom(res.Body)
	return body.String(), err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
