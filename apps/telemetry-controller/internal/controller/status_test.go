package controller

import (
	"fmt"
	"testing"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
)

// TestShorten lists no more workloads than fit, and none that is done in place of one that is not.
func TestShorten(t *testing.T) {
	const more = 7
	status := v1alpha1.TelemetryStatus{}
	for i := range v1alpha1.ListedWorkloads + more {
		status.Workloads = append(status.Workloads, v1alpha1.WorkloadStatus{Kind: "Deployment", Name: fmt.Sprintf("workload-%04d", i), Done: 1})
	}
	last := status.Workloads[len(status.Workloads)-4:]
	last[0].ConflictsWith, last[1].Reason, last[2].Pending, last[3].Unknown = "other", v1alpha1.ReasonNotMounted, 1, 1
	want := append([]v1alpha1.WorkloadStatus(nil), last...)
	for range 2 { // again: nothing more is omitted
		shorten(&status)
		if len(status.Workloads) != v1alpha1.ListedWorkloads || status.OmittedWorkloads != more {
			t.Fatalf("%d are listed and %d omitted", len(status.Workloads), status.OmittedWorkloads)
		}
	}
	for i, w := range status.Workloads[1:] {
		if w.Name <= status.Workloads[i].Name {
			t.Fatalf("%s comes behind %s", w.Name, status.Workloads[i].Name)
		}
	}
	for i, w := range status.Workloads[len(status.Workloads)-4:] {
		if w != want[i] {
			t.Errorf("%+v is listed last but %d, want %+v", w, 3-i, want[i])
		}
	}
}
