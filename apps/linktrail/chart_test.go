package main

import (
	"encoding/base64"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/linktrail/linktrail/internal/apikey"
	"github.com/linktrail/linktrail/internal/telemetry"
)

// TestChart renders charts/linktrail with its own values and with each file of values that comes with it, and has every
// configuration file in it read by the service that it is for.
func TestChart(t *testing.T) {
	charts := mustCopyCharts(t)
	files, err := filepath.Glob(filepath.Join(charts, "linktrail", "ci", "*-values.yaml"))
	if err != nil || len(files) < 5 {
		t.Fatalf("ci has %d files of values: %v", len(files), err)
	}
	files = append(files, "", filepath.Join(charts, "linktrail", "values-production.yaml"))
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			args := []string{"template", "linktrail", filepath.Join(charts, "linktrail")}
			if file != "" {
				args = append(args, "--values", file)
			}
			checkRelease(t, mustHelm(t, args...))
		})
	}
}

// TestChartRollouts wants new pods for a changed configuration, of that service alone, and none for what is followed live.
func TestChartRollouts(t *testing.T) {
	chart := filepath.Join(mustCopyCharts(t), "linktrail")
	checksums := func(values string) map[string]string {
		sums := map[string]string{}
		for _, o := range objects(t, mustHelm(t, "template", "linktrail", chart, "--set-json", values)) {
			if sum, ok := o.Spec.Template.Metadata.Annotations["checksum/config"]; ok && o.ours() {
				sums[o.Metadata.Name] = sum
			}
		}
		return sums
	}
	before := checksums("{}")
	for values, changed := range map[string][]string{
		`{"telemetry-controller":{"enabled":false}}`: {},
		`{"telemetry-controller":{"enabled":false},"telemetry":{"overlay":{"telemetry":{"Sampler":0.5},"headers":{"a":"b"}}}}`: {},
		`{"urlApi":{"config":{"Timeout":1000}}}`: {"url-api"},
		`{"clickStream":{"driver":"kq"}}`:        {"analytics-consumer", "url-api"},
		`{"telemetry":{"sampler":0.5}}`:          {"analytics-consumer", "analytics-rpc", "url-api"},
	} {
		got := []string{}
		for name, sum := range checksums(values) {
			if before[name] != sum {
				got = append(got, name)
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(changed, got); diff != "" || len(before) != 3 {
			t.Errorf("%s makes new pods, of %d services, of (-want +got):\n%s", values, len(before), diff)
		}
	}
}

// object is what these tests read of a manifest.
type object struct {
	Kind     string
	Metadata struct {
		Name   string
		Labels map[string]string
	}
	Data       map[string]string
	StringData map[string]string
	Spec       struct {
		Template struct {
			Metadata struct{ Annotations map[string]string }
			Spec     struct{ InitContainers, Containers []container }
		}
	}
}

// ours reports whether it is charts/linktrail's own, and not of a chart that it depends on.
func (o object) ours() bool {
	return strings.HasPrefix(o.Metadata.Labels["helm.sh/chart"], "linktrail-")
}

type container struct {
	Name string
	Env  []struct{ Name string }
	Args []string

	VolumeMounts []struct{ MountPath string }
}

func objects(t *testing.T, manifests string) []object {
	t.Helper()
	var all []object
	for document := range strings.SplitSeq(manifests, "\n---\n") {
		var o object
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		all = append(all, o)
	}
	return all
}

func checkRelease(t *testing.T, manifests string) {
	read := map[string]string{} // files by service
	workloads := map[string][]container{}
	for _, o := range objects(t, manifests) {
		if !o.ours() {
			continue
		}
		service := o.Metadata.Labels["app.kubernetes.io/name"]
		switch o.Kind {
		case "ConfigMap":
			if text, ok := o.Data[service+".yaml"]; ok {
				read[service] = text
			}
			if text, ok := o.Data["telemetry.yaml"]; ok {
				mustParseTelemetry(t, o.Metadata.Name, text)
			}
		case "Secret":
			if text, ok := o.StringData["headers.yaml"]; ok {
				mustParseTelemetry(t, o.Metadata.Name, text)
			}
			if text, ok := o.Data["token"]; ok {
				token, err := base64.StdEncoding.DecodeString(text)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := apikey.FromToken(string(token), "admin", apikey.Scopes(), time.Now()); err != nil {
					t.Errorf("the API key: %v", err)
				}
			}
		case "Deployment", "StatefulSet":
			workloads[service] = append(o.Spec.Template.Spec.InitContainers, o.Spec.Template.Spec.Containers...)
		}
	}
	for _, service := range []string{"url-api", "analytics-rpc", "analytics-consumer"} {
		text, ok := read[service]
		if !ok || len(workloads[service]) != 2 {
			t.Errorf("%s: its file is %q, and it has %d containers", service, text, len(workloads[service]))
			continue
		}
		file := filepath.Join(t.TempDir(), service+".yaml")
		MustWrite(t, file, text)
		r := linktrailIn(t, "", []string{"POSTGRES_DSN=postgres://user:secret@db:5432/linktrail"}, "service", service, "--config", file, "--check")
		if r.code != 0 {
			t.Errorf("%s refuses its file: %s\n%s", service, r.stderr, text)
		}
		for _, c := range workloads[service] {
			checkContainer(t, service, c, text)
		}
	}
}

var (
	variables = regexp.MustCompile(`\$\{(\w+)\}`)
	paths     = regexp.MustCompile(`/etc/linktrail/[\w./-]+`)
)

// checkContainer holds a container against the configuration file that it reads: what the file names must be there.
func checkContainer(t *testing.T, service string, c container, text string) {
	set := map[string]bool{}
	for _, env := range c.Env {
		set[env.Name] = true
	}
	for _, name := range variables.FindAllStringSubmatch(text, -1) {
		if !set[name[1]] {
			t.Errorf("%s, container %s: %s is not set", service, c.Name, name[0])
		}
	}
	for _, path := range append(paths.FindAllString(text, -1), paths.FindAllString(strings.Join(c.Args, "\n"), -1)...) {
		mounted := c.Name == "migrate" && path == "/etc/linktrail/telemetry" // it makes no spans
		for _, mount := range c.VolumeMounts {
			mounted = mounted || path == mount.MountPath || filepath.Dir(path) == mount.MountPath
		}
		if !mounted {
			t.Errorf("%s, container %s: nothing is mounted at %s", service, c.Name, path)
		}
	}
}

func mustParseTelemetry(t *testing.T, name, text string) {
	t.Helper()
	if _, err := telemetry.Parse([]byte(text)); err != nil {
		t.Errorf("the overlay in %s: %v", name, err)
	}
}

// mustCopyCharts copies all charts but what is packed into them, so that packing them changes nothing in the tree.
func mustCopyCharts(t *testing.T) string {
	t.Helper()
	from, to := filepath.Join("..", "..", "charts"), filepath.Join(t.TempDir(), "charts")
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "charts" && path != from:
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, strings.TrimPrefix(path, from)), 0o755)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, strings.TrimPrefix(path, from)), content, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	mustHelm(t, "dependency", "build", filepath.Join(to, "linktrail"))
	return to
}

func mustHelm(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join("..", "..", "hack", "tools", "run"), append([]string{"helm"}, args...)...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String()
}
