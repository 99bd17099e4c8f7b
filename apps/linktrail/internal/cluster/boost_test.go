//go:build e2e

package cluster

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
)

// boosted is what `telemetry boost --output json` prints.
type boosted struct {
	Namespace, Telemetry, Workload, Ratio string
	Until                                 *time.Time
	Replaced                              *struct {
		Ratio string
		Until *time.Time
	}
	Pods         int
	InForceAfter *float64 `json:"in_force_after_seconds"`
}

// override is that of a workload; nil without one.
func (h *house) override(telemetry, workload string) *v1alpha1.Override {
	h.t.Helper()
	t := h.Get(telemetry)
	if at := indexOf(t, workload); at >= 0 {
		return &t.Spec.Sampling.Overrides[at]
	}
	return nil
}

// has waits until the controller gives a workload a ratio.
func (h *house) has(telemetry, workload string, ratio v1alpha1.Ratio) {
	h.t.Helper()
	eventually(h.t, func() error {
		workloads := h.Get(telemetry).Status.Workloads
		if !slices.ContainsFunc(workloads, func(w v1alpha1.WorkloadStatus) bool { return w.Name == workload && w.Ratio == ratio }) {
			return fmt.Errorf("workloads are %+v", workloads)
		}
		return nil
	})
}

func TestBoost(t *testing.T) {
	h := MustHouse(t)
	h.Deployment("url-api", "linktrail")
	h.Deployment("analytics-rpc", "linktrail")
	pods := []*pod{h.Pod("url-api", "url-api-1"), h.Pod("url-api", "url-api-2")}
	past := metav1.NewTime(time.Now().Add(-time.Hour).Truncate(time.Second))
	h.Telemetry("default", "linktrail", v1alpha1.Override{Workload: "analytics-rpc", Ratio: "0.25", Until: &past},
		v1alpha1.Override{Workload: "somebody", Ratio: "0.3"})
	h.Observed("default")
	pods[0].follows.Store(true)

	t.Run("OK it says how pods follow, until all have it in force", func(t *testing.T) {
		before := time.Now()
		r := start(t, h.command("boost", "url-api", "--watch"))
		r.says(&r.stderr, "Telemetry default gives url-api the ratio 1 until ")
		r.says(&r.stderr, "1 of 2 pods have it in force")
		pods[1].follows.Store(true)
		if code := r.end(); code != 0 || !strings.HasPrefix(r.stdout.String(), "2 pods have it in force after ") {
			t.Errorf("exit code %d, and it prints %q %q", code, &r.stdout, &r.stderr)
		}
		o := h.override("default", "url-api")
		if lasts := o.Until.Sub(before); o.Ratio != "1" || lasts < 10*time.Minute || lasts > 10*time.Minute+deadline {
			t.Errorf("the override is %+v", o)
		}
		s := h.status(0, "default")
		if w := s.Workloads[1]; w.Name != "url-api" || w.Ratio != "1" || w.Done != 2 || w.Until == nil || !w.Until.Equal(o.Until.Time) {
			t.Errorf("status is %+v", s)
		}
		if w := s.Workloads[0]; w.Name != "analytics-rpc" || w.Ratio != "0.1" || w.Until != nil {
			t.Errorf("status is %+v", s)
		}
	})
	t.Run("OK another boost takes its place, and all else stays", func(t *testing.T) {
		first := h.override("default", "url-api")
		var b boosted
		h.wantJSON(&b, "boost", "url-api", "--ratio", "0.5", "--for", "1h")
		if b.Namespace != h.namespace || b.Telemetry != "default" || b.Workload != "url-api" || b.Ratio != "0.5" || b.Pods != 2 || b.InForceAfter != nil ||
			b.Replaced == nil || b.Replaced.Ratio != "1" || !b.Replaced.Until.Equal(first.Until.Time) || !b.Until.Equal(h.override("default", "url-api").Until.Time) {
			t.Errorf("it prints %+v", b)
		}
		if o := h.override("default", "analytics-rpc"); o == nil || !o.Until.Equal(&past) {
			t.Errorf("one that has ended is %+v", o)
		}
		if o := h.override("default", "somebody"); o == nil || o.Ratio != "0.3" || o.Until != nil {
			t.Errorf("another workload's is %+v", o)
		}
		h.has("default", "url-api", "0.5")
	})
	t.Run("OK it is taken back", func(t *testing.T) {
		text := h.want(0, "boost", "url-api", "--end", "--watch").stdout
		if o := h.override("default", "url-api"); o != nil || !strings.HasPrefix(text, "2 pods have it in force after ") {
			t.Errorf("it prints %q, and the override is %+v", text, o)
		}
		if s := h.status(0, "default"); s.Workloads[1].Ratio != "0.1" || s.Workloads[1].Until != nil {
			t.Errorf("status is %+v", s)
		}
		if text := h.want(3, "boost", "url-api", "--end").stderr; !strings.Contains(text, `no boost of "url-api"`) {
			t.Errorf("it says %q", text)
		}
	})
	t.Run("OK one that has ended is replaced", func(t *testing.T) {
		h.want(0, "boost", "analytics-rpc")
		if o := h.override("default", "analytics-rpc"); o == nil || o.Ratio != "1" || !o.Until.After(time.Now()) {
			t.Errorf("the override is %+v", o)
		}
		h.want(0, "boost", "analytics-rpc", "--end")
	})
	t.Run("OK it ends by itself", func(t *testing.T) {
		r := start(t, h.command("status", "default", "--watch"))
		h.want(0, "boost", "url-api", "--watch")
		r.says(&r.stdout, "Deployment/url-api: ratio 1 until ")
		h.Change("default", func(s *v1alpha1.TelemetrySpec) { // so that its end is near, however long all that took
			for i := range s.Sampling.Overrides {
				if s.Sampling.Overrides[i].Workload == "url-api" {
					s.Sampling.Overrides[i].Until = &metav1.Time{Time: time.Now().Add(2 * time.Second)}
				}
			}
		})
		h.has("default", "url-api", "0.1")
		eventually(t, func() error {
			if lines := strings.Split(r.stdout.String(), "ratio 1 until "); !strings.Contains(lines[len(lines)-1], "Deployment/url-api: ratio 0.1, ") {
				return fmt.Errorf("it prints\n%s", &r.stdout)
			}
			return nil
		})
		r.interrupt()
	})
	t.Run("ErrNotInForce", func(t *testing.T) {
		pods[1].follows.Store(false)
		text := h.want(7, "boost", "url-api", "--for", "3s", "--watch").stderr
		if !strings.Contains(text, "has ended before all pods had it in force") {
			t.Errorf("it says %q", text)
		}
		pods[1].follows.Store(true)
	})
	t.Run("ErrReplaced", func(t *testing.T) {
		pods[1].follows.Store(false)
		r := start(t, h.command("boost", "url-api", "--ratio", "0.9", "--watch"))
		r.says(&r.stderr, "1 of 2 pods have it in force")
		h.want(0, "boost", "url-api", "--ratio", "0.8")
		r.says(&r.stderr, "someone else has changed the override for url-api")
		if code := r.end(); code != 7 {
			t.Errorf("exit code %d", code)
		}
		r = start(t, h.command("boost", "url-api", "--ratio", "0.7", "--watch"))
		r.says(&r.stderr, "1 of 2 pods have it in force")
		if code := r.interrupt(); code != 130 {
			t.Errorf("exit code %d after Ctrl-C", code)
		}
		if o := h.override("default", "url-api"); o == nil || o.Ratio != "0.7" {
			t.Errorf("Ctrl-C does not leave the boost as it is: %+v", o)
		}
		h.want(0, "boost", "url-api", "--end")
		pods[1].follows.Store(true)
	})
	t.Run("ErrNoEnd", func(t *testing.T) {
		h.Change("default", func(s *v1alpha1.TelemetrySpec) {
			s.Sampling.Overrides = append(s.Sampling.Overrides, v1alpha1.Override{Workload: "url-api", Ratio: "0.2"})
		})
		for _, args := range [][]string{{"boost", "url-api"}, {"boost", "url-api", "--end"}} {
			h.want(6, args...)
			if o := h.override("default", "url-api"); o == nil || o.Ratio != "0.2" || o.Until != nil {
				t.Errorf("%v: the override is %+v", args, o)
			}
		}
		if text := h.want(0, "boost", "url-api", "--replace").stdout; !strings.Contains(text, "in place of 0.2, which had no end") {
			t.Errorf("it prints %q", text)
		}
		if o := h.override("default", "url-api"); o.Ratio != "1" || o.Until == nil {
			t.Errorf("the override is %+v", o)
		}
	})
	t.Run("ErrConflict", func(t *testing.T) {
		h.Telemetry("other", "linktrail")
		eventually(t, func() error {
			for _, name := range []string{"default", "other"} {
				if w := h.Get(name).Status.Workloads; len(w) != 2 || w[0].ConflictsWith == "" {
					return fmt.Errorf("workloads are %+v", w)
				}
			}
			return nil
		})
		if text := h.want(2, "boost", "url-api").stderr; !strings.Contains(text, "Telemetry default, other all select url-api, so that none of them is applied to it") {
			t.Errorf("it says %q", text)
		}
		if text := h.want(0, "boost", "url-api", "--telemetry", "other").stderr; !strings.Contains(text, "Telemetry other is stalled") {
			t.Errorf("it says %q", text)
		}
		if text := h.want(7, "boost", "url-api", "--telemetry", "other", "--watch").stderr; !strings.Contains(text, "Telemetry other is stalled") {
			t.Errorf("it says %q", text)
		}
	})
}

// TestBoostUnseen boosts where no controller has looked.
func TestBoostUnseen(t *testing.T) {
	h := MustHouse(t)
	h.stop()
	h.Deployment("url-api", "linktrail")
	h.Telemetry("default", "linktrail")
	if text := h.want(3, "boost", "url-api").stderr; !strings.Contains(text, "the telemetry controller has not looked at Telemetry default: is it running?") {
		t.Errorf("it says %q", text)
	}
}

// TestConcurrent has others change an object just when we do.
func TestConcurrent(t *testing.T) {
	h := MustHouse(t)
	h.Deployment("url-api", "linktrail")
	later := metav1.NewTime(time.Now().Add(time.Hour).Truncate(time.Second))
	h.Telemetry("default", "linktrail", v1alpha1.Override{Workload: "first", Ratio: "0.3"}, v1alpha1.Override{Workload: "second", Ratio: "0.4"},
		v1alpha1.Override{Workload: "url-api", Ratio: "0.5", Until: &later})
	h.Observed("default")

	t.Run("OK between our look and our change", func(t *testing.T) {
		c, err := Config{Kubeconfig: kubeconfig, Namespace: h.namespace, Warnings: t.Output()}.Client()
		must(t, err)
		looks := 0
		change, err := c.change(t.Context(), "", "url-api", selects("url-api", false), func(_ *v1alpha1.Telemetry, before *v1alpha1.Override) (*v1alpha1.Override, error) {
			if looks++; looks == 1 { // what comes after it is in other places then
				h.Change("default", func(s *v1alpha1.TelemetrySpec) {
					s.Sampling.Overrides = s.Sampling.Overrides[1:]
					s.Sampling.Overrides[1].Ratio = "0.6"
					s.Exporter.Endpoint = "other:4317"
				})
			}
			return &v1alpha1.Override{Workload: "url-api", Ratio: "1", Until: &later}, nil
		})
		must(t, err)
		if looks < 2 || change.Before.Ratio != "0.6" {
			t.Errorf("after %d looks it has replaced %+v", looks, change.Before)
		}
		s := h.Get("default").Spec
		if o := s.Sampling.Overrides; s.Exporter.Endpoint != "other:4317" || len(o) != 2 || o[0].Workload != "second" || o[0].Ratio != "0.4" || o[1].Ratio != "1" {
			t.Errorf("the spec is %+v", s)
		}
	})
	t.Run("OK many at once", func(t *testing.T) {
		var names []string
		for i := range 6 {
			names = append(names, fmt.Sprintf("service-%d", i))
			h.Deployment(names[i], "linktrail")
		}
		for _, name := range names {
			h.has("default", name, "0.1")
		}
		h.want(0, "boost", names[0])
		h.want(0, "boost", names[1])
		var all sync.WaitGroup
		for i, name := range names {
			args := []string{"boost", name, "--ratio", fmt.Sprintf("0.%d", i+1)}
			if i < 2 {
				args = []string{"boost", name, "--end"}
			}
			all.Go(func() {
				if out, err := h.command(args...).CombinedOutput(); err != nil {
					t.Errorf("%v: %v\n%s", args, err, out)
				}
			})
		}
		all.Wait()
		for i, name := range names {
			o := h.override("default", name)
			if (i < 2) != (o == nil) || o != nil && o.Ratio != v1alpha1.Ratio(fmt.Sprintf("0.%d", i+1)) {
				t.Errorf("%s has %+v", name, o)
			}
		}
		if o := h.override("default", "second"); o == nil || o.Ratio != "0.4" {
			t.Errorf("another workload's is %+v", o)
		}
	})
}

// TestOmitted boosts a workload of an object that selects more than it lists, which the test writes as the controller does.
func TestOmitted(t *testing.T) {
	h := MustHouse(t)
	h.stop()
	h.Telemetry("default", "linktrail")
	status := func(ready metav1.ConditionStatus) {
		t.Helper()
		object := h.Get("default")
		object.Status = v1alpha1.TelemetryStatus{ObservedGeneration: object.Generation, Pods: "7/9", OmittedWorkloads: 4,
			Workloads: []v1alpha1.WorkloadStatus{{Kind: "Deployment", Name: "other", Ratio: "0.1", Pending: 2, Reason: "NotMounted", Message: "it mounts nothing"}},
			Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: ready, Reason: "NotMounted", Message: "it mounts nothing",
				LastTransitionTime: metav1.Now()}}}
		must(t, api.Status().Update(t.Context(), object))
	}
	status(metav1.ConditionFalse)
	if out, _ := h.command("status").Output(); !strings.Contains(string(out), "and 4 more workloads") || !strings.Contains(string(out), "NotMounted: it mounts nothing") {
		t.Errorf("status prints\n%s", out)
	}
	if text := h.want(3, "boost", "url-api").stderr; !strings.Contains(text, "say so with --telemetry default") {
		t.Errorf("it says %q", text)
	}
	r := start(t, h.command("boost", "url-api", "--telemetry", "default", "--watch"))
	r.says(&r.stderr, "waiting for the telemetry controller")
	status(metav1.ConditionFalse)
	r.says(&r.stderr, "url-api is one of 4 workloads that Telemetry default does not list; 7/9 pods of all")
	status(metav1.ConditionTrue)
	if code := r.end(); code != 0 {
		t.Errorf("exit code %d: %s", code, &r.stderr)
	}
	r = start(t, h.command("boost", "other", "--watch"))
	r.says(&r.stderr, "waiting for the telemetry controller")
	status(metav1.ConditionFalse)
	r.says(&r.stderr, "0 of 2 pods have it in force; it mounts nothing")
}
