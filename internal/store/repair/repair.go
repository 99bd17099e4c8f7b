// Package repair compares the clicks of a store with their rollups, and makes rollups anew from clicks, while others write
// both. It goes through a store in chunks: some hours of one link, with tens of thousands of clicks at most unless a single
// hour has more. What is compared of a chunk is of one moment, and its memory and locks are gone before the next.
package repair

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/linktrail/linktrail/internal/store/rollup"
)

// How much a chunk holds at most, beside its first hour.
const (
	ChunkClicks  = 50_000
	ChunkRollups = 20_000
)

// A Chunk is a range of whole hours of one link, within one month.
type Chunk struct {
	LinkID   int64
	From, To time.Time
}

// State says why a chunk has nothing to compare.
type State int

// The states.
const (
	Comparable State = iota
	// Purged is a link whose clicks are being removed.
	Purged
	// Retained is a time from which clicks were removed by the retention.
	Retained
	// Gone is a month that has rollups but neither clicks nor a partition: somebody dropped it by hand.
	Gone
)

// Found is what a chunk holds.
type Found struct {
	State       State
	Clicks      int64
	Hours       int
	Differences []rollup.Difference
}

// Store is what this package needs of a store. Every method may be called by several processes at once.
type Store interface {
	// KeptFrom returns the time before which clicks were removed by the retention, the zero time when none were.
	KeptFrom(ctx context.Context) (time.Time, error)
	// LastLink returns the highest id of a link with rollups, 0 when there are none.
	LastLink(ctx context.Context) (int64, error)
	// NextLink returns the lowest id above after of a link with clicks or rollups, 0 when there is none.
	NextLink(ctx context.Context, after int64) (int64, error)
	// NextHour returns the first hour of a link from from on and before to that has clicks or rollups, to when none has.
	NextHour(ctx context.Context, linkID int64, from, to time.Time) (time.Time, error)
	// ChunkEnd returns the end of the chunk that begins at from and reaches to to at most.
	ChunkEnd(ctx context.Context, linkID int64, from, to time.Time) (time.Time, error)
	// CheckChunk compares clicks with rollups as they are at one moment. Clicks are found by the time in their id, which is
	// quick, or byTime, which reads all of the link's.
	CheckChunk(ctx context.Context, c Chunk, byTime bool) (Found, error)
	// RebuildHours makes the rollups of these hours, which are sorted, anew, in one transaction: writers of these hours wait,
	// others do not. It leaves everything as it is when the state is not Comparable.
	RebuildHours(ctx context.Context, linkID int64, hours []time.Time, byTime bool) (State, error)
	// HasStrays reports whether a click of a link has an id of another hour than its time's. linktrail makes no such ids.
	HasStrays(ctx context.Context, linkID int64) (bool, error)
}

// A Scope is what to look at; the zero Scope is everything.
type Scope struct {
	// LinkID, if set, is the only link.
	LinkID int64
	// AfterLink, if set, leaves out the links up to this id: an earlier run came so far.
	AfterLink int64
	// From and To, if set, bound the time. They are widened to whole hours.
	From, To time.Time
}

// forever is after every click that is counted.
var forever = time.Date(10000, time.January, 1, 0, 0, 0, 0, time.UTC)

// Progress is how far a run has come.
type Progress struct {
	// Link is the link that is looked at, LastLink the highest there is.
	Link, LastLink int64
	// Links, Hours and Clicks were looked at so far; of the hours Different ones were found to differ.
	Links, Hours, Clicks, Different int64
}

// Result is what a run found.
type Result struct {
	Progress
	// From and To are the bounds of what was looked at, zero where there are none.
	From, To time.Time
	// KeptFrom is where the retention has clicks begin; what lies before was left out.
	KeptFrom time.Time
	// Differences are how many counts differ.
	Differences int64
	// Purged are links whose clicks are yet to be removed.
	Purged []int64
	// Gone are the months whose clicks were removed other than by the retention, in order.
	Gone []time.Time
}

// ErrRemoved is a time whose clicks the retention has removed: the rollups are all that is left of them.
var ErrRemoved = errors.New("the clicks of that time were removed by the retention")

// Verify compares everything in a scope. It tells each chunk with differences to differs, and its progress after each
// chunk; both are called by one goroutine.
func Verify(ctx context.Context, s Store, scope Scope, differs func(linkID int64, d []rollup.Difference), progress func(Progress)) (Result, error) {
	w := walk{store: s, scope: scope, progress: progress}
	err := w.run(ctx, func(_ context.Context, c Chunk, _ bool, found Found) error {
		differs(c.LinkID, found.Differences)
		return nil
	})
	return w.result, err
}

// Rebuild makes the rollups of all hours in a scope that differ from their clicks anew; Different are those of its result.
// Where the clicks are gone, rollups stay: a scope that begins before what the retention keeps is refused with ErrRemoved.
// Run again, it finds what an interrupted run has done to be right.
func Rebuild(ctx context.Context, s Store, scope Scope, progress func(Progress)) (Result, error) {
	kept, err := s.KeptFrom(ctx)
	if err != nil {
		return Result{}, err
	}
	if !scope.From.IsZero() && scope.From.Before(kept) {
		return Result{KeptFrom: kept}, fmt.Errorf("%w: clicks are kept from %s on", ErrRemoved, kept.Format(time.RFC3339))
	}
	w := walk{store: s, scope: scope, progress: progress}
	err = w.run(ctx, func(ctx context.Context, c Chunk, byTime bool, found Found) error {
		var hours []time.Time
		for _, d := range found.Differences {
			hours = append(hours, d.Hour)
		}
		_, err := s.RebuildHours(ctx, c.LinkID, slices.CompactFunc(hours, time.Time.Equal), byTime)
		return err
	})
	return w.result, err
}

// walk goes through a store.
type walk struct {
	store    Store
	scope    Scope
	progress func(Progress)
	result   Result
	// strays is known of the link strayLink.
	strays    bool
	strayLink int64
}

func (w *walk) run(ctx context.Context, differing func(context.Context, Chunk, bool, Found) error) (err error) {
	r := &w.result
	if r.KeptFrom, err = w.store.KeptFrom(ctx); err != nil {
		return err
	}
	if r.LastLink, err = w.store.LastLink(ctx); err != nil {
		return err
	}
	r.From, r.To = w.scope.From.UTC().Truncate(time.Hour), w.scope.To.UTC()
	from, to := r.From, forever
	if r.KeptFrom.After(from) {
		from = r.KeptFrom
	}
	if !r.To.IsZero() {
		if whole := r.To.Truncate(time.Hour); whole.Before(r.To) {
			r.To = whole.Add(time.Hour)
		}
		to = r.To
	}
	for link := w.scope.LinkID; ; {
		if w.scope.LinkID == 0 {
			if link, err = w.store.NextLink(ctx, max(link, w.scope.AfterLink)); err != nil || link == 0 {
				return err
			}
		}
		if err := w.link(ctx, link, from, to, differing); err != nil {
			return err
		}
		if w.scope.LinkID != 0 {
			return nil
		}
	}
}

func (w *walk) link(ctx context.Context, link int64, from, to time.Time, differing func(context.Context, Chunk, bool, Found) error) error {
	w.result.Link = link
	seen := false
	for {
		start, err := w.store.NextHour(ctx, link, from, to)
		if err != nil || !start.Before(to) {
			return err
		}
		if !seen {
			seen = true
			w.result.Links++
		}
		end := time.Date(start.Year(), start.Month()+1, 1, 0, 0, 0, 0, time.UTC)
		if to.Before(end) {
			end = to
		}
		if end, err = w.store.ChunkEnd(ctx, link, start, end); err != nil {
			return err
		}
		state, err := w.chunk(ctx, Chunk{link, start, end}, differing)
		if err != nil || state == Purged {
			return err
		}
		from = end
	}
}

func (w *walk) chunk(ctx context.Context, c Chunk, differing func(context.Context, Chunk, bool, Found) error) (State, error) {
	r := &w.result
	byTime := w.strayLink == c.LinkID && w.strays
	found, err := w.store.CheckChunk(ctx, c, byTime)
	if err == nil && len(found.Differences) > 0 && w.strayLink != c.LinkID {
		// Only now it is worth the time to see whether the clicks were all found.
		if w.strays, err = w.store.HasStrays(ctx, c.LinkID); err == nil && w.strays {
			found, err = w.store.CheckChunk(ctx, c, true)
		}
		w.strayLink, byTime = c.LinkID, w.strays
	}
	if err != nil {
		return found.State, err
	}
	switch found.State {
	case Purged:
		r.Purged = append(r.Purged, c.LinkID)
	case Gone:
		month := time.Date(c.From.Year(), c.From.Month(), 1, 0, 0, 0, 0, time.UTC)
		if i, there := slices.BinarySearchFunc(r.Gone, month, time.Time.Compare); !there {
			r.Gone = slices.Insert(r.Gone, i, month)
		}
	case Comparable:
		r.Hours += int64(found.Hours)
		r.Clicks += found.Clicks
		r.Differences += int64(len(found.Differences))
		var last time.Time
		for _, d := range found.Differences {
			if !d.Hour.Equal(last) {
				r.Different++
				last = d.Hour
			}
		}
		if len(found.Differences) > 0 {
			err = differing(ctx, c, byTime, found)
		}
	}
	w.progress(r.Progress)
	return found.State, err
}
