package cmd

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/linktrail/linktrail/internal/store"
	"github.com/linktrail/linktrail/internal/store/repair"
)

// rebuilt is what `clicks rebuild` did.
type rebuilt struct {
	looked

	RebuiltHours int64 `json:"rebuilt_hours"`
}

func (a *app) clicksRebuildCommand(flags *storeFlags) *cobra.Command {
	var f scopeFlags
	c := &cobra.Command{
		Use:   "rebuild",
		Short: "Make the statistics anew where they differ from the clicks",
		Long: `Compare the statistics with the clicks, and make those hours anew that differ. Everything may go on meanwhile: hours are
compared and written link by link, a few at a time, and only who writes a click of one of these hours waits for it.

Of a dimension with more than 200 values in an hour the most frequent of its first clicks are kept, the rest is "other".
Browsers, systems and devices are counted as this version knows them: hours that an earlier version counted may change.

A run that was interrupted is simply started again: hours that are right are not written. --after-link spares looking at the
links before. Where clicks were removed, statistics cannot be made anew: they stay as they are, and a --from before that is
refused with exit code 2.`,
		Example: `  linktrail clicks rebuild --store postgres://linktrail:secret@localhost:5432/linktrail
  linktrail clicks rebuild --code go-blog --from 2026-05-01 --to 2026-06-01`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx := c.Context()
			return a.withStore(ctx, flags, func(s store.Store) error {
				scope, err := f.scope(ctx, s)
				if err != nil {
					return err
				}
				result, err := repair.Rebuild(ctx, s, scope, a.tellProgress())
				if errors.Is(err, repair.ErrRemoved) {
					return usagef("--from %s: %w", f.from, err)
				}
				if err != nil {
					if result.Link > 1 {
						_, _ = fmt.Fprintf(a.err, "it came to link %d; --after-link %d goes on there\n", result.Link, result.Link-1)
					}
					return err
				}
				done := rebuilt{look(result), result.Different}
				return a.print(done, func(w io.Writer) error {
					done.notes(w)
					_, err := fmt.Fprintf(w, "looked at %s of %d links in %d hours, made %d hours anew\n", clicks(done.Clicks), done.Links, done.Hours, done.RebuiltHours)
					return err
				})
			})
		},
	}
	f.add(c)
	return c
}
