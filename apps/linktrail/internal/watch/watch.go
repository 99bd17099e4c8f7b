// Package watch follows clicks as they come, each once: also those that become known late, behind clicks that were made
// after them, as when one of several consumers was slower than the others.
package watch

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/linktrail/linktrail/apps/linktrail/internal/client"
)

const (
	// Window is how much older than the newest click one may be that becomes known late.
	Window = 5 * time.Minute
	// pages is how many pages back are looked at for late ones, at most.
	pages = 50
	// lateEvery is how many looks go by between those that look back all of Window; the others look at what is new.
	lateEvery = 10
	// kept is how many ids are remembered, at most, beyond those of one look.
	kept = 2 * pages * client.MaxPage
	// Most is how many clicks one look returns, at most.
	Most = 50_000
)

// Source returns a page of clicks, newest first, that follows the one which said cursor; the first for an empty cursor.
type Source func(ctx context.Context, cursor string) (client.ClickPage, error)

// A Follower remembers what it has returned. Ids are UUIDv7, so their order is that of the clicks' times.
type Follower struct {
	source Source
	seen   map[string]bool
	floor  string // clicks up to this id are not looked at any more; empty is from the first on
	looks  int
}

// New returns a follower that knows no click yet.
func New(source Source) *Follower { return &Follower{source: source, seen: map[string]bool{}} }

// Start returns the latest clicks, oldest first; whatever else is known now counts as returned. A start that failed can be
// tried again.
func (f *Follower) Start(ctx context.Context, last int) ([]client.Click, error) {
	var found []client.Click
	ended := false
	cursor := ""
	for n := 0; n < pages || len(found) < last; n++ {
		page, err := f.source(ctx, cursor)
		if err != nil {
			return nil, err
		}
		found = append(found, page.Clicks...)
		if page.Next == nil || len(page.Clicks) == 0 {
			ended = true
			break
		}
		cursor = *page.Next
		if oldest := page.Clicks[len(page.Clicks)-1].ID; len(found) >= last && oldest < earliest(found[0].ID) {
			break
		}
	}
	for _, c := range found {
		f.seen[c.ID] = true
	}
	if !ended {
		f.floor = found[len(found)-1].ID
	}
	found = found[:min(last, len(found))]
	slices.Reverse(found)
	return found, nil
}

// Next returns the clicks that have become known since, oldest first. skipped says that there were more than Most, of which
// the oldest are left out. After an error nothing is lost: the next call returns what this one would have.
func (f *Follower) Next(ctx context.Context) (found []client.Click, skipped bool, err error) {
	f.looks++
	thorough := f.looks%lateEvery == 0
	floor, cursor, newest := f.floor, "", ""
	for n := 1; ; n++ {
		page, err := f.source(ctx, cursor)
		if err != nil {
			return nil, false, err
		}
		if len(page.Clicks) == 0 {
			break
		}
		if newest == "" {
			newest = page.Clicks[0].ID
		}
		before := len(found)
		for _, c := range page.Clicks {
			if c.ID > floor && !f.seen[c.ID] {
				found = append(found, c)
			}
		}
		oldest := page.Clicks[len(page.Clicks)-1].ID
		if len(found) >= Most {
			skipped, f.floor = true, oldest
			break
		}
		late := thorough && n < pages && oldest > earliest(newest)
		if page.Next == nil || oldest <= floor || len(found) == before && !late {
			break
		}
		cursor = *page.Next
	}
	for _, c := range found {
		f.seen[c.ID] = true
	}
	f.forget()
	slices.SortFunc(found, func(a, b client.Click) int { return strings.Compare(a.ID, b.ID) })
	return slices.CompactFunc(found, func(a, b client.Click) bool { return a.ID == b.ID }), skipped, nil
}

// forget drops the oldest ids when there are too many. What is as old as they are is not looked at any more.
func (f *Follower) forget() {
	if len(f.seen) <= 2*kept {
		return
	}
	ids := slices.Sorted(maps.Keys(f.seen))
	for _, id := range ids[:len(ids)-kept] {
		delete(f.seen, id)
		f.floor = max(f.floor, id)
	}
}

// earliest is the least id of the time that lies Window before that of an id; empty for what is no UUIDv7.
func earliest(id string) string {
	parsed, err := uuid.Parse(id)
	if err != nil || parsed.Version() != 7 {
		return ""
	}
	var millis int64
	for _, b := range parsed[:6] {
		millis = millis<<8 | int64(b)
	}
	millis = max(0, millis-Window.Milliseconds())
	var least uuid.UUID
	for i := 5; i >= 0; i-- {
		least[i] = byte(millis)
		millis >>= 8
	}
	return least.String()
}
