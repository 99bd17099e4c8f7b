package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"reflect"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/linktrail/linktrail/apps/linktrail/internal/cluster"
	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
)

func (a *app) telemetryStatusCommand() *cobra.Command {
	var (
		f               clusterFlags
		everywhere, see bool
	)
	c := &cobra.Command{
		Use:   "status [NAME]",
		Short: "Show who has followed the Telemetry objects of a cluster",
		Long: `Show the Telemetry objects of a namespace, or the one called NAME, as the telemetry controller reports them: where spans go,
and for each workload the ratio that holds, until when if a boost gives it, the hash of what was applied, and how many pods
have it in force (done), have something else (pending), or do not answer (unknown). A remark is what keeps a workload from it.

--watch goes on showing: on a terminal the whole anew at each change, else a line for each change, with --output json one
object a line. Ctrl-C ends it, with exit code 0.

The exit code is 7 when an object is not delivered to all pods, or the controller has not looked at its last change.`,
		Example: `  linktrail telemetry status
  linktrail telemetry status default --namespace linktrail --watch
  linktrail telemetry status --all-namespaces --output json
  until linktrail telemetry status default; do sleep 1; done`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("`linktrail telemetry status` takes one NAME, or none for all; see `linktrail telemetry status --help`")
			}
			return exclusive(c, "all-namespaces", "namespace")
		},
		RunE: func(c *cobra.Command, args []string) error {
			if see && a.output == "yaml" {
				return usagef("--output yaml: with --watch it is a table or JSON, one object a line")
			}
			client, err := f.Client()
			if err != nil {
				return err
			}
			in := cluster.Scope{Namespace: client.Namespace}
			if everywhere {
				in.Namespace = ""
			}
			if len(args) == 1 {
				in.Name = args[0]
			}
			if see {
				return a.watchTelemetry(c.Context(), client, in)
			}
			list, err := client.List(c.Context(), in)
			if err != nil {
				return err
			}
			return a.printTelemetry(showTelemetry(list.Items, time.Now()), in)
		},
	}
	f.register(a, c, telemetryName)
	c.Flags().BoolVarP(&everywhere, "all-namespaces", "A", false, "the objects of all namespaces")
	c.Flags().BoolVarP(&see, "watch", "w", false, "go on showing, until Ctrl-C")
	return c
}

// shownWorkload is a workload as it is printed.
type shownWorkload struct {
	Kind          string         `json:"kind"`
	Name          string         `json:"name"`
	Ratio         v1alpha1.Ratio `json:"ratio,omitempty"`
	Until         *time.Time     `json:"until,omitempty"` // when a boost gives the ratio
	Hash          string         `json:"hash,omitempty"`
	Done          int32          `json:"done"`
	Pending       int32          `json:"pending"`
	Unknown       int32          `json:"unknown"`
	ConflictsWith string         `json:"conflicts_with,omitempty"`
	Reason        string         `json:"reason,omitempty"`
	Message       string         `json:"message,omitempty"`
}

// shownObject is a Telemetry object as it is printed.
type shownObject struct {
	Namespace string          `json:"namespace"`
	Name      string          `json:"name"`
	Endpoint  string          `json:"endpoint,omitempty"`
	Ratio     v1alpha1.Ratio  `json:"ratio"`
	Ready     string          `json:"ready"` // True, False or Unknown
	Reason    string          `json:"reason"`
	Message   string          `json:"message,omitempty"`
	Pods      string          `json:"pods,omitempty"`
	Workloads []shownWorkload `json:"workloads"`
	Omitted   int32           `json:"omitted_workloads,omitempty"` // how many more there are
	Deleted   bool            `json:"deleted,omitempty"`           // only while watching
}

// showTelemetry is objects as they are printed at a time. What the status says of an earlier spec counts as unknown.
func showTelemetry(objects []v1alpha1.Telemetry, now time.Time) []shownObject {
	shown := make([]shownObject, len(objects))
	for i := range objects {
		t := &objects[i]
		s := shownObject{Namespace: t.Namespace, Name: t.Name, Endpoint: t.Status.Endpoint, Ratio: t.Spec.Sampling.Ratio, Pods: t.Status.Pods, Omitted: t.Status.OmittedWorkloads,
			Ready: "Unknown", Reason: "NotObserved", Message: "the telemetry controller has not looked at this yet", Workloads: []shownWorkload{}}
		if ready := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionReady); ready != nil && t.Status.ObservedGeneration == t.Generation {
			s.Ready, s.Reason, s.Message = string(ready.Status), ready.Reason, ready.Message
		}
		for _, w := range t.Status.Workloads {
			line := shownWorkload{Kind: w.Kind, Name: w.Name, Ratio: w.Ratio, Hash: w.Hash,
				Done: w.Done, Pending: w.Pending, Unknown: w.Unknown, ConflictsWith: w.ConflictsWith, Reason: w.Reason, Message: w.Message}
			for _, o := range t.Spec.Sampling.Overrides {
				if o.Workload == w.Name && o.Ratio == w.Ratio && o.Until != nil && now.Before(o.Until.Time) {
					line.Until = new(o.Until.UTC())
				}
			}
			s.Workloads = append(s.Workloads, line)
		}
		shown[i] = s
	}
	return shown
}

// errNotDelivered is told by the exit code too.
type errNotDelivered struct{ object shownObject }

func (e errNotDelivered) Error() string {
	return fmt.Sprintf("Telemetry %s/%s is not delivered: %s: %s", e.object.Namespace, e.object.Name, e.object.Reason, e.object.Message)
}

func (a *app) printTelemetry(shown []shownObject, in cluster.Scope) error {
	if len(shown) == 0 {
		return noTelemetry(in)
	}
	err := a.print(map[string][]shownObject{"telemetries": shown}, func(w io.Writer) error { return telemetryTables(w, shown, in.Namespace == "") })
	if err != nil {
		return err
	}
	for _, s := range shown {
		if s.Ready != "True" {
			return errNotDelivered{s}
		}
	}
	return nil
}

func noTelemetry(in cluster.Scope) error {
	what, where := "there is no Telemetry", "any namespace"
	if in.Name != "" {
		what += " " + strconv.Quote(in.Name)
	}
	if in.Namespace != "" {
		where = "namespace " + in.Namespace + "; name another one with --namespace"
	}
	return &cluster.Error{Kind: cluster.NotFound, Err: fmt.Errorf("%s in %s", what, where)}
}

// telemetryTables draws each object, and its workloads below it.
func telemetryTables(w io.Writer, shown []shownObject, namespaces bool) error {
	for i, s := range shown {
		name := s.Name
		if namespaces {
			name = s.Namespace + "/" + s.Name
		}
		if i > 0 {
			_, _ = fmt.Fprintln(w)
		}
		if err := rows(w, [][]string{{"TELEMETRY", "ENDPOINT", "RATIO", "READY", "REASON", "PODS"},
			{name, dashed(s.Endpoint), string(s.Ratio), s.Ready, s.Reason, dashed(s.Pods)}}); err != nil {
			return err
		}
		if s.Ready != "True" {
			_, _ = fmt.Fprintln(w, printable(s.Message))
		}
		if len(s.Workloads) == 0 {
			continue
		}
		lines := [][]string{{"WORKLOAD", "RATIO", "UNTIL", "HASH", "DONE", "PENDING", "UNKNOWN", "REMARK"}}
		for _, l := range s.Workloads {
			lines = append(lines, []string{l.Kind + "/" + l.Name, dashed(string(l.Ratio)), dashed(localTime(l.Until)), dashed(shortHash(l.Hash)),
				fmt.Sprint(l.Done), fmt.Sprint(l.Pending), fmt.Sprint(l.Unknown), dashed(l.remark())})
		}
		if err := rows(w, lines); err != nil {
			return err
		}
		if s.Omitted > 0 {
			_, _ = fmt.Fprintf(w, "and %d more workloads\n", s.Omitted)
		}
	}
	return nil
}

// remark is what there is to say of a workload; empty when it just does as it is told.
func (w shownWorkload) remark() string {
	switch {
	case w.ConflictsWith != "":
		return "Telemetry " + w.ConflictsWith + " selects it too"
	case w.Reason != "":
		return w.Reason + ": " + w.Message
	}
	return ""
}

func localTime(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Local().Format(time.DateTime)
}

func shortHash(hash string) string { return hash[:min(8, len(hash))] }

// watchTelemetry shows objects until ctx ends or nobody reads.
func (a *app) watchTelemetry(ctx context.Context, client *cluster.Client, in cluster.Scope) error {
	signal.Ignore(syscall.SIGPIPE) // a reader such as head may end before us
	draw := a.changes()
	if a.output == "table" && isTerminal(a.out) {
		draw = a.redraw(in)
	}
	err := client.Follow(ctx, in, func(objects []v1alpha1.Telemetry) error {
		return draw(showTelemetry(objects, time.Now()))
	}, func(err error) {
		if err != nil {
			_, _ = fmt.Fprintf(a.err, "linktrail: %s; trying again\n", oneLine(err))
			return
		}
		_, _ = fmt.Fprintf(a.err, "linktrail: %s answers again\n", client.Server)
	})
	if errors.Is(err, context.Canceled) || errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}

// redraw draws all of it anew, on an empty screen.
func (a *app) redraw(in cluster.Scope) func([]shownObject) error {
	return func(shown []shownObject) error {
		var page bytes.Buffer
		page.WriteString("\x1b[2J\x1b[H")
		if err := telemetryTables(&page, shown, in.Namespace == ""); err != nil {
			return err
		}
		if len(shown) == 0 {
			_, _ = fmt.Fprintln(&page, noTelemetry(in))
		}
		_, err := a.out.Write(page.Bytes())
		return err
	}
}

// changes prints what differs from the call before, a line each.
func (a *app) changes() func([]shownObject) error {
	before := make(map[string]shownObject)
	return func(shown []shownObject) error {
		now := make(map[string]shownObject, len(shown))
		for _, s := range shown {
			key := s.Namespace + "/" + s.Name
			now[key] = s
			if was, ok := before[key]; !ok || !reflect.DeepEqual(was, s) {
				if err := a.changed(was, s); err != nil {
					return err
				}
			}
		}
		for key, was := range before {
			if _, ok := now[key]; !ok {
				was.Deleted = true
				if err := a.changed(was, was); err != nil {
					return err
				}
			}
		}
		before = now
		return nil
	}
}

// changed prints an object that was another.
func (a *app) changed(was, s shownObject) error {
	if a.output == "json" {
		encoder := json.NewEncoder(a.out)
		encoder.SetEscapeHTML(false)
		return encoder.Encode(s)
	}
	line := func(format string, args ...any) error {
		_, err := fmt.Fprintf(a.out, "%s %s/%s %s\n", time.Now().Format(time.TimeOnly), s.Namespace, s.Name, printable(fmt.Sprintf(format, args...)))
		return err
	}
	if s.Deleted {
		return line("is deleted")
	}
	if was.Ready != s.Ready || was.Reason != s.Reason || was.Message != s.Message || was.Endpoint != s.Endpoint || was.Ratio != s.Ratio {
		if err := line("spans to %s, ratio %s, ready %s: %s: %s", dashed(s.Endpoint), s.Ratio, s.Ready, s.Reason, s.Message); err != nil {
			return err
		}
	}
	known := make(map[string]shownWorkload)
	for _, w := range was.Workloads {
		known[w.Kind+"/"+w.Name] = w
	}
	for _, w := range s.Workloads {
		if before, ok := known[w.Kind+"/"+w.Name]; ok && reflect.DeepEqual(before, w) {
			continue
		}
		until, remark := "", ""
		if w.Until != nil {
			until = " until " + localTime(w.Until)
		}
		if text := w.remark(); text != "" {
			remark = ", " + text
		}
		if err := line("%s/%s: ratio %s%s, hash %s, %d done, %d pending, %d unknown%s", w.Kind, w.Name, dashed(string(w.Ratio)), until, dashed(shortHash(w.Hash)),
			w.Done, w.Pending, w.Unknown, remark); err != nil {
			return err
		}
	}
	return nil
}
