// Package storetest holds every store to the same promises: those of link.Store, click.Store, apikey.Store and store.Open.
package storetest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/store"
)

// Run runs the suite. fresh returns the Config of a new database that nothing has been done to yet.
func Run(t *testing.T, fresh func(t *testing.T) store.Config) {
	for _, part := range []struct {
		name string
		run  func(*testing.T, func(*testing.T) store.Config)
	}{
		{"Migrate", testMigrate},
		{"CreateLink", testCreateLink},
		{"UpdateLink", testUpdateLink},
		{"DeleteLink", testDeleteLink},
		{"Links", testLinks},
		{"WriteClicks", testWriteClicks},
		{"LatestClicks", testLatestClicks},
		{"ClickStats", testClickStats},
		{"Quarters", testQuarters},
		{"MaxValues", testMaxValues},
		{"Keys", testKeys},
		{"Concurrent", testConcurrent},
		{"Repair", testRepair},
		{"Retention", testRetention},
		{"Purge", testPurge},
		{"Spans", testSpans},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, fresh) })
	}
}

// MustOpen opens a migrated store that is closed when the test ends.
func MustOpen(t *testing.T, c store.Config) store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), c)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// MustMigrate migrates a database.
func MustMigrate(t *testing.T, c store.Config) {
	t.Helper()
	if err := store.Migrate(t.Context(), c, nil); err != nil {
		t.Fatalf("migrate: %v", err)
	}
}

// MustFresh opens a store on a new database.
func MustFresh(t *testing.T, fresh func(*testing.T) store.Config) store.Store {
	t.Helper()
	c := fresh(t)
	MustMigrate(t, c)
	return MustOpen(t, c)
}

// MustCreate makes a link of which nothing but the code matters.
func MustCreate(t *testing.T, s link.Store, code string) link.Link {
	t.Helper()
	l, err := s.CreateLink(t.Context(), link.Link{Code: code, URL: "https://example.com/" + code, RedirectStatus: 302})
	if err != nil {
		t.Fatalf("create %s: %v", code, err)
	}
	return l
}

// MustWrite writes a batch and checks how many clicks of it were new.
func MustWrite(t *testing.T, s click.Store, batch []click.Click, want int) {
	t.Helper()
	got, err := s.WriteClicks(t.Context(), batch)
	if err != nil {
		t.Fatalf("write %d clicks: %v", len(batch), err)
	}
	if got != want {
		t.Fatalf("%d of %d clicks were new, want %d", got, len(batch), want)
	}
}

// MustStats asks for the statistics of all hours of the tests' day, in all values.
func MustStats(t *testing.T, s click.Store, linkID int64) click.Stats {
	t.Helper()
	stats, err := s.ClickStats(t.Context(), click.StatsQuery{LinkID: linkID, From: noon.Add(-24 * time.Hour), To: noon.Add(24 * time.Hour),
		Interval: click.IntervalHour, Top: click.MaxTop})
	if err != nil {
		t.Fatalf("stats: %v", err)
	}
	return stats
}

// noon is when the tests' clicks are made.
var noon = time.Date(2026, time.May, 20, 12, 0, 0, 0, time.UTC)

// clicksAt returns n clicks of a link, a second apart from at on, each with a referrer of its own.
func clicksAt(linkID int64, at time.Time, n int) []click.Click {
	clicks := make([]click.Click, n)
	for i := range clicks {
		when := at.Add(time.Duration(i) * time.Second)
		clicks[i] = click.Click{ID: click.NewID(when), LinkID: linkID, Code: "code", Time: when,
			Referrer: fmt.Sprintf("https://r%04d.example/", i)}
	}
	return clicks
}

// sum adds up the clicks of a dimension.
func sum(counts []click.Count) (clicks int64) {
	for _, c := range counts {
		clicks += c.Clicks
	}
	return clicks
}

// together runs f n times at once and waits for all.
func together(n int, f func(i int)) {
	var wait sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wait.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	wait.Wait()
}

// background is a context for what must go on when the test's context has ended.
func background(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}
