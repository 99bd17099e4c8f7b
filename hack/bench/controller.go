//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/linktrail/linktrail/hack/testenv/machine"
	"github.com/linktrail/linktrail/hack/testenv/process"
	"github.com/linktrail/linktrail/hack/testenv/scrape"
)

// size is how many workloads there are, and how many Telemetry objects share them.
type size struct{ workloads, groups int }

func (s size) String() string {
	return fmt.Sprintf("controller with %d workloads of %d objects", s.workloads, s.groups)
}

// fleets are the rows of the controller's table.
var fleets = []size{{1000, 1}, {1000, 100}, {5000, 1}}

// fleetRounds is the most rounds of the controller's table.
const fleetRounds = 3

// wantsFleets reports whether any of them is to be measured.
func (o options) wantsFleets() bool {
	return o.controller != "" && slices.ContainsFunc(fleets, func(s size) bool { return o.wants(s.String()) })
}

// steered is a row of the controller's table.
type steered struct {
	size
	bytes  int // of a workload's Deployment and pod
	rounds []steering
}

// steering is what one round gives.
type steering struct {
	applied, delivered   time.Duration // from when the objects are made
	changed, redelivered time.Duration // from when their endpoint changes
	writes               float64       // requests that write, of the first
	rewrites             float64       // and of the second
	idle                 time.Duration // of a pass over all objects when nothing has changed
	idleWrites           float64       // of such passes: after a label has changed, and of a controller that has just started
	cpu                  time.Duration // of all of that
	peak, own            int64         // the most bytes that were resident, and those without what is mapped from files
	heap                 float64       // bytes of the Go heap in use
}

// steer measures the telemetry controller on clusters of several sizes.
func steer(ctx context.Context, o options) (rows []*steered, err error) {
	if !o.wantsFleets() {
		return nil, nil
	}
	c, err := newCluster(ctx)
	defer func() { err = errors.Join(err, c.close()) }()
	if err != nil {
		return nil, err
	}
	for _, w := range fleets {
		if !o.wants(w.String()) {
			continue
		}
		row, err := c.steerFleet(ctx, o, w)
		if err != nil {
			return rows, fmt.Errorf("%s: %w", w, err)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func (c *cluster) steerFleet(ctx context.Context, o options, of size) (row *steered, err error) {
	fmt.Fprintf(os.Stderr, "bench: making %d workloads\n", of.workloads)
	f, err := c.newFleet(ctx, of)
	defer func() { err = errors.Join(err, f.close()) }()
	if err != nil {
		return nil, err
	}
	row = &steered{size: of, bytes: f.bytes}
	for round := range min(o.rounds, fleetRounds) {
		s, err := f.round(ctx, o, round)
		if err != nil {
			return row, err
		}
		row.rounds = append(row.rounds, s)
		fmt.Fprintf(os.Stderr, "bench: round %d of %d, %s: applied %.1f s, in force %.1f s; a change %.1f s, %.1f s; %.0f and %.0f writes; unchanged %.2f s, %.0f writes; %.1f MiB (%.1f of its own), %.1f MiB heap, %.1f s CPU\n",
			round+1, min(o.rounds, fleetRounds), of, s.applied.Seconds(), s.delivered.Seconds(), s.changed.Seconds(), s.redelivered.Seconds(),
			s.writes, s.rewrites, s.idle.Seconds(), s.idleWrites, mebibytes(s.peak), mebibytes(s.own), mebibytes(s.heap), s.cpu.Seconds())
	}
	return row, nil
}

// round has a new controller do everything once. The endpoints are this round's own, so that nothing of the one before is
// of use.
func (f *fleet) round(ctx context.Context, o options, round int) (s steering, err error) {
	controller, err := f.startController(ctx, o)
	if err != nil {
		return s, err
	}
	defer func() {
		if controller != nil {
			err = errors.Join(err, controller.Stop())
		}
	}()
	first, second := fmt.Sprintf("jaeger-%d:4317", round), fmt.Sprintf("otel-collector-%d:4317", round)
	if s.applied, s.delivered, s.writes, err = f.pass(ctx, controller, first); err != nil {
		return s, err
	}
	if s.changed, s.redelivered, s.rewrites, err = f.pass(ctx, controller, second); err != nil {
		return s, err
	}

	// Nothing has changed for a controller that is there already,
	before, err := controller.rest(ctx, 0)
	if err != nil {
		return s, err
	}
	label := fmt.Appendf(nil, `{"metadata":{"labels":{"round":"%d"}}}`, round)
	touched := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: f.deployment}}
	if err = f.client.Patch(ctx, touched, client.RawPatch(types.MergePatchType, label)); err != nil {
		return s, err
	}
	after, err := controller.rest(ctx, before.passes+float64(f.groups))
	if err != nil {
		return s, err
	}
	s.idleWrites = after.writes - before.writes
	s.idle = time.Duration((after.passing - before.passing) / (after.passes - before.passes) * float64(f.groups) * float64(time.Second))
	s.heap = after.heap
	if s.peak, s.own, s.cpu, err = controller.footprint(); err != nil {
		return s, err
	}
	ending := controller
	controller = nil
	if err = ending.Stop(); err != nil {
		return s, err
	}

	// and for one that has just come.
	again, err := f.runController(ctx, o)
	if err != nil {
		return s, err
	}
	after, err = again.rest(ctx, float64(f.groups))
	if err != nil {
		return s, errors.Join(err, again.Stop())
	}
	s.idleWrites += after.writes
	peak, own, _, err := again.footprint()
	s.peak, s.own = max(s.peak, peak), max(s.own, own)
	if err = errors.Join(err, again.Stop()); err != nil {
		return s, err
	}
	return s, f.clear(ctx)
}

// pass has all objects send to an endpoint and returns how long it takes until all overlays are applied, and until all pods
// have them in force, and how much was written.
func (f *fleet) pass(ctx context.Context, p *controllerProcess, endpoint string) (applied, delivered time.Duration, writes float64, err error) {
	before, err := p.rest(ctx, 0)
	if err != nil {
		return 0, 0, 0, err
	}
	began := time.Now()
	if err = f.tellAll(ctx, endpoint); err != nil {
		return 0, 0, 0, err
	}
	if err = f.until(ctx, func() error { return f.applied(endpoint) }); err != nil {
		return 0, 0, 0, p.explain(err)
	}
	applied = time.Since(began)
	if err = f.until(ctx, func() error { return f.all("Ready") }); err != nil {
		return 0, 0, 0, p.explain(err)
	}
	delivered = time.Since(began)
	after, err := p.rest(ctx, before.passes)
	return applied, delivered, after.writes - before.writes, err
}

// controllerProcess is a telemetry controller.
type controllerProcess struct {
	*process.Process
	metrics string
	client  *http.Client
}

// runController starts the controller. It takes part in no election, whose renewals would be writes.
func (f *fleet) runController(ctx context.Context, o options) (*controllerProcess, error) {
	p := &controllerProcess{client: &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // the process is ours, and makes its certificate itself
	}}}
	var err error
	if p.metrics, err = process.FreeAddr(); err != nil {
		return nil, err
	}
	if p.Process, err = process.Start("telemetry-controller", []string{"KUBECONFIG=" + f.kubeconfig}, o.controller, "-namespace", f.namespace,
		"-leader-elect=false", "-metrics-bind-address", p.metrics, "-metrics-authentication=false", "-health-probe-bind-address", "0"); err != nil {
		return nil, err
	}
	ready := func() error {
		_, err := scrape.Get(ctx, p.client, "https://"+p.metrics+"/metrics")
		return err
	}
	if err := p.Await(ctx, ready); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

// startController starts the controller and waits until it works, which an object that selects nothing shows.
func (f *fleet) startController(ctx context.Context, o options) (*controllerProcess, error) {
	p, err := f.runController(ctx, o)
	if err != nil {
		return nil, err
	}
	const name = "first"
	object := f.object(name, "nobody", "nowhere:4317")
	err = f.client.Create(ctx, object)
	if err == nil {
		err = f.until(ctx, func() error {
			if seen := f.objects[name]; seen != nil {
				return hasCondition(seen, "ConfigApplied")
			}
			return errors.New("the first Telemetry has not been seen")
		})
	}
	if err == nil {
		err = f.client.Delete(ctx, object)
	}
	if err != nil {
		return nil, errors.Join(p.explain(err), p.Stop())
	}
	return p, nil
}

func (p *controllerProcess) explain(err error) error { return fmt.Errorf("%w\n%s", err, p.Log()) }

// doings are what a controller has done since it began.
type doings struct {
	passes  float64 // over one object each
	passing float64 // seconds
	writes  float64 // requests that are no GET: those of status and events too
	heap    float64 // bytes in use now
}

// rest waits until the controller has made so many passes and has nothing more to do, and returns what it has done.
func (p *controllerProcess) rest(ctx context.Context, passes float64) (d doings, err error) {
	ctx, cancel := context.WithTimeout(ctx, fleetDeadline)
	defer cancel()
	for quiet := 0; ; {
		m, err := scrape.Get(ctx, p.client, "https://"+p.metrics+"/metrics")
		if err != nil {
			return d, p.explain(err)
		}
		busy := m.Sum("controller_runtime_active_workers") + m.Sum("workqueue_depth")
		was := d
		const requests = "rest_client_requests_total"
		d = doings{
			passes: m.Sum("controller_runtime_reconcile_total"), passing: m.Sum("controller_runtime_reconcile_time_seconds_sum"),
			writes: m.Sum(requests) - m.With(`method="GET"`).Sum(requests), heap: m.Sum("go_memstats_heap_inuse_bytes"),
		}
		if quiet++; busy > 0 || d.passes < passes || d.writes != was.writes {
			quiet = 0
		}
		if quiet == 3 {
			return d, nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return d, p.explain(fmt.Errorf("%w: it has made %.0f passes of %.0f, and %.0f objects are waiting", ctx.Err(), d.passes, passes, busy))
		}
	}
}

// footprint returns the most memory that was resident, that without what is mapped from files, which is the binary and hardly
// changes, and the CPU time.
func (p *controllerProcess) footprint() (peak, own int64, cpu time.Duration, err error) {
	status := fmt.Sprintf("/proc/%d/status", p.PID())
	if peak, err = kibibytes(machine.Field(status, "VmHWM")); err != nil {
		return 0, 0, 0, err
	}
	file, err := kibibytes(machine.Field(status, "RssFile"))
	if err != nil {
		return 0, 0, 0, err
	}
	cpu, err = p.CPU()
	return peak, peak - file, cpu, err
}

// kibibytes reads what proc(5) writes, as in "1024 kB", and returns bytes.
func kibibytes(text string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSuffix(text, " kB"), 10, 64)
	return n << 10, err
}

func mebibytes[T number](bytes T) float64 { return float64(bytes) / (1 << 20) }

// steerTable writes the rows of the controller's table, and how it stands against what is asked of it.
func steerTable(rows []*steered) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d rounds; a Deployment and its pod are %.1f kB as JSON.\n\n", len(rows[0].rounds), float64(rows[0].bytes)/1e3)
	fmt.Fprintf(&b, "| workloads | Telemetry objects | applied, s | in force, s | a change applied, s | in force, s | writes | of the change | writes, nothing changed | such a pass, s | memory, MiB | of its own, MiB | Go heap, MiB | CPU, s |\n")
	fmt.Fprintf(&b, "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	var bars strings.Builder
	for _, row := range rows {
		of := func(figure func(steering) float64) []float64 {
			list := make([]float64, len(row.rounds))
			for i, s := range row.rounds {
				list[i] = figure(s)
			}
			return list
		}
		seconds := func(figure func(steering) time.Duration) float64 {
			return median(of(func(s steering) float64 { return figure(s).Seconds() }))
		}
		applied := seconds(func(s steering) time.Duration { return s.applied })
		changed := seconds(func(s steering) time.Duration { return s.changed })
		idle := slices.Max(of(func(s steering) float64 { return s.idleWrites }))
		peak := slices.Max(of(func(s steering) float64 { return mebibytes(s.peak) }))
		own := slices.Max(of(func(s steering) float64 { return mebibytes(s.own) }))
		fmt.Fprintf(&b, "| %d | %d | %.1f | %.1f | %.1f | %.1f | %.0f | %.0f | %.0f | %.2f | %.1f | %.1f | %.1f | %.1f |\n", row.workloads, row.groups,
			applied, seconds(func(s steering) time.Duration { return s.delivered }), changed, seconds(func(s steering) time.Duration { return s.redelivered }),
			median(of(func(s steering) float64 { return s.writes })), median(of(func(s steering) float64 { return s.rewrites })), idle,
			seconds(func(s steering) time.Duration { return s.idle }), peak, own, slices.Max(of(func(s steering) float64 { return mebibytes(s.heap) })),
			seconds(func(s steering) time.Duration { return s.cpu }))
		if row.size == fleets[0] {
			bar(&bars, "1,000 workloads reconciled in at most 10 s, also after a change", max(applied, changed), max(applied, changed) <= 10)
			bar(&bars, "then under 64 MiB of memory of its own", own, own < 64)
			bar(&bars, "and so with the mapped pages of its binary too", peak, peak < 64)
			bar(&bars, "no write on a second pass", idle, idle == 0)
		}
	}
	if bars.Len() > 0 {
		fmt.Fprintf(&b, "\n%s%s", barHead, bars.String())
	}
	return b.String()
}
