//go:build e2e

package controller_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

var yamlBlock = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```")

// TestDocs has the API server take every object that docs/telemetry.md shows, fields strictly.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../../../../docs/telemetry.md")
	must(t, err)
	telemetries := 0
	for _, block := range yamlBlock.FindAllStringSubmatch(string(page), -1) {
		for _, document := range strings.Split(block[1], "\n---\n") {
			if strings.HasPrefix(document, "spec:") {
				document = "apiVersion: telemetry.linktrail.io/v1alpha1\nkind: Telemetry\nmetadata: {name: spec}\n" + document
			}
			object := new(unstructured.Unstructured)
			if err := yaml.UnmarshalStrict([]byte(document), object); err != nil {
				t.Errorf("%v in\n%s", err, document)
				continue
			}
			if object.GetKind() == "Telemetry" {
				telemetries++
			}
			object.SetNamespace("default")
			if err := api.Create(t.Context(), object, client.DryRunAll, client.FieldValidation("Strict")); err != nil {
				t.Errorf("%v in\n%s", err, document)
			}
		}
	}
	if want := strings.Count(string(page), "\nspec:\n"); telemetries == 0 || telemetries != want {
		t.Errorf("it shows %d Telemetry objects, of which %d were tried", want, telemetries)
	}
}
