package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
)

// Boost is another ratio for a workload for a while: an override with an end.
type Boost struct {
	Workload  string
	Telemetry string // the object that it goes into; without it, the one that selects the workload
	Ratio     v1alpha1.Ratio
	For       time.Duration
	Replace   bool // also an override without an end, which is gone then
}

// Change is what was changed of a workload's overrides.
type Change struct {
	Telemetry v1alpha1.Telemetry // as it is since
	Workload  string
	Before    *v1alpha1.Override // nil without one
	After     *v1alpha1.Override // nil without one
}

// Boost adds the override, in place of one that has ended or is to end. Whatever else someone changes meanwhile stays. The
// end is by the clock of this machine.
func (c *Client) Boost(ctx context.Context, b Boost) (Change, error) {
	return c.change(ctx, b.Telemetry, b.Workload, selects(b.Workload, b.Telemetry != ""), func(t *v1alpha1.Telemetry, before *v1alpha1.Override) (*v1alpha1.Override, error) {
		if before != nil && before.Until == nil && !b.Replace {
			return nil, errorf(Taken, "Telemetry %s has an override for %s that does not end, ratio %s: with --replace the boost takes its place, and it is gone afterwards",
				t.Name, b.Workload, before.Ratio)
		}
		// Whole seconds are what the object holds.
		until := metav1.NewTime(time.Now().Add(b.For + time.Second).Truncate(time.Second))
		return &v1alpha1.Override{Workload: b.Workload, Ratio: b.Ratio, Until: &until}, nil
	})
}

// End takes back a boost of a workload, in the one object that has one, or in that which is named.
func (c *Client) End(ctx context.Context, telemetry, workload string) (Change, error) {
	return c.change(ctx, telemetry, workload, hasOverride(workload), func(t *v1alpha1.Telemetry, before *v1alpha1.Override) (*v1alpha1.Override, error) {
		if before.Until == nil {
			return nil, errorf(Taken, "the override for %s in Telemetry %s is no boost, since it does not end: edit the object to take it back", workload, t.Name)
		}
		return nil, nil
	})
}

// candidates says which objects a change may go into, and why none of those that there are may.
type candidates struct {
	may     func(t *v1alpha1.Telemetry) bool
	several string // what is so of more than one
	none    func(among []v1alpha1.Telemetry) error
}

// selects is by what the controller has found, so that a right to read workloads is not needed. An object that selects so
// many that it does not list them all is believed to select it when it is named.
func selects(workload string, named bool) candidates {
	return candidates{
		may: func(t *v1alpha1.Telemetry) bool {
			return named && t.Status.OmittedWorkloads > 0 ||
				slices.ContainsFunc(t.Status.Workloads, func(w v1alpha1.WorkloadStatus) bool { return w.Name == workload })
		},
		several: "select " + workload + ", so that none of them is applied to it",
		none: func(among []v1alpha1.Telemetry) error {
			var there, unseen []string
			for _, t := range among {
				if t.Status.OmittedWorkloads > 0 {
					return errorf(NotFound, "Telemetry %s does not list %q, but neither does it %d of its workloads: if that is one of them, say so with --telemetry %s",
						t.Name, workload, t.Status.OmittedWorkloads, t.Name)
				}
				if t.Status.ObservedGeneration == 0 {
					unseen = append(unseen, t.Name)
				}
				for _, w := range t.Status.Workloads {
					there = append(there, w.Name)
				}
			}
			slices.Sort(there)
			switch {
			case len(unseen) > 0:
				return errorf(NotFound, "the telemetry controller has not looked at Telemetry %s: is it running?", strings.Join(unseen, ", "))
			case len(there) == 0:
				return errorf(NotFound, "Telemetry %s selects no workload at all", names(among))
			}
			return errorf(NotFound, "Telemetry %s selects no workload %q, but %s", names(among), workload, strings.Join(slices.Compact(there), ", "))
		},
	}
}

func hasOverride(workload string) candidates {
	return candidates{
		may:     func(t *v1alpha1.Telemetry) bool { return indexOf(t, workload) >= 0 },
		several: "have an override for " + workload,
		none: func(among []v1alpha1.Telemetry) error {
			return errorf(NotFound, "there is no boost of %q in Telemetry %s", workload, names(among))
		},
	}
}

// choose returns the one object that a change goes into.
func (c *Client) choose(ctx context.Context, telemetry string, from candidates) (*v1alpha1.Telemetry, error) {
	list, err := c.List(ctx, Scope{Namespace: c.Namespace, Name: telemetry})
	switch {
	case err != nil:
		return nil, err
	case len(list.Items) == 0 && telemetry == "":
		return nil, errorf(NotFound, "there is no Telemetry in namespace %s; name another one with --namespace", c.Namespace)
	case len(list.Items) == 0:
		return nil, errorf(NotFound, "there is no Telemetry %q in namespace %s", telemetry, c.Namespace)
	}
	chosen := slices.DeleteFunc(slices.Clone(list.Items), func(t v1alpha1.Telemetry) bool { return !from.may(&t) })
	switch len(chosen) {
	case 0:
		return nil, from.none(list.Items)
	case 1:
		return &chosen[0], nil
	}
	return nil, errorf(Usage, "Telemetry %s all %s: choose one with --telemetry", names(chosen), from.several)
}

func indexOf(t *v1alpha1.Telemetry, workload string) int {
	return slices.IndexFunc(t.Spec.Sampling.Overrides, func(o v1alpha1.Override) bool { return o.Workload == workload })
}

// conflicts is how often a change is tried anew when someone else was faster: the controller too writes, into the status.
var conflicts = wait.Backoff{Steps: 12, Duration: 10 * time.Millisecond, Factor: 1.8, Jitter: 0.5}

// change puts what wanted returns in the place of a workload's override; nil takes it away. The patch names the version that
// was looked at: whoever is faster makes it fail, and then all is looked at anew.
func (c *Client) change(ctx context.Context, telemetry, workload string, from candidates,
	wanted func(t *v1alpha1.Telemetry, before *v1alpha1.Override) (*v1alpha1.Override, error)) (Change, error) {
	change := Change{Workload: workload}
	err := retry.RetryOnConflict(conflicts, func() error {
		t, err := c.choose(ctx, telemetry, from)
		if err != nil {
			return err
		}
		at := indexOf(t, workload)
		change.Before = nil
		if at >= 0 {
			change.Before = t.Spec.Sampling.Overrides[at].DeepCopy()
		}
		if change.After, err = wanted(t, change.Before); err != nil {
			return err
		}
		patch, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"resourceVersion": t.ResourceVersion},
			"spec":     map[string]any{"sampling": map[string]any{"overrides": overridesWith(t.Spec.Sampling.Overrides, at, change.After)}},
		})
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		change.Telemetry = v1alpha1.Telemetry{}
		err = c.rest.Patch(types.MergePatchType).Namespace(t.Namespace).Resource(resource).Name(t.Name).
			VersionedParams(&metav1.PatchOptions{FieldManager: "linktrail"}, c.params).Body(patch).Do(ctx).Into(&change.Telemetry)
		if apierrors.IsNotFound(err) {
			return errorf(NotFound, "Telemetry %s was deleted meanwhile", t.Name)
		}
		return err
	})
	if apierrors.IsConflict(err) {
		return change, errorf(Away, "others change the object all the time: %w; try again", err)
	}
	return change, c.failure(err)
}

// overridesWith returns overrides with another one in a place, or at the end for -1; without it for nil.
func overridesWith(overrides []v1alpha1.Override, at int, o *v1alpha1.Override) []v1alpha1.Override {
	switch {
	case o == nil && len(overrides) == 1:
		return nil
	case o == nil:
		return slices.Delete(overrides, at, at+1)
	case at < 0:
		return append(overrides, *o)
	}
	overrides[at] = *o
	return overrides
}

// Ratio is the one that the change gives the workload.
func (c Change) Ratio() v1alpha1.Ratio {
	if c.After != nil {
		return c.After.Ratio
	}
	return c.Telemetry.Spec.Sampling.Ratio
}

// Pods is how many of the workload's pods have the change in force, and how many there are, by an object's status.
func (c Change) Pods(t *v1alpha1.Telemetry) (done, all int32) {
	for _, w := range t.Status.Workloads {
		if w.Name == c.Workload {
			done += w.Done
			all += w.Done + w.Pending + w.Unknown
		}
	}
	return done, all
}

// Await returns once all pods of the workload have the change in force, and tells before how far that is. What keeps it from
// ever being so is an error.
func (c *Client) Await(ctx context.Context, change Change, tell func(string)) error {
	if change.After != nil {
		ended := errorf(Stuck, "the boost of %s has ended before all pods had it in force", change.Workload)
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, change.After.Until.Time, ended)
		defer cancel()
	}
	told := ""
	in := Scope{Namespace: change.Telemetry.Namespace, Name: change.Telemetry.Name}
	err := c.Follow(ctx, in, func(objects []v1alpha1.Telemetry) error {
		if len(objects) == 0 || objects[0].UID != change.Telemetry.UID {
			return errorf(NotFound, "Telemetry %s was deleted meanwhile", change.Telemetry.Name)
		}
		far, done, err := change.progress(&objects[0])
		switch {
		case err != nil:
			return err
		case far != told:
			tell(far)
			told = far
		}
		if done {
			return errDone
		}
		return nil
	}, func(err error) {
		if err != nil {
			tell(err.Error())
		}
	})
	switch {
	case errors.Is(err, errDone):
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return err
}

// errDone ends Await.
var errDone = errors.New("all pods have it in force")

// progress says how far an object is with a change.
func (c Change) progress(t *v1alpha1.Telemetry) (far string, done bool, err error) {
	var now *v1alpha1.Override
	if at := indexOf(t, c.Workload); at >= 0 {
		now = &t.Spec.Sampling.Overrides[at]
	}
	same := now == nil && c.After == nil || now != nil && c.After != nil && now.Ratio == c.After.Ratio && now.Until.Equal(c.After.Until)
	if !same {
		return "", false, errorf(Stuck, "someone else has changed the override for %s in Telemetry %s meanwhile", c.Workload, t.Name)
	}
	if t.Status.ObservedGeneration < t.Generation {
		return "waiting for the telemetry controller to look at it", false, nil
	}
	if stalled := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionStalled); stalled != nil && stalled.Status == metav1.ConditionTrue {
		return "", false, errorf(Stuck, "Telemetry %s is stalled: %s", t.Name, stalled.Message)
	}
	found, here, message := false, true, ""
	for _, w := range t.Status.Workloads {
		if w.Name == c.Workload {
			found, here = true, here && w.Ratio == c.Ratio()
			if w.Message != "" {
				message = "; " + w.Message
			}
		}
	}
	switch {
	case found, c.After == nil:
	case t.Status.OmittedWorkloads > 0: // those that have not followed are listed first
		ready := meta.IsStatusConditionTrue(t.Status.Conditions, v1alpha1.ConditionReady)
		return fmt.Sprintf("%s is one of %d workloads that Telemetry %s does not list; %s pods of all have it in force",
			c.Workload, t.Status.OmittedWorkloads, t.Name, t.Status.Pods), ready, nil
	default:
		return "", false, errorf(Stuck, "Telemetry %s selects %s no more", t.Name, c.Workload)
	}
	pods, all := c.Pods(t)
	return fmt.Sprintf("%d of %d pods have it in force%s", pods, all, message), here && pods == all, nil
}
