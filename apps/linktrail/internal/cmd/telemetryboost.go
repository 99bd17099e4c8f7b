package cmd

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/linktrail/linktrail/apps/linktrail/internal/cluster"
	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
)

// boostFlags are what `linktrail telemetry boost` was told.
type boostFlags struct {
	cluster            clusterFlags
	telemetry          string
	ratio              float64
	lasting            time.Duration
	replace, end, wait bool
}

func (a *app) telemetryBoostCommand() *cobra.Command {
	var f boostFlags
	c := &cobra.Command{
		Use:   "boost WORKLOAD",
		Short: "Record more traces of a workload of a cluster, for a while",
		Long: `Have a workload record another share of new traces for a while: an override with an end, put into the Telemetry object that
selects the workload. The telemetry controller brings it to the pods that run, without a restart, and takes it back at the
end; this command need not stay. A boost takes the place of an earlier one of the workload; --end takes it back at once.

The ratio counts where traces begin; at linktrail that is url-api.

By default the command returns once the cluster has taken it, which is before the pods have. --watch shows how they follow,
and returns when all have it in force: from then on each click counts. Ctrl-C then leaves the boost as it is. What keeps it
from coming into force ends the command with exit code 7. To see it end: linktrail telemetry status --watch.

An override that somebody has given no end is not lost by mistake: that is refused with exit code 6, unless --replace is
given.`,
		Example: `  linktrail telemetry boost url-api
  linktrail telemetry boost url-api --ratio 0.5 --for 1h --watch
  linktrail telemetry boost url-api --end
  linktrail telemetry boost url-api --telemetry default --namespace linktrail --context prod`,
		Args: oneArg("WORKLOAD"),
		RunE: func(c *cobra.Command, args []string) error {
			for _, other := range []string{"ratio", "for", "replace"} {
				if err := exclusive(c, "end", other); err != nil {
					return err
				}
			}
			return a.boost(c.Context(), args[0], f)
		},
	}
	f.cluster.register(a, c, workloadNames)
	flags := c.Flags()
	flags.Float64Var(&f.ratio, "ratio", 1, "the share of new traces that are recorded, 0 to 1")
	flags.DurationVar(&f.lasting, "for", 10*time.Minute, "how long, by the clock of this machine")
	flags.StringVar(&f.telemetry, "telemetry", "", "the Telemetry object (default the one that selects the workload)")
	flags.BoolVar(&f.replace, "replace", false, "take the place of an override without an end, too")
	flags.BoolVar(&f.end, "end", false, "take the boost back")
	flags.BoolVarP(&f.wait, "watch", "w", false, "show how pods follow, and return when all have it in force")
	_ = c.RegisterFlagCompletionFunc("telemetry", func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return f.cluster.offer(c.Context(), telemetryName), cobra.ShellCompDirectiveNoFileComp
	})
	return c
}

// ratioOf is a number as the object has it.
func ratioOf(number float64) (v1alpha1.Ratio, error) {
	text := strconv.FormatFloat(number, 'f', -1, 64)
	if !(number >= 0 && number <= 1) || len(text) > len("0.123456") {
		return "", usagef("--ratio %s is not 0 to 1, with up to six digits behind the point", text)
	}
	return v1alpha1.Ratio(text), nil
}

// shownOverride is an override as it is printed.
type shownOverride struct {
	Ratio v1alpha1.Ratio `json:"ratio"`
	Until *time.Time     `json:"until"` // null without an end
}

func showOverride(o *v1alpha1.Override) *shownOverride {
	if o == nil {
		return nil
	}
	s := &shownOverride{Ratio: o.Ratio}
	if o.Until != nil {
		s.Until = new(o.Until.UTC())
	}
	return s
}

// shownBoost is what boost prints.
type shownBoost struct {
	Namespace string         `json:"namespace"`
	Telemetry string         `json:"telemetry"`
	Workload  string         `json:"workload"`
	Ratio     v1alpha1.Ratio `json:"ratio"`
	Until     *time.Time     `json:"until,omitempty"`
	Replaced  *shownOverride `json:"replaced,omitempty"`
	Pods      int32          `json:"pods"`
	// InForceAfter is how many seconds it took until all pods had it in force.
	InForceAfter *float64 `json:"in_force_after_seconds,omitempty"`
}

func (a *app) boost(ctx context.Context, workload string, f boostFlags) error {
	ratio, err := ratioOf(f.ratio)
	if err != nil {
		return err
	}
	if f.lasting < time.Second {
		return usagef("--for %v is less than a second; --end takes a boost back", f.lasting)
	}
	client, err := f.cluster.Client()
	if err != nil {
		return err
	}
	began := time.Now()
	var change cluster.Change
	if f.end {
		change, err = client.End(ctx, f.telemetry, workload)
	} else {
		change, err = client.Boost(ctx, cluster.Boost{Workload: workload, Telemetry: f.telemetry, Ratio: ratio, For: f.lasting, Replace: f.replace})
	}
	if err != nil {
		return err
	}
	t := &change.Telemetry
	_, pods := change.Pods(t)
	shown := shownBoost{Namespace: t.Namespace, Telemetry: t.Name, Workload: workload, Ratio: change.Ratio(), Replaced: showOverride(change.Before), Pods: pods}
	if change.After != nil {
		shown.Until = new(change.After.Until.UTC())
	}
	if !f.wait {
		if stalled := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionStalled); stalled != nil && stalled.Status == "True" {
			_, _ = fmt.Fprintf(a.err, "Telemetry %s is stalled, and this not in force before that is mended: %s\n", t.Name, printable(stalled.Message))
		}
		return a.printBoost(shown)
	}
	a.say(boostLine(shown))
	if err := client.Await(ctx, change, a.say); err != nil {
		return err
	}
	shown.InForceAfter = new(time.Since(began).Round(100 * time.Millisecond).Seconds())
	return a.printBoost(shown)
}

// say tells a person what goes on.
func (a *app) say(text string) { _, _ = fmt.Fprintln(a.err, printable(text)) }

// boostLine says what was changed.
func boostLine(s shownBoost) string {
	text := fmt.Sprintf("Telemetry %s gives %s the ratio %s", s.Telemetry, s.Workload, s.Ratio)
	if s.Until != nil {
		text += " until " + localTime(s.Until)
	}
	switch r := s.Replaced; {
	case r == nil:
	case r.Until == nil:
		text += fmt.Sprintf(", in place of %s, which had no end", r.Ratio)
	case r.Until.After(time.Now()):
		text += fmt.Sprintf(", in place of %s until %s", r.Ratio, localTime(r.Until))
	}
	return text
}

func (a *app) printBoost(s shownBoost) error {
	return a.print(s, func(w io.Writer) error {
		if s.InForceAfter != nil {
			_, err := fmt.Fprintf(w, "%d pods have it in force after %.1f s\n", s.Pods, *s.InForceAfter)
			return err
		}
		_, err := fmt.Fprintf(w, "%s; %d pods are to follow, see `linktrail telemetry status %s --namespace %s`\n", boostLine(s), s.Pods, s.Telemetry, s.Namespace)
		return err
	})
}
