//go:build e2e

package kind

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/linktrail/linktrail/hack/e2e/doors"
	"github.com/linktrail/linktrail/internal/tracequery"
)

const ordersVariable = "ORDERS_IMAGE"

// mustOrders installs hack/orders, a go-zero service that knows nothing of linktrail, until the test ends.
func (r *release) mustOrders(t *testing.T) {
	t.Helper()
	image := os.Getenv(ordersVariable)
	if image == "" {
		t.Fatalf("%s does not name the image of hack/orders; hack/kind/try builds it and runs these tests", ordersVariable)
	}
	line := "kubectl kustomize hack/orders | sed 's|image: orders$|image: " + image + "|' | kubectl --namespace " + r.namespace + " "
	r.shell(t, line+"apply --filename -")
	t.Cleanup(func() { r.shell(t, line+"delete --ignore-not-found --timeout 2m --filename -") })
	r.kubectl(t, "rollout", "status", "deployment/orders", "--timeout", "3m")
}

// rollout has a service that is not linktrail's send its spans to one Jaeger, then to another, and be as it was after that.
func rollout(t *testing.T, r *release, first, second tracequery.Reader) {
	spec := func() string { return r.kubectl(t, "get", "deployment", "orders", "-o", "jsonpath={.spec}") }
	before := spec()
	// ordered returns the trace of a request to the pod that there is now.
	ordered := func() (id string) {
		t.Helper()
		t.Run("order", func(t *testing.T) { // the forward ends with it: pods will go
			line := "kubectl --namespace " + r.namespace + " port-forward deployment/orders 8888"
			res, err := http.Get(r.forward(t, line)["8888"] + "/orders/7")
			must(t, err)
			must(t, res.Body.Close())
			parts := strings.Split(res.Header.Get("Traceparent"), "-")
			if res.StatusCode != http.StatusOK || len(parts) != 4 {
				t.Fatalf("%s, traceparent %v", res.Status, parts)
			}
			id = parts[1]
		})
		return id
	}
	apply := func(service string) {
		t.Helper()
		r.apply(t, fmt.Sprintf(`{"apiVersion": "telemetry.linktrail.io/v1alpha1", "kind": "Telemetry", "metadata": {"name": "shop"}, "spec": {
			"selector": {"matchLabels": {"app.kubernetes.io/part-of": "shop"}}, "exporter": {"serviceRef": {"name": %q, "port": 4317}},
			"delivery": "Rollout", "injection": "Mount"}}`, service))
		begin := time.Now()
		r.waitDelivered(t, "shop", "True", "Succeeded")
		t.Logf("%v until the pods of orders are replaced", time.Since(begin).Round(100*time.Millisecond))
	}
	t.Cleanup(func() { r.kubectl(t, "delete", "telemetry", "shop", "--ignore-not-found", "--timeout", "1m") }) // while there is a controller

	apply("jaeger")
	must(t, found(t, first, ordered()))
	apply("other")
	id := ordered()
	must(t, found(t, second, id))
	if _, err := first.Trace(t.Context(), id); !errors.Is(err, tracequery.ErrNotFound) {
		t.Errorf("the first Jaeger knows the trace too: %v", err)
	}
	if during := spec(); during == before {
		t.Error("the Deployment is as it was; nothing would be taken back")
	}

	r.kubectl(t, "delete", "telemetry", "shop", "--timeout", "1m")
	if after := spec(); after != before {
		t.Errorf("the Deployment is\n%s\nand was\n%s", after, before)
	}
	r.kubectl(t, "rollout", "status", "deployment/orders", "--timeout", "3m")
	doors.Eventually(t, "its ConfigMap is gone", func() error {
		out, err := r.tryKubectl("get", "configmap", "orders-telemetry", "--ignore-not-found", "-o", "name")
		if err == nil && out != "" {
			err = errors.New(out)
		}
		return err
	})
	ordered() // it serves
}

// stuck has pods that never have in force what they should: one does not answer, one has another overlay.
func stuck(t *testing.T, r *release) {
	t.Run("OK a pod that does not answer", func(t *testing.T) {
		r.kubectl(t, "label", "deployment", "orders", "--overwrite", "app.kubernetes.io/part-of=linktrail", "app.kubernetes.io/instance=linktrail")
		r.waitDelivered(t, "default", "False", "PodsUnknown")
		if w := r.workload(t, "orders"); w.Unknown != 1 || w.Done+w.Pending != 0 {
			t.Errorf("orders is %+v", w)
		}
		if w := r.workload(t, "url-api"); w.Done == 0 || w.Pending+w.Unknown != 0 {
			t.Errorf("url-api is %+v", w)
		}
		r.kubectl(t, "label", "deployment", "orders", "--overwrite", "app.kubernetes.io/part-of=shop", "app.kubernetes.io/instance-")
		r.waitDelivered(t, "default", "True", "Succeeded")
	})
	t.Run("OK a pod that is stuck", func(t *testing.T) {
		// It is analytics-rpc once more, with the overlay of that one mounted: what is applied for itself it never sees.
		var stuck struct {
			APIVersion string         `json:"apiVersion"`
			Kind       string         `json:"kind"`
			Metadata   map[string]any `json:"metadata"`
			Spec       map[string]any `json:"spec"`
		}
		must(t, json.Unmarshal([]byte(r.kubectl(t, "get", "deployment", "analytics-rpc", "-o", "json")), &stuck))
		pods := map[string]any{"app.kubernetes.io/name": "stuck"}
		stuck.Metadata = map[string]any{"name": "stuck", "labels": map[string]any{"app.kubernetes.io/part-of": "linktrail", "app.kubernetes.io/instance": "linktrail"}}
		stuck.Spec["selector"], stuck.Spec["replicas"] = map[string]any{"matchLabels": pods}, 1
		template, ok := stuck.Spec["template"].(map[string]any)
		if !ok {
			t.Fatalf("a pod template is %T", stuck.Spec["template"])
		}
		template["metadata"] = map[string]any{"labels": pods}
		manifest, err := json.Marshal(stuck)
		must(t, err)
		r.patchTelemetry(t, `{"sampling":{"overrides":[{"workload":"stuck","ratio":"0.5"}]}}`)
		r.apply(t, string(manifest))
		t.Cleanup(func() {
			r.kubectl(t, "delete", "deployment", "stuck", "--cascade=foreground", "--timeout", "2m")
			r.patchTelemetry(t, `{"sampling":{"overrides":null}}`)
			r.waitDelivered(t, "default", "True", "Succeeded")
		})
		r.kubectl(t, "rollout", "status", "deployment/stuck", "--timeout", "3m")
		r.waitDelivered(t, "default", "False", "PodsPending")
		if w := r.workload(t, "stuck"); w.Pending != 1 || w.Done+w.Unknown != 0 {
			t.Errorf("stuck is %+v", w)
		}
	})
}

// apply applies a manifest in the release's namespace.
func (r *release) apply(t *testing.T, manifest string) {
	t.Helper()
	r.shell(t, "kubectl --namespace "+r.namespace+" apply --filename - <<'END'\n"+manifest+"\nEND")
}

// telemetryObject is what the tests look at of a Telemetry.
type telemetryObject struct {
	Metadata struct{ Generation int64 }
	Status   struct {
		Workloads  []workloadStatus
		Conditions []struct {
			Type, Status, Reason, Message string
			ObservedGeneration            int64
		}
	}
}

type workloadStatus struct {
	Name, Reason, Message  string
	Done, Pending, Unknown int
}

func (r *release) telemetryObject(t *testing.T, name string) (object telemetryObject) {
	t.Helper()
	must(t, json.Unmarshal([]byte(r.kubectl(t, "get", "telemetry", name, "-o", "json")), &object))
	return object
}

// waitDelivered waits until an object's condition Delivered, of its present generation, is so.
func (r *release) waitDelivered(t *testing.T, name, status, reason string) {
	t.Helper()
	doors.Eventually(t, "Telemetry "+name+" is "+reason, func() error {
		object := r.telemetryObject(t, name)
		for _, c := range object.Status.Conditions {
			if c.Type == "Delivered" && c.Status == status && c.Reason == reason && c.ObservedGeneration == object.Metadata.Generation {
				return nil
			}
		}
		return fmt.Errorf("%+v", object.Status)
	})
}

// workload returns what the default object says about a workload.
func (r *release) workload(t *testing.T, name string) workloadStatus {
	t.Helper()
	object := r.telemetryObject(t, "default")
	for _, w := range object.Status.Workloads {
		if w.Name == name {
			return w
		}
	}
	t.Fatalf("nothing of %s in %+v", name, object.Status)
	return workloadStatus{}
}
