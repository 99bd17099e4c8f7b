//go:build e2e

package kind

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/linktrail/linktrail/hack/e2e/doors"
	"github.com/linktrail/linktrail/internal/tracequery"
)

// boosted is how long a boost lasts: so long that all pods follow before its end, however busy the machine is.
const boosted = 45 * time.Second

// boost has one service record all of its traces for a while, by the command, which ends long before the boost does.
func boost(t *testing.T, r *release, jaeger tracequery.Reader, clicked func() string) {
	linktrail := filepath.Join(t.TempDir(), "linktrail")
	run(t, nil, "go", "build", "-buildvcs=false", "-tags=no_k8s", "-o", linktrail, "./apps/linktrail")
	ops := r.ops(t)
	r.patchTelemetry(t, `{"sampling":{"ratio":"0"}}`)
	r.waitTelemetry(t)
	if err := sampling(ops, "0", "0"); err != nil {
		t.Fatal(err)
	}
	if out := run(t, nil, linktrail, "telemetry", "status", "default", "--namespace", r.namespace); !strings.Contains(out, "Deployment/url-api") {
		t.Errorf("status prints\n%s", out)
	}

	begin := time.Now()
	out := run(t, nil, linktrail, "telemetry", "boost", "url-api", "--ratio", "1", "--for", boosted.String(), "--watch", "--namespace", r.namespace)
	t.Logf("linktrail telemetry boost: %s", out)
	if !strings.Contains(out, "pods have it in force after ") {
		t.Errorf("boost prints %q", out)
	}
	if err := sampling(ops, "1", "0"); err != nil {
		t.Error(err)
	}
	doors.Eventually(t, "a click is recorded", func() error { return found(t, jaeger, clicked()) })

	doors.Eventually(t, "the boost ends by itself", func() error { return sampling(ops, "0", "0") })
	if lasted := time.Since(begin); lasted < boosted {
		t.Errorf("it has ended after %v", lasted)
	}
	r.waitTelemetry(t)
	if err := found(t, jaeger, clicked()); !errors.Is(err, tracequery.ErrNotFound) {
		t.Errorf("a click after it is recorded: %v", err)
	}
}

// ops are the addresses of the services' ops listeners, those of each service's pods.
func (r *release) ops(t *testing.T) map[string][]string {
	t.Helper()
	addresses := make(map[string][]string)
	for _, service := range services {
		for _, pod := range r.pods(t, service) {
			line := fmt.Sprintf("kubectl --namespace %s port-forward pod/%s 6060", r.namespace, pod.Metadata.Name)
			addresses[service] = append(addresses[service], r.forward(t, line)["6060"])
		}
	}
	return addresses
}

// sampling reports an error unless all pods of url-api have one ratio in force, and those of the others another.
func sampling(ops map[string][]string, urlAPI, others string) error {
	for service, addresses := range ops {
		want := others
		if service == "url-api" {
			want = urlAPI
		}
		for _, address := range addresses {
			text, err := get(address + "/telemetry")
			if err != nil {
				return err
			}
			var status struct{ Sampler json.Number }
			if err := json.Unmarshal([]byte(text), &status); err != nil {
				return err
			}
			if status.Sampler.String() != want {
				return fmt.Errorf("a pod of %s has the ratio %s in force, want %s", service, status.Sampler, want)
			}
		}
	}
	return nil
}

// headers has a Secret's headers arrive at a collector, and those of its next version.
func headers(t *testing.T, r *release, clicked func() string) {
	image := os.Getenv("COLLECTOR_IMAGE")
	if image == "" {
		t.Fatal("COLLECTOR_IMAGE does not name the image of hack/e2e/kind/collector; hack/kind/try builds it")
	}
	manifest, err := os.ReadFile("collector/manifest.yaml")
	must(t, err)
	r.shell(t, "kubectl --namespace "+r.namespace+" apply --filename - <<'END'\n"+strings.Replace(string(manifest), "IMAGE", image, 1)+"\nEND")
	t.Cleanup(func() {
		r.kubectl(t, "delete", "pod/collector", "service/collector", "networkpolicy/collector", "secret/vendor", "--ignore-not-found")
	})
	r.kubectl(t, "wait", "pod/collector", "--for=condition=Ready", "--timeout=3m")
	collector := r.forward(t, "kubectl --namespace "+r.namespace+" port-forward service/collector 4318")["4318"]
	r.kubectl(t, "create", "secret", "generic", "vendor", "--from-literal=x-api-key=first-secret")
	r.patchTelemetry(t, `{"sampling":{"ratio":"1"},"exporter":{"protocol":"otlphttp","endpoint":"collector:4318","serviceRef":null,"headersFrom":{"secretRef":{"name":"vendor"}}}}`)
	arrives := func(value string) {
		t.Helper()
		doors.Eventually(t, value+" arrives", func() error {
			clicked() // which is a span to send
			text, err := get(collector)
			if err == nil && !strings.Contains(text, `"X-Api-Key":["`+value+`"]`) {
				err = fmt.Errorf("headers are %s", text)
			}
			return err
		})
	}
	arrives("first-secret")
	r.waitTelemetry(t)
	r.kubectl(t, "patch", "secret", "vendor", "-p", `{"stringData": {"x-api-key": "second-secret"}}`)
	arrives("second-secret")
	for _, kind := range []string{"configmaps", "telemetries"} {
		if text := r.kubectl(t, "get", kind, "-o", "yaml"); strings.Contains(text, "second-secret") {
			t.Errorf("%s have the header's value:\n%s", kind, text)
		}
	}
	r.patchTelemetry(t, `{"exporter":{"protocol":"otlpgrpc","endpoint":null,"serviceRef":{"name":"other","port":4317},"headersFrom":null}}`) // for what comes after
	r.waitTelemetry(t)
}
