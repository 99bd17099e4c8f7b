package storetest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/store"
	"github.com/linktrail/linktrail/internal/store/record"
	"github.com/linktrail/linktrail/internal/store/repair"
)

func mustPurge(t *testing.T, s store.Store, want int64) {
	t.Helper()
	if got, err := s.PurgeClicks(t.Context()); err != nil || got != want {
		t.Errorf("%d clicks were removed, %v; want %d", got, err, want)
	}
}

// wantNothing checks that neither a click nor a count of a link is left.
func wantNothing(t *testing.T, s store.Store, linkID int64) {
	t.Helper()
	if rows := mustLatest(t, s, linkID, uuid.Nil, click.MaxLatest); len(rows) > 0 {
		t.Errorf("%d clicks of link %d are left", len(rows), linkID)
	}
	stats := MustStats(t, s, linkID)
	for dimension, counts := range stats.Values {
		if len(counts) > 0 {
			t.Errorf("of link %d %s has %v", linkID, dimension, counts)
		}
	}
	if stats.Clicks != 0 || stats.Bots != 0 {
		t.Errorf("link %d has %d clicks and %d bots", linkID, stats.Clicks, stats.Bots)
	}
}

func testPurge(t *testing.T, fresh func(*testing.T) store.Config) {
	c := fresh(t)
	MustMigrate(t, c)
	s := MustOpen(t, c)
	t.Run("OK clicks and statistics go, those of others stay", func(t *testing.T) {
		gone, stays := MustCreate(t, s, "gone"), MustCreate(t, s, "stays")
		MustWrite(t, s, append(someClicks(gone.ID, noon), someClicks(stays.ID, noon)...), 96)
		before := MustStats(t, s, stays.ID)
		if err := s.PurgeLink(t.Context(), "gone"); err != nil {
			t.Fatal(err)
		}
		_, err := s.LinkByCode(t.Context(), "gone")
		wantError(t, err, link.KindNotFound, "")
		mustPurge(t, s, 48)
		wantNothing(t, s, gone.ID)
		if diff := cmp.Diff(before, MustStats(t, s, stays.ID)); diff != "" {
			t.Errorf("another link (-before +after):\n%s", diff)
		}
		mustPurge(t, s, 0)

		t.Run("what was on its way is no click", func(t *testing.T) {
			MustWrite(t, s, append(someClicks(gone.ID, noon), clicksAt(stays.ID, noon, 2)...), 2)
			wantNothing(t, s, gone.ID)
		})
		t.Run("the code starts anew", func(t *testing.T) {
			again := MustCreate(t, s, "gone")
			MustWrite(t, s, clicksAt(again.ID, noon, 3), 3)
			if stats := MustStats(t, s, again.ID); stats.Clicks != 3 {
				t.Errorf("the new link has %d clicks, want 3", stats.Clicks)
			}
		})
		mustBeRight(t, s, 48+2+3)
	})
	t.Run("OK more than one transaction removes", func(t *testing.T) {
		l := MustCreate(t, s, "many")
		const batches, each = 9, 2500
		for i := range batches {
			MustWrite(t, s, clicksAt(l.ID, noon.AddDate(0, 0, -i), each), each)
		}
		if err := s.PurgeLink(t.Context(), "many"); err != nil {
			t.Fatal(err)
		}
		mustPurge(t, s, batches*each)
		wantNothing(t, s, l.ID)
	})
	t.Run("OK links that were deleted before", func(t *testing.T) { testPurgeDeleted(t, fresh) })
	t.Run("OK what an earlier version wrote goes too", func(t *testing.T) {
		l := MustCreate(t, s, "leftover")
		MustWrite(t, s, clicksAt(l.ID, noon, 5), 5)
		if err := s.PurgeLink(t.Context(), "leftover"); err != nil {
			t.Fatal(err)
		}
		MustDamage(t, c, `UPDATE purged_links SET done_at = purged_at`)
		mustPurge(t, s, 0)
		if result, _ := MustVerify(t, s, repair.Scope{}); !cmp.Equal(result.Purged, []int64{l.ID}) {
			t.Errorf("verify tells of %v, want link %d", result.Purged, l.ID)
		}
		if err := s.RecheckPurged(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustPurge(t, s, 5)
		wantNothing(t, s, l.ID)
	})
	for _, code := range []string{"nothing", "a\x00b"} {
		t.Run("ErrNotFound", func(t *testing.T) { wantError(t, s.PurgeLink(t.Context(), code), link.KindNotFound, "") })
	}
	t.Run("OK while others write", func(t *testing.T) { testPurgeAmongWriters(t, fresh) })
}

// mustCreateClicked makes a link that was clicked from noon on.
func mustCreateClicked(t *testing.T, s store.Store, code string, clicks int) link.Link {
	t.Helper()
	l := MustCreate(t, s, code)
	batch := clicksAt(l.ID, noon, clicks)
	for i := range batch {
		batch[i].Code = code
	}
	MustWrite(t, s, batch, clicks)
	return l
}

func mustDelete(t *testing.T, s store.Store, code string) {
	t.Helper()
	if err := s.DeleteLink(t.Context(), code); err != nil {
		t.Fatalf("delete %s: %v", code, err)
	}
}

func mustPurgeDeleted(t *testing.T, s store.Store, code string, want int) {
	t.Helper()
	if n, err := s.PurgeDeleted(t.Context(), code); err != nil || n != want {
		t.Errorf("%q: %d links, %v; want %d", code, n, err, want)
	}
}

func testPurgeDeleted(t *testing.T, fresh func(*testing.T) store.Config) {
	c := fresh(t)
	MustMigrate(t, c)
	s := MustOpen(t, c)
	t.Run("OK a link whose row is put back lives, and can be deleted again", func(t *testing.T) {
		mustCreateClicked(t, s, "back", 3)
		MustDamage(t, c, `INSERT INTO deleted_links SELECT code, id, created_at FROM links WHERE code = 'back'`)
		mustPurgeDeleted(t, s, "back", 0)
		mustDelete(t, s, "back")
		mustPurgeDeleted(t, s, "back", 1)
		mustPurge(t, s, 3)
	})
	// An earlier version leaves no row of what it deletes.
	const forget = `DELETE FROM deleted_links`
	for name, statements := range map[string][]string{"by this version": nil, "by an earlier one": {forget}} {
		t.Run("OK "+name, func(t *testing.T) {
			old := mustCreateClicked(t, s, "old", 4)
			mustDelete(t, s, "old")
			MustDamage(t, c, statements...)
			mustPurgeDeleted(t, s, "old", 1)
			mustPurge(t, s, 4)
			wantNothing(t, s, old.ID)
			MustWrite(t, s, clicksAt(old.ID, noon, 4), 0)
			mustPurgeDeleted(t, s, "old", 0)
		})
	}
	t.Run("OK all their clicks are on their way", func(t *testing.T) {
		young := MustCreate(t, s, "young")
		mustDelete(t, s, "young")
		mustPurgeDeleted(t, s, "young", 1)
		mustPurge(t, s, 0)
		MustWrite(t, s, clicksAt(young.ID, noon, 4), 0)
		wantNothing(t, s, young.ID)
	})
	t.Run("OK every link that had the code, but not the one that has it", func(t *testing.T) {
		var gone []link.Link
		for i, statements := range [][]string{{forget}, nil, nil} {
			gone = append(gone, mustCreateClicked(t, s, "again", 2-i))
			mustDelete(t, s, "again")
			MustDamage(t, c, statements...)
		}
		has := mustCreateClicked(t, s, "again", 5)
		mustPurgeDeleted(t, s, "again", len(gone))
		mustPurge(t, s, 3)
		for _, l := range gone {
			MustWrite(t, s, clicksAt(l.ID, noon.Add(time.Minute), 2), 0)
			wantNothing(t, s, l.ID)
		}
		if stats := MustStats(t, s, has.ID); stats.Clicks != 5 {
			t.Errorf("the link that has the code has %d clicks, want 5", stats.Clicks)
		}
		mustPurgeDeleted(t, s, "again", 0)
	})
	t.Run("OK none", func(t *testing.T) {
		mustCreateClicked(t, s, "other", 4)
		mustCreateClicked(t, s, "purged", 4)
		if err := s.PurgeLink(t.Context(), "purged"); err != nil {
			t.Fatal(err)
		}
		mustPurge(t, s, 4)
		wantError(t, s.DeleteLink(t.Context(), "nothing"), link.KindNotFound, "")
		for _, code := range []string{"other", "purged", "nothing", "a\x00b"} {
			mustPurgeDeleted(t, s, code, 0)
		}
	})
	t.Run("OK the retention has removed their clicks", func(t *testing.T) {
		s := MustFresh(t, fresh)
		old := mustCreateClicked(t, s, "ancient", 4)
		err := s.Retain(t.Context(), record.Retention{Before: noon.AddDate(0, 1, 0)}, func(record.Removed) {})
		if err != nil {
			t.Fatal(err)
		}
		if stats := MustStats(t, s, old.ID); stats.Clicks != 4 {
			t.Fatalf("the statistics have %d clicks, want 4", stats.Clicks)
		}
		mustDelete(t, s, "ancient")
		mustPurgeDeleted(t, s, "ancient", 1)
		mustPurge(t, s, 0)
		wantNothing(t, s, old.ID)
	})
}

// testPurgeAmongWriters purges links whose clicks are being written all the while, and removes what there is once.
func testPurgeAmongWriters(t *testing.T, fresh func(*testing.T) store.Config) {
	c := fresh(t)
	MustMigrate(t, c)
	stores := []store.Store{MustOpen(t, c), MustOpen(t, c), MustOpen(t, c)}
	const writers, rounds = 4, 8
	ctx, cancel := context.WithCancel(background(t, 2*time.Minute))
	defer cancel()
	stays := MustCreate(t, stores[0], "stays")
	var current, written atomic.Int64
	var writing sync.WaitGroup
	done := make(chan struct{})
	var batches [writers]atomic.Int64
	for i := range writers {
		writing.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				n := batches[i].Load()
				at := noon.Add(time.Duration(n*writers+int64(i)) * time.Millisecond)
				if _, err := stores[i%2].WriteClicks(ctx, clicksAt(current.Load(), at, 20)); err != nil {
					t.Errorf("write: %v", err)
					cancel()
					return
				}
				got, err := stores[i%2].WriteClicks(ctx, clicksAt(stays.ID, at, 2))
				if err != nil {
					t.Errorf("write: %v", err)
					cancel()
					return
				}
				written.Add(int64(got))
				batches[i].Add(1)
				time.Sleep(time.Millisecond) // SQLite's lock has no queue: the others would hardly get it
			}
		})
	}
	// more waits until each writer has written batches that it began after this call, or the writers' deadline is over.
	more := func() {
		var from [writers]int64
		for i := range writers {
			from[i] = batches[i].Load()
		}
		for i := range writers {
			for batches[i].Load() < from[i]+2 && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
		}
	}
	var purged []int64
	for range rounds {
		l := MustCreate(t, stores[2], "target")
		current.Store(l.ID)
		more()
		if err := stores[2].PurgeLink(ctx, "target"); err != nil {
			t.Fatal(err)
		}
		if n, err := stores[2].PurgeClicks(ctx); err != nil || n == 0 {
			t.Errorf("%d clicks were removed, %v; want some", n, err)
		}
		more() // they still write clicks of it
		wantNothing(t, stores[2], l.ID)
		purged = append(purged, l.ID)
	}
	close(done)
	writing.Wait()
	for _, id := range purged {
		wantNothing(t, stores[2], id)
	}
	mustBeRight(t, stores[2], written.Load())
}
