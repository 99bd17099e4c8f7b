package controller

import (
	"context"
	"fmt"
	"runtime/debug"

	"golang.org/x/sync/errgroup"
)

// inParallel calls do with each number below n, limit of them at once, and returns the first error, after which ctx has ended
// for the others. A panic is an error too: nobody recovers those of other goroutines than Reconcile's.
func inParallel(ctx context.Context, n, limit int, do func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(limit)
	for i := range n {
		group.Go(func() (err error) {
			defer func() {
				if p := recover(); p != nil {
					err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
				}
			}()
			return do(ctx, i)
		})
	}
	return group.Wait()
}
