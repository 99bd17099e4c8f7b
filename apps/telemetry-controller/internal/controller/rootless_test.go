//go:build e2e

package controller_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
)

// TestNoRootSpans tells of an override for a workload where no trace begins.
func TestNoRootSpans(t *testing.T) {
	h := MustHouse(t)
	for _, name := range []string{"analytics-consumer", "analytics-rpc", "url-api"} {
		h.Deployment(name)
	}
	consumers := []*pod{h.Pod("analytics-consumer", "analytics-consumer-1"), h.Pod("analytics-consumer", "analytics-consumer-2")}
	rpc, door := h.Pod("analytics-rpc", "analytics-rpc-1"), h.Pod("url-api", "url-api-1")
	says := func(began, continued bool) map[string]any {
		return map[string]any{"hash": "", "began": began, "continued": continued}
	}
	consumers[0].Say(says(false, true))
	consumers[1].Say(says(false, false)) // it has seen none yet
	rpc.Say(says(false, true))
	door.Say(says(true, true))
	h.Telemetry("default", func(s *v1alpha1.TelemetrySpec) {
		s.Sampling = v1alpha1.Sampling{Ratio: "0.1", Overrides: []v1alpha1.Override{
			{Workload: "analytics-consumer", Ratio: "1"}, {Workload: "url-api", Ratio: "1"},
		}}
	})
	h.Workload("default", "analytics-consumer", "", "")
	consumers[1].Say(says(false, true))
	h.Workload("default", "analytics-consumer", v1alpha1.ReasonNoRootSpans, "the override's ratio is without effect")
	h.Workload("default", "url-api", "", "")
	h.Workload("default", "analytics-rpc", "", "") // nobody has said that it should have another ratio
	told := func() error {
		var list eventsv1.EventList
		if err := api.List(t.Context(), &list, client.InNamespace(h.namespace)); err != nil {
			return err
		}
		count := 0
		for _, e := range list.Items {
			if e.Reason == v1alpha1.ReasonNoRootSpans && e.Type == corev1.EventTypeWarning && e.Series == nil {
				count++
			}
		}
		if count != 1 {
			return fmt.Errorf("it is told %d times in %+v", count, list.Items)
		}
		return nil
	}
	eventually(t, told)

	consumers[1].Say(nil) // one that does not answer says nothing against it
	h.Change("default", func(s *v1alpha1.TelemetrySpec) { s.Exporter.Endpoint = "elsewhere:4317" })
	h.Overlay("analytics-consumer", has("Endpoint: elsewhere:4317"))
	eventually(t, func() error {
		if status := h.Workload("default", "analytics-consumer", v1alpha1.ReasonNoRootSpans, ""); status.Unknown != 1 {
			return fmt.Errorf("it is %+v", status)
		}
		return nil
	})
	must(t, told())
	consumers[0].Say(says(true, true))
	h.Workload("default", "analytics-consumer", "", "")
}
