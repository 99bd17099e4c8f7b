package cmd

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/linktrail/linktrail/internal/store"
	"github.com/linktrail/linktrail/internal/store/repair"
)

func (a *app) clicksCommand() *cobra.Command {
	var flags storeFlags
	c := group("clicks", "Compare clicks with statistics, mend these, and remove clicks", `  linktrail clicks verify --kafka localhost:9092
  linktrail clicks rebuild --code go-blog
  linktrail clicks retain --months 13
  linktrail clicks purge go-blog`,
		a.clicksVerifyCommand(&flags), a.clicksRebuildCommand(&flags), a.clicksRetainCommand(&flags), a.clicksPurgeCommand(&flags))
	flags.add(c)
	return c
}

// scopeFlags say which clicks to look at.
type scopeFlags struct {
	code, from, to string
	after          int64
}

func (f *scopeFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.code, "code", "", "only the link that has this code")
	c.Flags().StringVar(&f.from, "from", "", "only from this time on, RFC 3339 or a date in UTC; whole hours")
	c.Flags().StringVar(&f.to, "to", "", "only before this time, RFC 3339 or a date in UTC; whole hours")
	c.Flags().Int64Var(&f.after, "after-link", 0, "only links with a higher id: where a run that was interrupted goes on")
}

func (f *scopeFlags) scope(ctx context.Context, s store.Store) (scope repair.Scope, err error) {
	if scope.From, err = moment("from", f.from); err != nil {
		return scope, err
	}
	if scope.To, err = moment("to", f.to); err != nil {
		return scope, err
	}
	if !scope.To.IsZero() && !scope.From.Before(scope.To) {
		return scope, usagef("--to %s is not after --from %s", f.to, f.from)
	}
	if scope.AfterLink = f.after; f.after < 0 {
		return scope, usagef("--after-link: %d is not allowed; it is the id of a link", f.after)
	}
	if f.code != "" {
		l, err := s.LinkByCode(ctx, f.code)
		if err != nil {
			return scope, err
		}
		scope.LinkID = l.ID
	}
	return scope, nil
}

func moment(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil && t.Year() >= 1970 {
			return t.UTC(), nil
		}
	}
	return time.Time{}, usagef("--%s %q is neither a time of RFC 3339 such as 2026-01-31T12:00:00Z nor a date such as 2026-01-31, from 1970 on", flag, text)
}

// progressEvery is how often long work tells how far it is.
const progressEvery = 5 * time.Second

// tellProgress tells how far a run is, from time to time.
func (a *app) tellProgress() func(repair.Progress) {
	next := time.Now().Add(progressEvery)
	return func(p repair.Progress) {
		if now := time.Now(); now.After(next) {
			next = now.Add(progressEvery)
			_, _ = fmt.Fprintf(a.err, "link %d of %d: %d clicks in %d hours, of which %d differ\n", p.Link, max(p.Link, p.LastLink), p.Clicks, p.Hours, p.Different)
		}
	}
}

// looked is what verify and rebuild print of a run.
type looked struct {
	From     *time.Time `json:"from"`
	To       *time.Time `json:"to"`
	KeptFrom *time.Time `json:"kept_from"`
	Links    int64      `json:"links"`
	Hours    int64      `json:"hours"`
	Clicks   int64      `json:"clicks"`
	// LastLink is the id of the last link that was looked at.
	LastLink int64 `json:"last_link"`
	// Gone are months whose clicks were removed other than by `clicks retain`.
	Gone []string `json:"gone_months"`
	// Purged are the ids of purged links of which something is left.
	Purged []int64 `json:"purged_links"`
}

func look(r repair.Result) looked {
	l := looked{From: optional(r.From), To: optional(r.To), KeptFrom: optional(r.KeptFrom), Links: r.Links, Hours: r.Hours, Clicks: r.Clicks,
		LastLink: r.Link, Gone: []string{}, Purged: append([]int64{}, r.Purged...)}
	for _, month := range r.Gone {
		l.Gone = append(l.Gone, month.Format("2006-01"))
	}
	return l
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// notes tells what was left out, and why.
func (l looked) notes(w io.Writer) {
	if l.KeptFrom != nil && (l.From == nil || l.From.Before(*l.KeptFrom)) {
		_, _ = fmt.Fprintf(w, "note: clicks are kept from %s on; the statistics before are left as they are\n", l.KeptFrom.Format(time.DateOnly))
	}
	if len(l.Gone) > 0 {
		_, _ = fmt.Fprintf(w, "note: there are statistics but no partition of %s: its clicks were not removed by `linktrail clicks retain`; left as it is\n",
			strings.Join(l.Gone, ", "))
	}
	if len(l.Purged) > 0 {
		_, _ = fmt.Fprintf(w, "note: clicks of %d purged links are yet to be removed; the consumer does it, `linktrail clicks purge` does it now\n", len(l.Purged))
	}
}
