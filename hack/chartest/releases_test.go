//go:build e2e

package chartest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

const controllerChart = "charts/telemetry-controller"

// TestDefinitionOfTelemetry is the life of the one definition that all releases share: older, upgraded, handed over, kept.
func TestDefinitionOfTelemetry(t *testing.T) {
	older := olderChart(t, "spec", "exporter", "httpPath")
	object := func(name string) *unstructured.Unstructured {
		return decode(t, []byte(`{apiVersion: telemetry.linktrail.io/v1alpha1, kind: Telemetry, metadata: {namespace: one, name: `+name+`},
			spec: {selector: {}, exporter: {protocol: otlphttp, endpoint: "otlp:4318"}}}`))[0]
	}
	withPath := object("path")
	must(t, unstructured.SetNestedField(withPath.Object, "/custom/v1/traces", "spec", "exporter", "httpPath"))
	create := func(object *unstructured.Unstructured) error {
		return server.Create(t.Context(), object.DeepCopy(), client.FieldValidation("Strict"))
	}

	helm(t, "install", "controller", older, "--namespace", "one", "--create-namespace")
	kept := object("kept")
	eventually(t, func() error { return server.Create(t.Context(), kept) })
	if err := create(withPath); err == nil || !strings.Contains(err.Error(), "httpPath") {
		t.Errorf("the older definition takes the field that it has not: %v", err)
	}

	t.Run("OK another release leaves it alone", func(t *testing.T) {
		helm(t, "install", "second", controllerChart, "--namespace", "two", "--create-namespace")
		wantOwner(t, "controller")
		if err := create(withPath); err == nil {
			t.Error("it was upgraded")
		}
		helm(t, "upgrade", "second", controllerChart, "--namespace", "two", "--set", "replicas=1")
		wantOwner(t, "controller")
	})
	t.Run("OK an upgrade of its own brings the new field", func(t *testing.T) {
		helm(t, "upgrade", "controller", controllerChart, "--namespace", "one")
		eventually(t, func() error { return create(withPath) })
	})
	t.Run("OK it stays when its release is uninstalled", func(t *testing.T) {
		helm(t, "uninstall", "controller", "--namespace", "one")
		wantOwner(t, "controller")
	})
	t.Run("OK another release takes it over", func(t *testing.T) {
		definition := definitionOfTelemetry(t)
		annotations := definition.GetAnnotations()
		annotations["meta.helm.sh/release-name"], annotations["meta.helm.sh/release-namespace"] = "second", "two"
		definition.SetAnnotations(annotations)
		must(t, server.Update(t.Context(), definition))
		helm(t, "upgrade", "second", controllerChart, "--namespace", "two")
		wantOwner(t, "second")
		if got := definitionOfTelemetry(t).GetLabels()["app.kubernetes.io/instance"]; got != "second" {
			t.Errorf("its label is of %s", got)
		}
		helm(t, "uninstall", "second", "--namespace", "two")
		wantOwner(t, "second")
	})
	t.Run("OK objects stay through all that", func(t *testing.T) {
		now := object("kept")
		must(t, server.Get(t.Context(), client.ObjectKeyFromObject(now), now))
		if now.GetUID() != kept.GetUID() || now.GetGeneration() != kept.GetGeneration() {
			t.Errorf("it is %s, generation %d; it was %s, %d", now.GetUID(), now.GetGeneration(), kept.GetUID(), kept.GetGeneration())
		}
	})
	t.Run("OK a release of the same name finds its own again", func(t *testing.T) {
		helm(t, "install", "second", controllerChart, "--namespace", "two")
		helm(t, "uninstall", "second", "--namespace", "two")
	})
	t.Run("OK it goes by choice", func(t *testing.T) {
		helm(t, "install", "second", controllerChart, "--namespace", "two", "--set", "crd.keep=false")
		helm(t, "uninstall", "second", "--namespace", "two")
		eventually(t, func() error {
			definition := emptyDefinition()
			if err := server.Get(t.Context(), client.ObjectKeyFromObject(definition), definition); !apierrors.IsNotFound(err) {
				return fmt.Errorf("it is still there: %w", err)
			}
			return nil
		})
	})
}

// olderChart is the controller's chart with a property less in its CRD, in a folder of its own.
func olderChart(t *testing.T, properties ...string) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "telemetry-controller")
	must(t, os.CopyFS(folder, os.DirFS(filepath.Join(root, controllerChart))))
	file := filepath.Join(folder, "files/crd.yaml")
	content, err := os.ReadFile(file)
	must(t, err)
	var crd map[string]any
	must(t, yaml.Unmarshal(content, &crd))
	versions, _, err := unstructured.NestedSlice(crd, "spec", "versions")
	must(t, err)
	path := []string{"schema", "openAPIV3Schema"}
	for _, property := range properties {
		path = append(path, "properties", property)
	}
	version := versions[0].(map[string]any)
	if _, ok, err := unstructured.NestedMap(version, path...); err != nil || !ok {
		t.Fatalf("there is no property %v: %v", properties, err)
	}
	unstructured.RemoveNestedField(version, path...)
	// A rule about it would have no field to look at.
	around := path[:len(path)-2]
	parent, _, err := unstructured.NestedMap(version, around...)
	must(t, err)
	var rules []any
	for _, rule := range parent["x-kubernetes-validations"].([]any) {
		if !strings.Contains(rule.(map[string]any)["rule"].(string), "self."+properties[len(properties)-1]) {
			rules = append(rules, rule)
		}
	}
	parent["x-kubernetes-validations"] = rules
	must(t, unstructured.SetNestedMap(version, parent, around...))
	must(t, unstructured.SetNestedSlice(crd, versions, "spec", "versions"))
	content, err = yaml.Marshal(crd)
	must(t, err)
	must(t, os.WriteFile(file, content, 0o600))
	return folder
}

func emptyDefinition() *unstructured.Unstructured {
	definition := &unstructured.Unstructured{}
	definition.SetAPIVersion("apiextensions.k8s.io/v1")
	definition.SetKind("CustomResourceDefinition")
	definition.SetName("telemetries.telemetry.linktrail.io")
	return definition
}

func definitionOfTelemetry(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	definition := emptyDefinition()
	must(t, server.Get(t.Context(), client.ObjectKeyFromObject(definition), definition))
	return definition
}

// wantOwner wants the definition to be there, and a release's.
func wantOwner(t *testing.T, release string) {
	t.Helper()
	if got := definitionOfTelemetry(t).GetAnnotations()["meta.helm.sh/release-name"]; got != release {
		t.Errorf("the definition belongs to release %s, want %s", got, release)
	}
}

// helm runs it against the server.
func helm(t *testing.T, arguments ...string) {
	t.Helper()
	run(t, root, "hack/tools/run", append([]string{"helm", "--kubeconfig", server.kubeconfig}, arguments...)...)
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
		time.Sleep(100 * time.Millisecond)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
