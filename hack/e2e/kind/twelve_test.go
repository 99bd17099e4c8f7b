//go:build e2e

package kind

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linktrail/linktrail/hack/e2e/doors"
	"github.com/linktrail/linktrail/internal/tracequery"
)

// twelve has a dozen pods send their spans elsewhere under load: each of them soon, and none is restarted, and no
// span is lost.
func twelve(t *testing.T, r *release) {
	values := slices.Clone(r.values)
	r.upgrade(t, // so that a node of two cores has room for twelve, and for those that they replace
		"migrate.resources.requests.cpu=10m", "urlApi.resources.requests.cpu=10m",
		"analyticsRpc.resources.requests.cpu=10m", "analyticsConsumer.resources.requests.cpu=10m")
	r.upgrade(t, "urlApi.replicas=6", "analyticsRpc.replicas=3", "analyticsConsumer.replicas=3")
	r.otherJaeger(t)
	first, second := r.jaeger(t), r.forwardOther(t)
	r.waitTelemetry(t)
	before := r.running(t)
	if len(before) != 12 {
		t.Fatalf("there are %d pods", len(before))
	}
	load := startLoad(t, r, gentle)
	asked := make(chan struct{}) // statistics, which are analytics-rpc's spans
	quit := make(chan struct{})
	go func() {
		defer close(asked)
		for tick := time.NewTicker(50 * time.Millisecond); ; {
			select {
			case <-quit:
				tick.Stop()
				return
			case <-tick.C:
				for code := range load.links {
					_, _ = load.doors.Clicks(code) // what they are is seen at the end
					break
				}
			}
		}
	}()

	r.patchTelemetry(t, `{"exporter":{"serviceRef":{"name":"other"}}}`)
	begin := time.Now()
	doors.Eventually(t, "spans of all pods are there", func() error { return r.sending(t, second) })
	took := time.Since(begin).Round(100 * time.Millisecond)
	t.Logf("%v from the change of the object until a span of each of %d pods was in the other Jaeger; it should take %v", took, len(before), followed)
	if took > unfollowed {
		t.Error("nothing but the kubelet has brought it")
	}
	load.wait(t, underLoad)
	close(quit)
	<-asked
	load.stop(t)
	load.allAnswered(t)
	if after := r.running(t); !maps.Equal(before, after) {
		t.Errorf("pods are %v, and were %v", after, before)
	}

	var ids []string
	for _, answered := range load.ledger {
		ids = slices.AppendSeq(ids, maps.Keys(answered))
	}
	jaegers := []tracequery.Reader{tracequery.Jaeger(first), tracequery.Jaeger(second)}
	lost := broken(t, ids, jaegers...)
	split := 0
	for _, id := range ids {
		if _, err := jaegers[0].Trace(t.Context(), id); err == nil {
			if _, err := jaegers[1].Trace(t.Context(), id); err == nil {
				split++
			}
		}
	}
	t.Logf("%d clicks, four spans each; %d have spans in both Jaegers, %d are not whole", load.answered(), split, len(lost))
	if len(lost) > 0 {
		t.Error(strings.Join(lost[:min(len(lost), 20)], "\n"))
	}
	r.patchTelemetry(t, `{"exporter":{"serviceRef":{"name":"jaeger"}}}`)
	r.values = values
	r.upgrade(t)
	r.waitTelemetry(t)
}

// sending reports an error unless a Jaeger has a span of each of the services' pods.
func (r *release) sending(t *testing.T, jaeger string) error {
	for _, service := range services {
		text, err := get(jaeger + "/api/traces?limit=1000&service=" + service)
		if err != nil {
			return err
		}
		var answer struct {
			Data []struct {
				Processes map[string]struct {
					ServiceName string
					Tags        []struct {
						Key   string
						Value any
					}
				}
			}
		}
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			return err
		}
		seen := make(map[any]bool)
		for _, trace := range answer.Data {
			for _, process := range trace.Processes {
				for _, tag := range process.Tags {
					if process.ServiceName == service && tag.Key == "host.name" {
						seen[tag.Value] = true
					}
				}
			}
		}
		for _, pod := range r.pods(t, service) {
			if !seen[pod.Metadata.Name] {
				return fmt.Errorf("%s: %w", pod.Metadata.Name, errNoSpan)
			}
		}
	}
	return nil
}

var errNoSpan = errors.New("there is no span of this pod")
