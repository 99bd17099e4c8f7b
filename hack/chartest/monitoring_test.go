//go:build e2e

package chartest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

var linktrailChart = filepath.Join(root, "charts", "linktrail")

// panel is what of a Grafana panel can be wrong without Grafana.
type panel struct {
	ID                       int
	Type, Title, Description string
	Targets                  []struct{ Expr string }
}

// TestAlerts has promtool run the alerts on series that should make each of them fire, and on some that should not.
func TestAlerts(t *testing.T) {
	dir := t.TempDir()
	mustWriteYAML(t, filepath.Join(dir, "rules.yaml"), alerts(t).Object["spec"])
	content, err := os.ReadFile(filepath.Join(linktrailChart, "tests", "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	tests := filepath.Join(dir, "alerts.yaml")
	if err := os.WriteFile(tests, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, group := range nested(t, alerts(t), "spec", "groups") {
		for _, rule := range group.(map[string]any)["rules"].([]any) {
			name := rule.(map[string]any)["alert"].(string)
			if !regexp.MustCompile(`alertname: ` + name + `\n\s+exp_alerts:\n`).Match(content) {
				t.Errorf("nothing makes %s fire", name)
			}
		}
	}
	run(t, dir, promtool(t), "test", "rules", tests)
}

// TestDashboard has promtool read every question of the dashboard.
func TestDashboard(t *testing.T) {
	panels := dashboard(t)
	var rules []map[string]any
	seen := map[int]bool{}
	for _, p := range panels {
		if seen[p.ID] {
			t.Errorf("two panels have the id %d", p.ID)
		}
		seen[p.ID] = true
		if p.Type != "row" && (len(p.Targets) == 0 || p.Title == "" || p.Description == "") {
			t.Errorf("panel %d, %q, has no question, no title or no description", p.ID, p.Title)
		}
		for i, target := range p.Targets {
			expr := strings.NewReplacer("$__rate_interval", "1m", "$namespace", namespace).Replace(target.Expr)
			rules = append(rules, map[string]any{"record": fmt.Sprintf("panel:%d:%d", p.ID, i), "expr": expr})
		}
	}
	file := filepath.Join(t.TempDir(), "rules.yaml")
	mustWriteYAML(t, file, map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	run(t, root, promtool(t), "check", "rules", file)
}

// TestMetricsAreDocumented holds the metrics of alerts and dashboard against the list of those that there are.
func TestMetricsAreDocumented(t *testing.T) {
	documented, err := os.ReadFile(filepath.Join(root, "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(alerts(t).Object["spec"])
	if err != nil {
		t.Fatal(err)
	}
	asked := string(text)
	for _, p := range dashboard(t) {
		for _, target := range p.Targets {
			asked += "\n" + target.Expr
		}
	}
	names := regexp.MustCompile(`\blinktrail_[a-z_]+`).FindAllString(asked, -1)
	if len(names) < 20 {
		t.Fatalf("only %v are asked for", names)
	}
	for _, name := range names {
		if name = strings.TrimSuffix(name, "_bucket"); !regexp.MustCompile("`" + name + "[`{]").Match(documented) {
			t.Errorf("docs/operations.md has no %s", name)
		}
	}
}

func alerts(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	return mustRender(t, "PrometheusRule", "metrics.prometheusRule.enabled=true")
}

func dashboard(t *testing.T) []panel {
	t.Helper()
	data := mustRender(t, "ConfigMap", "metrics.dashboard.enabled=true").Object["data"].(map[string]any)
	var board struct{ Panels []panel }
	if err := json.Unmarshal([]byte(data["linktrail.json"].(string)), &board); err != nil {
		t.Fatal(err)
	}
	return board.Panels
}

// mustRender returns the one object of a kind that the chart's folder monitoring makes with a value set.
func mustRender(t *testing.T, kind, set string) *unstructured.Unstructured {
	t.Helper()
	run(t, root, "hack/charts", "deps", "linktrail")
	text := run(t, root, "hack/tools/run", "helm", "template", "linktrail", "charts/linktrail", "--namespace", namespace,
		"--set", set, "--show-only", "templates/monitoring/*.yaml")
	for _, object := range decode(t, text) {
		if object.GetKind() == kind {
			return object
		}
	}
	t.Fatalf("charts/linktrail makes no %s with %s", kind, set)
	return nil
}

func nested(t *testing.T, object *unstructured.Unstructured, path ...string) []any {
	t.Helper()
	list, found, err := unstructured.NestedSlice(object.Object, path...)
	if err != nil || !found {
		t.Fatalf("%s has no %v: %v", object.GetName(), path, err)
	}
	return list
}

// promtool finds Prometheus' own tool.
func promtool(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("there is no promtool on the PATH; `hack/charts validate` gets it and runs these tests")
	}
	return path
}

func mustWriteYAML(t *testing.T, file string, value any) {
	t.Helper()
	content, err := yaml.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
