//go:build e2e

package kind

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/linktrail/linktrail/hack/e2e/doors"
	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/tracequery"
)

// followed is how long it should take from a change of the object until every pod has it in force. A machine that does other
// things besides may take longer, but not as long as the kubelet, who looks at its volumes once a minute.
const (
	followed   = 10 * time.Second
	unfollowed = 45 * time.Second
)

// services are those whose telemetry the controller changes.
var services = []string{"url-api", "analytics-rpc", "analytics-consumer"}

// telemetry has the default object send spans to a second Jaeger while all pods run on.
func telemetry(t *testing.T, r *release) {
	r.otherJaeger(t)
	d, jaeger, other := r.doors(t), tracequery.Jaeger(r.jaeger(t)), tracequery.Jaeger(r.forwardOther(t))
	link := d.MustLink(t, "https://example.com/telemetry")
	clicked := func() (id string) {
		t.Helper()
		doors.Eventually(t, "it redirects", func() (err error) {
			id, err = d.Click(link.Code, "https://example.com/telemetry")
			return err
		})
		return id
	}

	r.waitTelemetry(t)
	before := r.running(t)
	doors.WaitForClick(t, jaeger, clicked(), doors.ClickTrace(link.Code, topic, "kq"))

	t.Run("OK a change reaches all pods, none of which is restarted", func(t *testing.T) {
		r.patchTelemetry(t, `{"exporter":{"serviceRef":{"name":"other"}}}`)
		begin := time.Now()
		r.waitTelemetry(t)
		took := time.Since(begin).Round(100 * time.Millisecond)
		t.Logf("%v from the change of the object until %d pods have it in force; it should take %v", took, len(before), followed)
		if took > unfollowed {
			t.Error("nothing but the kubelet has brought it")
		}
		id := clicked()
		if lost := broken(t, []string{id}, other); len(lost) > 0 {
			t.Error(lost[0])
		}
		if _, err := jaeger.Trace(t.Context(), id); !errors.Is(err, tracequery.ErrNotFound) {
			t.Errorf("the first Jaeger knows the trace too: %v", err)
		}
		if after := r.running(t); !maps.Equal(before, after) {
			t.Errorf("pods are %v, and were %v", after, before)
		}
	})

	t.Run("OK a boost starts and ends", func(t *testing.T) { boost(t, r, other, clicked) })
	t.Run("OK headers from a Secret arrive", func(t *testing.T) { headers(t, r, clicked) })

	t.Run("OK what is the controller's is put right", func(t *testing.T) {
		right := r.kubectl(t, "get", "configmap", "url-api-telemetry", "-o", "jsonpath={.data}")
		for _, vandal := range [][]string{
			{"patch", "configmap", "url-api-telemetry", "--type", "merge", "-p", `{"data":{"telemetry.yaml":"Telemetry: {Disabled: true}"}}`},
			{"delete", "configmap", "url-api-telemetry"},
		} {
			r.kubectl(t, vandal...)
			doors.Within(t, unfollowed, strings.Join(vandal[:1], " ")+" is put right", func() error {
				got, err := r.tryKubectl("get", "configmap", "url-api-telemetry", "-o", "jsonpath={.data}")
				if err == nil && got != right {
					err = fmt.Errorf("it is %s", got)
				}
				return err
			})
		}
	})

	t.Run("OK the controller may change one annotation of pods, and nothing else", func(t *testing.T) {
		account := "--as=system:serviceaccount:" + r.namespace + ":telemetry-controller"
		name := r.pods(t, "url-api")[0].Metadata.Name
		r.kubectl(t, "annotate", "pod", name, account, "--overwrite", "--dry-run=server", "telemetry.linktrail.io/overlay=x")
		for what, patch := range map[string]string{
			"another annotation": `{"metadata":{"annotations":{"a":"b"}}}`,
			"a label":            `{"metadata":{"labels":{"a":"b"}}}`,
			"an image":           `{"spec":{"containers":[{"name":"url-api","image":"elsewhere"}]}}`,
		} {
			out, err := r.tryKubectl("patch", "pod", name, account, "--dry-run=server", "-p", patch)
			if err == nil || !strings.Contains(err.Error(), "telemetry.linktrail.io/overlay") {
				t.Errorf("%s: %s %v", what, out, err)
			}
		}
	})

	t.Run("OK the controller may change no more of workloads than it needs", func(t *testing.T) {
		account := "--as=system:serviceaccount:" + r.namespace + ":telemetry-controller"
		for what, patch := range map[string]string{
			"replicas":           `{"spec":{"replicas":0}}`,
			"an image":           `{"spec":{"template":{"spec":{"containers":[{"name":"url-api","image":"elsewhere"}]}}}}`,
			"another annotation": `{"spec":{"template":{"metadata":{"annotations":{"a":"b"}}}}}`,
		} {
			out, err := r.tryKubectl("patch", "deployment", "url-api", account, "--dry-run=server", "-p", patch)
			if err == nil || !strings.Contains(err.Error(), "nothing of a workload but") {
				t.Errorf("%s: %s %v", what, out, err)
			}
		}
		for _, policy := range []string{"pods", "telemetries", "workloads"} { // what Kubernetes says of their types
			warnings := r.kubectl(t, "get", "validatingadmissionpolicy", r.namespace+"-telemetry-controller-"+policy, "-o", "jsonpath={.status.typeChecking.expressionWarnings}")
			if warnings != "" {
				t.Errorf("the policy for %s: %s", policy, warnings)
			}
		}
	})

	t.Run("OK services that do not follow by themselves", func(t *testing.T) {
		r.mustOrders(t)
		t.Run("OK a foreign go-zero service follows by Rollout", func(t *testing.T) { rollout(t, r, jaeger, other) })
		t.Run("OK what has not followed is never delivered", func(t *testing.T) { stuck(t, r) })
	})

	t.Run("OK without controller and object", func(t *testing.T) {
		r.kubectl(t, "scale", "deployment", "telemetry-controller", "--replicas", "0", "--timeout", "2m")
		r.kubectl(t, "delete", "telemetry", "default")
		doors.Eventually(t, "pods fall back to their chart's Jaeger", func() error { return found(t, jaeger, clicked()) })
	})

	t.Run("OK the controller makes the object again", func(t *testing.T) {
		r.kubectl(t, "scale", "deployment", "telemetry-controller", "--replicas", "2", "--timeout", "2m")
		r.settle(t)
		r.waitTelemetry(t)
	})
}

// found reports an error unless a Jaeger gets to know a trace soon.
func found(t *testing.T, jaeger tracequery.Reader, id string) error {
	return testenv.Within(5*time.Second, func() (err error) {
		_, err = jaeger.Trace(t.Context(), id)
		return err
	})
}

// patchTelemetry changes a part of the object's spec.
func (r *release) patchTelemetry(t *testing.T, spec string) {
	t.Helper()
	r.kubectl(t, "patch", "telemetry", "default", "--type", "merge", "-p", `{"spec":`+spec+`}`)
}

// waitTelemetry waits until the object says that all pods have what it says in force.
func (r *release) waitTelemetry(t *testing.T) {
	t.Helper()
	doors.Eventually(t, "all pods have followed", func() error {
		var object struct {
			Metadata struct{ Generation int64 }
			Status   struct {
				ObservedGeneration int64
				Pods               string
				Conditions         []struct{ Type, Status, Message string }
			}
		}
		out, err := r.tryKubectl("get", "telemetry", "default", "-o", "json")
		if err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(out), &object); err != nil {
			return err
		}
		for _, c := range object.Status.Conditions {
			if c.Type == "Ready" && c.Status == "True" && object.Status.ObservedGeneration == object.Metadata.Generation {
				return nil
			}
		}
		return fmt.Errorf("%s: %v", object.Status.Pods, object.Status.Conditions)
	})
}

// running are the services' pods, by their ids, and how often their containers were restarted.
func (r *release) running(t *testing.T) map[string]int {
	t.Helper()
	restarts := make(map[string]int)
	for _, service := range services {
		for _, pod := range r.pods(t, service) {
			restarts[pod.Metadata.UID] = 0
			for _, container := range pod.Status.ContainerStatuses {
				restarts[pod.Metadata.UID] += container.RestartCount
			}
		}
	}
	return restarts
}
