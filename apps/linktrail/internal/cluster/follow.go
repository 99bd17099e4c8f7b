package cluster

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
)

// again is how long to wait before a watch that has ended is begun anew.
const again = time.Second

// Follow calls show with the objects of a scope, by namespace and name, first as they are and then after each change, until
// ctx or show ends it; its error is that one. While the API server is away it says so once, with the error, and with nil when
// it is back; only at the start that is an error.
func (c *Client) Follow(ctx context.Context, in Scope, show func([]v1alpha1.Telemetry) error, say func(error)) error {
	begun, away := false, false
	for {
		err := c.watch(ctx, in, func(objects []v1alpha1.Telemetry) error {
			if away {
				say(nil)
			}
			begun, away = true, false
			return show(objects)
		})
		ended, over := errors.AsType[*showError](err)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case over:
			return ended.error
		case err != nil && (!begun || !passes(err)):
			return err
		case err != nil && !away:
			away = true
			say(err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(again):
		}
	}
}

// showError is what show has returned.
type showError struct{ error }

// watch lists and then watches, until the API server ends that, as it does now and then.
func (c *Client) watch(ctx context.Context, in Scope, show func([]v1alpha1.Telemetry) error) error {
	list, err := c.List(ctx, in)
	if err != nil {
		return err
	}
	objects := make(map[types.UID]v1alpha1.Telemetry, len(list.Items))
	for _, t := range list.Items {
		objects[t.UID] = t
	}
	if err := show(sorted(objects)); err != nil {
		return &showError{err}
	}
	options := in.options()
	options.Watch, options.ResourceVersion = true, list.ResourceVersion
	events, err := c.rest.Get().NamespaceIfScoped(in.Namespace, in.Namespace != "").Resource(resource).
		VersionedParams(options, c.params).Watch(ctx)
	if err != nil {
		return c.failure(err)
	}
	defer events.Stop()
	for event := range events.ResultChan() {
		t, ok := event.Object.(*v1alpha1.Telemetry)
		switch {
		case event.Type == watch.Error:
			if err := apierrors.FromObject(event.Object); !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
				return c.failure(err)
			}
			return nil
		case !ok:
			continue
		case event.Type == watch.Deleted:
			delete(objects, t.UID)
		default:
			objects[t.UID] = *t
		}
		if err := show(sorted(objects)); err != nil {
			return &showError{err}
		}
	}
	return nil
}

func sorted(objects map[types.UID]v1alpha1.Telemetry) []v1alpha1.Telemetry {
	return slices.SortedFunc(maps.Values(objects), func(a, b v1alpha1.Telemetry) int {
		if c := strings.Compare(a.Namespace, b.Namespace); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
}
