package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/store"
)

// testConcurrent works on one database through two stores, as two processes would.
func testConcurrent(t *testing.T, fresh func(*testing.T) store.Config) {
	c := fresh(t)
	MustMigrate(t, c)
	stores := []store.Store{MustOpen(t, c), MustOpen(t, c)}
	const workers = 12
	of := func(i int) store.Store { return stores[i%len(stores)] }

	t.Run("OK one of many creates a code", func(t *testing.T) {
		var won, lost atomic.Int32
		together(workers, func(i int) {
			_, err := of(i).CreateLink(t.Context(), link.Link{Code: "contested", URL: fmt.Sprintf("https://%d.example/", i), RedirectStatus: 302})
			switch {
			case err == nil:
				won.Add(1)
			case link.KindOf(err) == link.KindConflict:
				lost.Add(1)
			default:
				t.Errorf("create: %v", err)
			}
		})
		if won.Load() != 1 || lost.Load() != workers-1 {
			t.Errorf("%d won and %d lost", won.Load(), lost.Load())
		}
	})
	t.Run("OK changes of different fields add up", func(t *testing.T) {
		MustCreate(t, stores[0], "shared")
		title, tags, status, disabled := "T", []string{"t"}, 308, true
		changes := []link.Change{{Title: &title}, {Tags: &tags}, {RedirectStatus: &status}, {Disabled: &disabled}}
		together(len(changes), func(i int) {
			if _, err := of(i).UpdateLink(t.Context(), "shared", changes[i]); err != nil {
				t.Errorf("update: %v", err)
			}
		})
		l, err := stores[0].LinkByCode(t.Context(), "shared")
		if err != nil || l.Title != title || !slices.Equal(l.Tags, tags) || l.RedirectStatus != status || !l.Disabled {
			t.Errorf("got %+v, %v", l, err)
		}
	})
	t.Run("OK overlapping batches in any order count every click once", func(t *testing.T) {
		const links, each = 6, 60
		var all []click.Click
		for id := range int64(links) {
			all = append(all, clicksAt(100+id, noon, each)...)
		}
		ctx := background(t, time.Minute) // a deadlock fails the test sooner than the whole run would
		var written atomic.Int64
		together(workers, func(i int) {
			random := rand.New(rand.NewPCG(uint64(i), 1))
			for range 3 {
				batch := slices.Clone(all)
				random.Shuffle(len(batch), func(a, b int) { batch[a], batch[b] = batch[b], batch[a] })
				n, err := of(i).WriteClicks(ctx, batch[:len(batch)*2/3])
				if err != nil {
					t.Errorf("write: %v", err)
				}
				written.Add(int64(n))
			}
		})
		rest, err := stores[0].WriteClicks(ctx, all)
		if err != nil || written.Load()+int64(rest) != links*each {
			t.Errorf("%d clicks were new in all, %v; want %d", written.Load()+int64(rest), err, links*each)
		}
		for id := range int64(links) {
			stats := MustStats(t, stores[1], 100+id)
			if stats.Clicks != each || sum(stats.Values[click.DimensionReferrer]) != each || sum(stats.Values[click.DimensionOS]) != each {
				t.Errorf("link %d has %d clicks, want %d", id, stats.Clicks, each)
			}
			if rows := mustLatest(t, stores[1], 100+id, uuid.Nil, click.MaxLatest); len(rows) != each {
				t.Errorf("link %d has %d rows, want %d", id, len(rows), each)
			}
		}
	})
	t.Run("OK the limit of values is exact", func(t *testing.T) {
		// Each worker brings values of its own, 360 together, in small batches.
		const each, batchSize = 30, 6
		together(workers, func(i int) {
			var clicks []click.Click
			for n := range each {
				clicks = append(clicks, referrers(200, noon.Add(time.Duration(i*each+n)*time.Second), fmt.Sprintf("w%02d-%02d.example", i, n))...)
			}
			for batch := range slices.Chunk(clicks, batchSize) {
				if _, err := of(i).WriteClicks(t.Context(), batch); err != nil {
					t.Errorf("write: %v", err)
				}
			}
		})
		stats := MustStats(t, stores[0], 200)
		other, values := countOf(stats, click.Other)
		// other comes first, so the answer of MaxTop values lacks one of the 200 others.
		if want := int64(workers*each - click.MaxValues); stats.Clicks != workers*each || other != want || values != click.MaxTop-1 {
			t.Errorf("%d clicks, other has %d beside %d values; want %d, %d, %d", stats.Clicks, other, values, workers*each, want, click.MaxTop-1)
		}
	})
	t.Run("OK readers see whole batches", func(t *testing.T) {
		const batches, size = 20, 10
		together(4, func(i int) {
			for n := range batches {
				if i < 2 {
					if _, err := of(i).WriteClicks(t.Context(), clicksAt(300, noon.Add(time.Duration((i*batches+n)*size)*time.Second), size)); err != nil {
						t.Errorf("write: %v", err)
					}
					continue
				}
				stats, err := of(i).ClickStats(t.Context(), click.StatsQuery{LinkID: 300, From: noon, To: noon.Add(time.Hour), Top: click.MaxTop})
				if err != nil || stats.Clicks%size != 0 || sum(stats.Values[click.DimensionOS]) != stats.Clicks {
					t.Errorf("%d clicks, %d by OS, %v", stats.Clicks, sum(stats.Values[click.DimensionOS]), err)
				}
			}
		})
	})
}
