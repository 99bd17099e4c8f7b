package ops

import (
	"context"
	"sync/atomic"
)

// Once returns a check which is asked until it passes for the first time, and
// passes ever after: for what a service needs to start with but can do without for
// a while, such as its store.
func Once(check func(context.Context) error) func(context.Context) error {
	var passed atomic.Bool
	return func(ctx context.Context) error {
		if passed.Load() {
			return nil
		}
		if err := check(ctx); err != nil {
			return err
		}
		passed.Store(true)
		return nil
	}
}
