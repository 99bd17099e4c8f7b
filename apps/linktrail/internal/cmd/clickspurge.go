package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/store"
)

// purged is what `clicks purge` did.
type purged struct {
	Links  int   `json:"links"`
	Clicks int64 `json:"clicks"`
}

func (a *app) clicksPurgeCommand(flags *storeFlags) *cobra.Command {
	c := &cobra.Command{
		Use:   "purge [CODE...]",
		Short: "Remove for good the clicks of links that were deleted",
		Long: `Remove the clicks and the statistics of links that had a code and were deleted without --purge, and see to it that no click
of them is stored any more, however long it was on its way. It reads all clicks, too: they alone tell of links that were
deleted before schema version 4. A code that a link has now is left alone: ` + "`linktrail links delete --purge`" + ` is for that.

Without a CODE, it removes what is left of links that are purged already, for which the consumer else takes some seconds.`,
		Example: `  linktrail clicks purge go-blog
  linktrail clicks purge --store postgres://linktrail:secret@localhost:5432/linktrail`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, codes []string) error {
			return a.withStore(c.Context(), flags, func(s store.Store) error { return a.purge(c.Context(), s, codes) })
		},
	}
	return c
}

func (a *app) purge(ctx context.Context, s store.Store, codes []string) error {
	var done purged
	for _, code := range codes {
		_, err := s.LinkByCode(ctx, code)
		if err == nil {
			return usagef("there is a link %s; delete it with `linktrail links delete %[1]s --purge`", code)
		}
		if link.KindOf(err) != link.KindNotFound {
			return err
		}
		n, err := s.PurgeDeleted(ctx, code)
		if err != nil {
			return err
		}
		if n == 0 {
			_, _ = fmt.Fprintf(a.err, "no deleted link with the code %s is left to purge\n", printable(code))
		}
		done.Links += n
	}
	err := s.RecheckPurged(ctx)
	if err == nil {
		done.Clicks, err = s.PurgeClicks(ctx)
	}
	return errors.Join(err, a.print(done, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "purged %d links, removed %s\n", done.Links, clicks(done.Clicks))
		return err
	}))
}
