//go:build e2e

package kind

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linktrail/linktrail/hack/e2e/doors"
	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/tracequery"
)

// delivered is how long it may take from the first traced click until the release's Telemetry object is ready.
const delivered = 2 * time.Minute

// defaultObject looks at the Telemetry object that `helm install` has brought, and takes it away and back.
func defaultObject(t *testing.T, r *release) {
	t.Run("OK all pods have it in force", func(t *testing.T) {
		begin := time.Now()
		r.waitTelemetry(t)
		took := time.Since(begin).Round(100 * time.Millisecond)
		t.Logf("%v until the default object was ready", took)
		if took > delivered {
			t.Errorf("it may take %v", delivered)
		}
		if got := r.kubectl(t, "get", "telemetry", "default", "-o", "jsonpath={.status.endpoint}"); got != "jaeger."+r.namespace+".svc:4317" {
			t.Errorf("spans go to %s", got)
		}
		workloads := strings.Fields(r.kubectl(t, "get", "telemetry", "default", "-o", "jsonpath={.status.workloads[*].name}"))
		if want := slices.Sorted(slices.Values(services)); !slices.Equal(workloads, want) {
			t.Errorf("it selects %v, want %v", workloads, want)
		}
	})
	t.Run("OK the controller's own spans arrive", func(t *testing.T) {
		address := r.jaeger(t) + "/api/traces?limit=50&service=telemetry-controller"
		doors.Eventually(t, "Jaeger has them", func() error {
			traces, err := get(address)
			for _, name := range []string{"reconcile default", "POST telemetries", "reconcile telemetry", "PATCH configmaps"} {
				if err == nil && !strings.Contains(traces, `"operationName":"`+name+`"`) {
					err = fmt.Errorf("there is no span %q", name)
				}
			}
			return err
		})
	})
	t.Run("OK it follows the chart's values", func(t *testing.T) {
		ratio := []string{"get", "telemetry", "default", "-o", "jsonpath={.spec.sampling.ratio}"}
		becomes := func(want string) {
			t.Helper()
			doors.Eventually(t, "the object's ratio is "+want, func() error {
				got, err := r.tryKubectl(ratio...)
				if err == nil && got != want {
					err = fmt.Errorf("it is %s", got)
				}
				return err
			})
		}
		values, before := slices.Clone(r.values), r.kubectl(t, ratio...)
		r.upgrade(t, "telemetry.sampler=0")
		becomes("0")
		r.values = values
		r.upgrade(t)
		becomes(before)
		r.waitTelemetry(t)
	})
	t.Run("OK pods start, serve and are traced without the controller", func(t *testing.T) {
		r.kubectl(t, "scale", "deployment", "telemetry-controller", "--replicas", "0", "--timeout", "2m")
		for _, service := range services {
			for _, pod := range r.pods(t, service) {
				r.kubectl(t, "delete", "pod", pod.Metadata.Name, "--timeout", "5m")
			}
		}
		r.settle(t)
		click(t, r, "kgo")
		r.kubectl(t, "scale", "deployment", "telemetry-controller", "--replicas", "2", "--timeout", "2m")
		r.settle(t)
		r.waitTelemetry(t)
	})
	t.Run("OK to the chart's own overlay and back, no span is lost", func(t *testing.T) { overlay(t, r) })
}

// overlay has a release do without the controller, send elsewhere by the chart's own overlay, and take the controller again,
// while clicks come.
func overlay(t *testing.T, r *release) {
	r.otherJaeger(t)
	d, jaeger, other := r.doors(t), tracequery.Jaeger(r.jaeger(t)), tracequery.Jaeger(r.forwardOther(t))
	clicks := startClicks(t, d)
	before, values := r.running(t), slices.Clone(r.values)
	follow := func(to tracequery.Reader) {
		t.Helper()
		begin := time.Now()
		doors.Eventually(t, "new clicks are traced there", func() error { return found(t, to, clicks.last()) })
		t.Logf("%v until spans went there", time.Since(begin).Round(time.Second))
	}

	r.upgrade(t, "telemetry-controller.enabled=false", "telemetry.overlay.telemetry.Endpoint=other:4317")
	follow(other)
	doors.Eventually(t, "object and ConfigMaps go with the controller", func() error {
		left, err := r.tryKubectl("get", "telemetry,configmaps", "-o", "name")
		if err == nil && (strings.Contains(left, "telemetry.linktrail.io") || strings.Contains(left, "-telemetry")) {
			err = fmt.Errorf("left are %s", left)
		}
		return err
	})
	r.values = values
	r.upgrade(t)
	r.waitTelemetry(t)
	follow(jaeger)

	ids := clicks.stop(t)
	lost := broken(t, ids, jaeger, other)
	t.Logf("%d clicks, the traces of %d are not whole", len(ids), len(lost))
	if len(lost) > 0 {
		t.Error(strings.Join(lost[:min(len(lost), 20)], "\n"))
	}
	if after := r.running(t); !maps.Equal(before, after) {
		t.Errorf("pods are %v, and were %v", after, before)
	}
}

// broken waits until all spans of some clicks are in one of some Jaegers, save those of looking a link up that no cache knows,
// and returns what is not there in the end. A span may be there more than once: what is sent again is no loss.
func broken(t *testing.T, ids []string, jaegers ...tracequery.Reader) []string {
	t.Helper()
	var missing []error
	_ = testenv.Within(doors.Patience, func() error {
		left := ids
		ids, missing = nil, nil
		for _, id := range left {
			if err := whole(t, id, jaegers); err != nil {
				ids, missing = append(ids, id), append(missing, err)
			}
		}
		return errors.Join(missing...)
	})
	lost := make([]string, len(missing))
	for i, err := range missing {
		lost[i] = err.Error()
	}
	return lost
}

func whole(t *testing.T, id string, jaegers []tracequery.Reader) error {
	want := []string{"GET /{code}", "INSERT clicks", "process " + topic, "send " + topic}
	var names []string
	for _, jaeger := range jaegers {
		trace, err := jaeger.Trace(t.Context(), id)
		if err != nil && !errors.Is(err, tracequery.ErrNotFound) {
			return err
		}
		for _, span := range trace.Spans {
			if slices.Contains(want, span.Name) {
				names = append(names, span.Name)
			}
		}
	}
	slices.Sort(names)
	if names = slices.Compact(names); !slices.Equal(names, want) {
		return fmt.Errorf("trace %s has %q, want %q", id, names, want)
	}
	return nil
}

// clicks is a visitor who clicks on one link all the time.
type clicks struct {
	quit, done chan struct{}
	ids        chan []string // those of all answered clicks; there is one at any time
	err        error         // valid once done
}

func startClicks(t *testing.T, d doors.Doors) *clicks {
	t.Helper()
	const target = "https://example.com/clicks"
	link := d.MustLink(t, target)
	c := &clicks{quit: make(chan struct{}), done: make(chan struct{}), ids: make(chan []string, 1)}
	c.ids <- nil
	go func() {
		defer close(c.done)
		for tick := time.NewTicker(100 * time.Millisecond); ; {
			select {
			case <-c.quit:
				tick.Stop()
				return
			case <-tick.C:
			}
			id, err := d.Click(link.Code, target)
			if err != nil {
				c.err = errors.Join(c.err, err)
				continue
			}
			c.ids <- append(<-c.ids, id)
		}
	}()
	t.Cleanup(func() {
		select {
		case <-c.quit:
		default:
			close(c.quit)
		}
		<-c.done
	})
	doors.Eventually(t, "it redirects", func() error {
		if c.last() == "" {
			return errors.New("not yet")
		}
		return nil
	})
	return c
}

// last is the trace of the last answered click.
func (c *clicks) last() string {
	ids := <-c.ids
	c.ids <- ids
	if len(ids) == 0 {
		return ""
	}
	return ids[len(ids)-1]
}

// stop ends it; all clicks must have been answered.
func (c *clicks) stop(t *testing.T) []string {
	t.Helper()
	close(c.quit)
	<-c.done
	if c.err != nil {
		t.Error(c.err)
	}
	return <-c.ids
}

// otherJaeger installs a second one, until the test ends.
func (r *release) otherJaeger(t *testing.T) {
	t.Helper()
	r.shell(t, "helm install other charts/jaeger --set fullnameOverride=other --wait --timeout 5m "+os.Getenv("JAEGER_IMAGE_FLAGS"))
	t.Cleanup(func() { r.shell(t, "helm uninstall other --wait --timeout 5m") })
}

// forwardOther is its address.
func (r *release) forwardOther(t *testing.T) string {
	t.Helper()
	return r.forward(t, "kubectl --namespace "+r.namespace+" port-forward service/other 16686")["16686"]
}
