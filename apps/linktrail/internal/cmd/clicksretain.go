package cmd

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/linktrail/linktrail/internal/store"
	"github.com/linktrail/linktrail/internal/store/record"
)

// retention is what `clicks retain` did, or would do.
type retention struct {
	KeptFrom time.Time        `json:"kept_from"`
	DryRun   bool             `json:"dry_run"`
	Removed  []record.Removed `json:"removed"`
	// Purged is how many clicks of purged links there still were.
	Purged int64 `json:"purged"`
}

func (a *app) clicksRetainCommand(flags *storeFlags) *cobra.Command {
	var (
		months          int
		rollups, dryRun bool
	)
	c := &cobra.Command{
		Use:   "retain",
		Short: "Remove the clicks of months that are long over; their statistics stay",
		Long: `Remove the clicks of all months that were over N months ago: with --months 3, on any day of June, those of February and
before. PostgreSQL drops their partitions, for which the role must own the table clicks; SQLite deletes them bit by bit.
Statistics stay, unless --rollups takes those of the same months too.

The store remembers from when on clicks are kept. A click from before is never stored again, however long it was on its
way, and ` + "`linktrail clicks verify`" + ` and ` + "`rebuild`" + ` leave those months alone. Clicks of purged links that are left are removed too.

It may run at any time and again after a failure. Writers wait for moments; while somebody reads clicks for long, such as a
backup, a partition is tried again for a minute.`,
		Example: `  linktrail clicks retain --months 13 --dry-run
  linktrail clicks retain --months 13 --store postgres://linktrail:secret@localhost:5432/linktrail
  linktrail clicks retain --months 25 --rollups --output json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			const most = 1200
			if months < 1 || months > most {
				return usagef("--months: %d is not allowed; it is a number from 1 to %d", months, most)
			}
			return a.withStore(c.Context(), flags, func(s store.Store) error {
				return a.retain(c.Context(), s, record.Retention{Before: record.RetentionMonths(time.Now(), months), Rollups: rollups, DryRun: dryRun})
			})
		},
	}
	c.Flags().IntVar(&months, "months", 0, "how many whole months before this one are kept, 1 and more")
	c.Flags().BoolVar(&rollups, "rollups", false, "remove the statistics of those months too")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "change nothing, tell what would be removed")
	return c
}

func (a *app) retain(ctx context.Context, s store.Store, r record.Retention) error {
	done := retention{KeptFrom: r.Before, DryRun: r.DryRun, Removed: []record.Removed{}}
	err := s.Retain(ctx, r, func(part record.Removed) {
		done.Removed = append(done.Removed, part)
		_, _ = fmt.Fprintf(a.err, "%s %s\n", map[bool]string{false: "removed", true: "would remove"}[r.DryRun], shownRemoved(part))
	})
	if err != nil {
		return err
	}
	if !r.DryRun {
		if done.KeptFrom, err = s.KeptFrom(ctx); err != nil {
			return err
		}
		if err := s.RecheckPurged(ctx); err != nil {
			return err
		}
		if done.Purged, err = s.PurgeClicks(ctx); err != nil {
			return err
		}
	}
	return a.print(done, func(w io.Writer) error {
		if len(done.Removed) == 0 {
			_, _ = fmt.Fprintln(w, "there is nothing to remove")
		}
		if done.Purged > 0 {
			_, _ = fmt.Fprintf(w, "removed %s of purged links\n", clicks(done.Purged))
		}
		_, err := fmt.Fprintf(w, "%s from %s on\n", map[bool]string{false: "clicks are kept", true: "clicks would be kept"}[r.DryRun],
			done.KeptFrom.Format(time.DateOnly))
		return err
	})
}

func shownRemoved(r record.Removed) string {
	text := r.What
	switch {
	case r.Bytes > 0 && r.Rows >= 0:
		text += fmt.Sprintf(": about %d rows, %.1f MiB", r.Rows, float64(r.Bytes)/(1<<20))
	case r.Bytes > 0:
		text += fmt.Sprintf(": %.1f MiB", float64(r.Bytes)/(1<<20))
	default:
		text += ": " + strconv.FormatInt(r.Rows, 10) + " rows"
	}
	return text
}
