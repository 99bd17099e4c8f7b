//go:build e2e

package cluster

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
)

// status is what `telemetry status --output json` prints of an object.
type status struct {
	Namespace, Name, Endpoint, Ratio, Ready, Reason, Pods string
	Deleted                                               bool
	Workloads                                             []struct {
		Kind, Name, Ratio, Hash string
		Until                   *time.Time
		Done, Pending, Unknown  int
		ConflictsWith           string `json:"conflicts_with"`
	}
}

// status reads an object by the command, whose exit code must be this one.
func (h *house) status(code int, name string) status {
	h.t.Helper()
	var shown struct{ Telemetries []status }
	text := h.want(code, "status", name, "--output", "json").stdout
	if err := json.Unmarshal([]byte(text), &shown); err != nil || len(shown.Telemetries) != 1 {
		h.t.Fatalf("%v\n%s", err, text)
	}
	return shown.Telemetries[0]
}

func TestStatus(t *testing.T) {
	h := MustHouse(t)
	if text := h.want(3, "status").stderr; !strings.Contains(text, "there is no Telemetry in namespace "+h.namespace) {
		t.Errorf("without objects it says %q", text)
	}
	h.Deployment("url-api", "linktrail")
	pods := []*pod{h.Pod("url-api", "url-api-1"), h.Pod("url-api", "url-api-2")}
	h.Telemetry("default", "linktrail")
	h.Observed("default")
	want := func(pods, ready, reason string) func(code int) {
		return func(code int) {
			t.Helper()
			eventually(t, func() error {
				if got := h.Get("default").Status.Pods; got != pods {
					return fmt.Errorf("pods are %s, want %s", got, pods)
				}
				return nil
			})
			s := h.status(code, "default")
			if s.Namespace != h.namespace || s.Name != "default" || s.Endpoint != "jaeger:4317" || s.Ratio != "0.1" || s.Ready != ready ||
				s.Reason != reason || s.Pods != pods || len(s.Workloads) != 1 {
				t.Errorf("status is %+v", s)
			}
		}
	}
	t.Run("OK pods that have not followed are exit code 7", func(*testing.T) {
		pods[0].follows.Store(true)
		want("1/2", "False", "PodsPending")(7)
	})
	t.Run("OK delivered", func(t *testing.T) {
		pods[1].follows.Store(true)
		want("2/2", "True", "Succeeded")(0)
		table := h.want(0, "status").stdout
		hash := h.Get("default").Status.Workloads[0].Hash[:8]
		for _, piece := range []string{"TELEMETRY ", "default ", "jaeger:4317", "2/2", "WORKLOAD ", "Deployment/url-api", hash} {
			if !strings.Contains(table, piece) {
				t.Errorf("no %q in\n%s", piece, table)
			}
		}
		// What the exit code is depends on the other tests' namespaces.
		if all, _ := h.command("status", "--all-namespaces").Output(); !strings.Contains(string(all), h.namespace+"/default ") {
			t.Errorf("all namespaces are\n%s", all)
		}
	})
	t.Run("OK two objects on one workload", func(t *testing.T) {
		h.Telemetry("other", "linktrail")
		eventually(t, func() error {
			if s := h.status(7, "default"); s.Reason != "Conflict" || s.Workloads[0].ConflictsWith != "other" {
				return fmt.Errorf("status is %+v", s)
			}
			return nil
		})
		must(t, api.Delete(t.Context(), &v1alpha1.Telemetry{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "other"}}))
	})
	t.Run("OK the controller is away", func(t *testing.T) {
		eventually(t, func() error {
			if s := h.Get("default").Status; s.Pods != "2/2" || s.Conditions[0].Status != "True" {
				return fmt.Errorf("status is %+v", s)
			}
			return nil
		})
		h.stop()
		h.Change("default", func(s *v1alpha1.TelemetrySpec) { s.Sampling.Ratio = "0.5" })
		if s := h.status(7, "default"); s.Ready != "Unknown" || s.Reason != "NotObserved" || s.Ratio != "0.5" {
			t.Errorf("what the status says of an earlier spec counts: %+v", s)
		}
	})
	t.Run("ErrNotFound", func(t *testing.T) {
		if text := h.want(3, "status", "nothing").stderr; !strings.Contains(text, `no Telemetry "nothing" in namespace `+h.namespace) {
			t.Errorf("it says %q", text)
		}
	})
}

func TestWatch(t *testing.T) {
	h := MustHouse(t)
	h.Deployment("url-api", "linktrail")
	p := h.Pod("url-api", "url-api-1")
	h.Telemetry("default", "linktrail")
	h.Observed("default")
	cut, by := newWire(t)
	lines, objects := start(t, h.command("status", "--watch", "--kubeconfig", by)), start(t, h.command("status", "--watch", "--output", "json"))

	lines.says(&lines.stdout, h.namespace+"/default Deployment/url-api: ratio 0.1, hash ")
	lines.says(&lines.stdout, "0 done, 1 pending")
	p.follows.Store(true)
	lines.says(&lines.stdout, "1 done, 0 pending")
	lines.says(&lines.stdout, "ready True: Succeeded: 1 pods")
	h.Change("default", func(s *v1alpha1.TelemetrySpec) { s.Exporter.Endpoint = "other:4317" })
	lines.says(&lines.stdout, "spans to other:4317, ratio 0.1, ready True")

	t.Run("OK the API server is away for a while", func(*testing.T) {
		cut.cut()
		lines.says(&lines.stderr, "does not answer")
		h.Change("default", func(s *v1alpha1.TelemetrySpec) { s.Sampling.Ratio = "0.75" })
		cut.open()
		lines.says(&lines.stderr, "answers again")
		lines.says(&lines.stdout, "Deployment/url-api: ratio 0.75")
	})
	must(t, api.Delete(t.Context(), h.Get("default")))
	lines.says(&lines.stdout, "is deleted")
	objects.says(&objects.stdout, `"deleted":true`)
	if code := lines.interrupt(); code != 0 {
		t.Errorf("exit code %d after Ctrl-C", code)
	}
	if code := objects.interrupt(); code != 0 {
		t.Errorf("exit code %d after Ctrl-C", code)
	}
	var first, s status
	decoder, n := json.NewDecoder(strings.NewReader(objects.stdout.String())), 0
	for ; decoder.More(); n++ {
		s = status{}
		must(t, decoder.Decode(&s))
		if n == 0 {
			first = s
		}
	}
	if first.Ratio != "0.1" || first.Deleted || s.Ratio != "0.75" || !s.Deleted || n != strings.Count(objects.stdout.String(), "\n") {
		t.Errorf("JSON is\n%s", &objects.stdout)
	}
}

// TestCompletion has a shell ask.
func TestCompletion(t *testing.T) {
	h := MustHouse(t)
	h.Deployment("url-api", "linktrail")
	h.Telemetry("default", "linktrail")
	h.Observed("default")
	for what, want := range map[string]string{"status": "default\n", "boost": "url-api\n"} {
		c := exec.Command(filepath.Join(binaries, "linktrail"), "__complete", "telemetry", what, "--kubeconfig", kubeconfig, "--namespace", h.namespace, "")
		out, err := c.Output()
		if err != nil || !strings.HasPrefix(string(out), want) {
			t.Errorf("%s is completed with %q, %v", what, out, err)
		}
	}
}

// TestErrors has what a person finds first: the cluster is not there, or does not let him.
func TestErrors(t *testing.T) {
	h := MustHouse(t)
	h.Deployment("url-api", "linktrail")
	h.Telemetry("default", "linktrail")
	h.Observed("default")
	folder := t.TempDir()
	nobody, err := kubeconfigOf(server, folder, "nobody")
	must(t, err)
	reader, err := kubeconfigOf(server, folder, "reader")
	must(t, err)
	role := metav1.ObjectMeta{Namespace: h.namespace, Name: "reader"}
	must(t, api.Create(t.Context(), &rbacv1.Role{ObjectMeta: role, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"telemetries"}, Verbs: []string{"list", "watch"}}}}))
	must(t, api.Create(t.Context(), &rbacv1.RoleBinding{ObjectMeta: role, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "reader"}}}))
	away, by := newWire(t)
	away.cut()

	for name, c := range map[string]struct {
		code  int
		tells string
		args  []string
	}{
		"OK reader":        {0, "", []string{"status", "default", "--kubeconfig", reader}},
		"ErrForbidden":     {4, "a role that may list and watch telemetries", []string{"status", "--kubeconfig", nobody}},
		"ErrMayNotPatch":   {4, `User "reader" cannot patch`, []string{"boost", "url-api", "--kubeconfig", reader}},
		"ErrAway":          {5, away.address, []string{"status", "--kubeconfig", by}},
		"ErrWatchAway":     {5, away.address, []string{"status", "--watch", "--kubeconfig", by}},
		"ErrNoKubeconfig":  {2, "--kubeconfig or KUBECONFIG", []string{"status", "--kubeconfig="}},
		"ErrFile":          {2, "/nowhere", []string{"status", "--kubeconfig", "/nowhere"}},
		"ErrContext":       {2, "kubectl config get-contexts", []string{"status", "--context", "elsewhere"}},
		"ErrRatio":         {2, "--ratio 1.5 is not 0 to 1", []string{"boost", "url-api", "--ratio", "1.5"}},
		"ErrDigits":        {2, "up to six digits", []string{"boost", "url-api", "--ratio", "0.1234567"}},
		"ErrFor":           {2, "--for 0s", []string{"boost", "url-api", "--for", "0"}},
		"ErrEndFor":        {2, "--end and --for", []string{"boost", "url-api", "--end", "--for", "1m"}},
		"ErrWatchYAML":     {2, "--output yaml", []string{"status", "--watch", "--output", "yaml"}},
		"ErrEverywhere":    {2, "--all-namespaces and --namespace", []string{"status", "-A"}},
		"ErrTwoNames":      {2, "one NAME", []string{"status", "a", "b"}},
		"ErrOtherSpace":    {3, "no Telemetry in namespace default", []string{"boost", "url-api", "--namespace", "default"}},
		"ErrNoSuchThing":   {3, `no Telemetry "nothing"`, []string{"boost", "url-api", "--telemetry", "nothing"}},
		"ErrNoSuchService": {3, `selects no workload "url-ap", but url-api`, []string{"boost", "url-ap"}},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := h.command(c.args...)
			if name == "ErrNoKubeconfig" {
				cmd.Env = []string{"HOME=" + folder}
			}
			if name == "ErrOtherSpace" {
				cmd.Args = cmd.Args[:len(cmd.Args)-2]
			}
			if text := want(t, c.code, cmd).stderr; !strings.Contains(text, c.tells) {
				t.Errorf("it does not tell %q: %s", c.tells, text)
			}
		})
	}
}

// TestNoController asks an API server that does not know the objects.
func TestNoController(t *testing.T) {
	bare := environment()
	_, err := bare.Start()
	must(t, err)
	t.Cleanup(func() { must(t, bare.Stop()) })
	admin, err := kubeconfigOf(bare, t.TempDir(), "admin", "system:masters")
	must(t, err)
	for _, args := range [][]string{{"status"}, {"status", "default"}, {"status", "--watch"}, {"boost", "url-api"}, {"boost", "url-api", "--end"}} {
		c := exec.Command(filepath.Join(binaries, "linktrail"), append(append([]string{"telemetry"}, args...), "--kubeconfig", admin)...)
		if text := want(t, 3, c).stderr; !strings.Contains(text, "no telemetry controller in this cluster; install charts/telemetry-controller") {
			t.Errorf("%v says %q", args, text)
		}
	}
}
