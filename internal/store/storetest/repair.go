package storetest

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "modernc.org/sqlite"             // the driver "sqlite"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/store"
	"github.com/linktrail/linktrail/internal/store/record"
	"github.com/linktrail/linktrail/internal/store/repair"
	"github.com/linktrail/linktrail/internal/store/rollup"
)

// MustDamage runs SQL that both databases know on a store's own tables, behind its back, but between the transactions of
// writers: it takes locks in no order.
func MustDamage(t *testing.T, c store.Config, statements ...string) {
	t.Helper()
	driver, dsn := "pgx", c.DSN
	if path, ok := strings.CutPrefix(dsn, "sqlite:"); ok {
		driver, dsn = "sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: "_txlock=immediate&_pragma=busy_timeout(30000)"}).String()
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if driver == "pgx" {
		statements = append([]string{fmt.Sprintf(`SELECT pg_advisory_xact_lock(%d)`, 0x6c696e6b_02)}, statements...)
	}
	for _, statement := range statements {
		if _, err := tx.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

// MustVerify returns what Verify finds, and each difference as one line.
func MustVerify(t *testing.T, s store.Store, scope repair.Scope) (repair.Result, []string) {
	t.Helper()
	var lines []string
	result, err := repair.Verify(t.Context(), s, scope, func(linkID int64, differences []rollup.Difference) {
		for _, d := range differences {
			lines = append(lines, fmt.Sprintf("link %d %s %s %s %s: %d rows, %d in rollups", linkID, d.Hour.Format("15:04"), d.What, d.Dimension, d.Value, d.Rows, d.Rollups))
		}
	}, func(repair.Progress) {})
	if err != nil {
		t.Fatalf("verify: %v", err)
	}
	if int64(len(lines)) != result.Differences {
		t.Errorf("%d differences were told, %d counted", len(lines), result.Differences)
	}
	return result, lines
}

func mustBeRight(t *testing.T, s store.Store, clicks int64) {
	t.Helper()
	result, lines := MustVerify(t, s, repair.Scope{})
	if len(lines) > 0 || result.Clicks != clicks || len(result.Gone) > 0 {
		t.Errorf("%d clicks, want %d; %d differences, months gone: %v\n%s", result.Clicks, clicks, len(lines), result.Gone, strings.Join(lines, "\n"))
	}
}

func mustRebuild(t *testing.T, s store.Store, scope repair.Scope) repair.Result {
	t.Helper()
	result, err := repair.Rebuild(t.Context(), s, scope, func(repair.Progress) {})
	if err != nil {
		t.Fatalf("rebuild: %v", err)
	}
	return result
}

// someClicks returns clicks of a link over three hours and all quarters, with bots and with few values.
func someClicks(linkID int64, at time.Time) []click.Click {
	var clicks []click.Click
	for i := range 48 {
		when := at.Add(time.Duration(i)*4*time.Minute - time.Hour)
		clicks = append(clicks, click.Click{ID: click.NewID(when), LinkID: linkID, Code: "code", Time: when, UserAgent: firefox,
			Referrer: fmt.Sprintf("https://r%d.example/", i%5), Country: []string{"", "CH"}[i%2], Bot: i%12 == 0})
	}
	return clicks
}

func testRepair(t *testing.T, fresh func(*testing.T) store.Config) {
	t.Run("OK nothing", func(t *testing.T) { mustBeRight(t, MustFresh(t, fresh), 0) })
	t.Run("OK what is right stays", func(t *testing.T) {
		s := MustFresh(t, fresh)
		var all int64
		for id := range int64(5) {
			batch := append(someClicks(1+id, noon), someClicks(1+id, noon.AddDate(0, -1, 3))...)
			MustWrite(t, s, batch, len(batch))
			all += int64(len(batch))
		}
		for batch := range slices.Chunk(append(clicksAt(9, noon, click.MaxValues+70), referrers(9, noon.Add(time.Minute), "z.example", "z.example", click.Other)...), 60) {
			MustWrite(t, s, batch, len(batch))
			all += int64(len(batch))
		}
		mustBeRight(t, s, all)
		if r := mustRebuild(t, s, repair.Scope{}); r.Different != 0 || r.Links != 6 || r.Clicks != all {
			t.Errorf("got %+v, want nothing to do on 6 links", r)
		}
	})
	t.Run("OK every damage is found and mended", func(t *testing.T) { testDamages(t, fresh) })
	t.Run("OK scopes", func(t *testing.T) {
		c := fresh(t)
		MustMigrate(t, c)
		s := MustOpen(t, c)
		for id := range int64(3) {
			MustWrite(t, s, someClicks(1+id, noon), 48)
		}
		MustDamage(t, c, `UPDATE click_rollups SET clicks = clicks + 1 WHERE dimension = 'total'`)
		for name, tt := range map[string]struct {
			scope            repair.Scope
			links, different int64
		}{
			"all":            {repair.Scope{}, 3, 12},
			"a link":         {repair.Scope{LinkID: 2}, 1, 4},
			"after a link":   {repair.Scope{AfterLink: 1}, 2, 8},
			"from":           {repair.Scope{From: noon.Add(time.Minute)}, 3, 9},
			"to":             {repair.Scope{LinkID: 1, To: noon.Add(time.Minute)}, 1, 2},
			"an hour":        {repair.Scope{From: noon, To: noon.Add(time.Hour)}, 3, 3},
			"none":           {repair.Scope{LinkID: 77}, 0, 0},
			"before and far": {repair.Scope{To: noon.AddDate(-1, 0, 0)}, 0, 0},
		} {
			if r, _ := MustVerify(t, s, tt.scope); r.Links != tt.links || r.Different != tt.different {
				t.Errorf("%s: %d links and %d hours that differ, want %d and %d", name, r.Links, r.Different, tt.links, tt.different)
			}
		}
		mustRebuild(t, s, repair.Scope{LinkID: 2})
		if r, _ := MustVerify(t, s, repair.Scope{}); r.Different != 8 {
			t.Errorf("%d hours differ after one link was mended, want 8", r.Different)
		}
		mustRebuild(t, s, repair.Scope{From: noon, To: noon.Add(time.Hour)})
		mustRebuild(t, s, repair.Scope{AfterLink: 2})
		if r, _ := MustVerify(t, s, repair.Scope{}); r.Different != 3 {
			t.Errorf("%d hours differ, want the 3 of link 1", r.Different)
		}
	})
	t.Run("OK more values than are kept", func(t *testing.T) {
		c := fresh(t)
		MustMigrate(t, c)
		s := MustOpen(t, c)
		batch := append(clicksAt(1, noon, click.MaxValues+50), referrers(1, noon.Add(20*time.Minute), "z.example", "z.example", click.Other)...)
		MustWrite(t, s, batch, len(batch))
		MustDamage(t, c, `DELETE FROM click_rollups`)
		if r := mustRebuild(t, s, repair.Scope{}); r.Different != 1 {
			t.Errorf("%d hours were rebuilt, want 1", r.Different)
		}
		mustBeRight(t, s, int64(len(batch)))
		stats := MustStats(t, s, 1)
		if other, _ := countOf(stats, click.Other); stats.Clicks != int64(len(batch)) || other != 52 {
			t.Errorf("%d clicks, %d of them other; want %d and 52", stats.Clicks, other, len(batch))
		}
		if z, _ := countOf(stats, "z.example"); z != 2 {
			t.Errorf("the most frequent value has %d, want 2", z)
		}
		// One value more than may be, of clicks that are counted already.
		MustDamage(t, c, `INSERT INTO click_rollups (link_id, dimension, hour, value, clicks)
			SELECT link_id, dimension, hour, 'r0249.example', 1 FROM click_rollups WHERE dimension = 'referrer' AND value = 'other'`,
			`UPDATE click_rollups SET clicks = clicks - 1 WHERE dimension = 'referrer' AND value = 'other'`)
		if _, lines := MustVerify(t, s, repair.Scope{}); len(lines) == 0 || !strings.Contains(strings.Join(lines, "\n"), "values referrer") {
			t.Errorf("got %q, want the dimension with %d values", lines, click.MaxValues+1)
		}
	})
	t.Run("OK ids of another time", func(t *testing.T) {
		c := fresh(t)
		MustMigrate(t, c)
		s := MustOpen(t, c)
		batch := someClicks(1, noon)
		for i := range batch {
			batch[i].ID = click.NewID(noon.AddDate(0, 0, -i))
		}
		MustWrite(t, s, batch, len(batch))
		if _, lines := MustVerify(t, s, repair.Scope{}); len(lines) > 0 {
			t.Errorf("differences that are none:\n%s", strings.Join(lines, "\n"))
		}
		before := MustStats(t, s, 1)
		MustDamage(t, c, `UPDATE click_rollups SET clicks = clicks + 3`)
		mustRebuild(t, s, repair.Scope{})
		if diff := cmp.Diff(before, MustStats(t, s, 1)); diff != "" {
			t.Errorf("(-before +after):\n%s", diff)
		}
	})
	t.Run("OK while others write", func(t *testing.T) { testRebuildAmongWriters(t, fresh) })
}

func testDamages(t *testing.T, fresh func(*testing.T) store.Config) {
	c := fresh(t)
	MustMigrate(t, c)
	s := MustOpen(t, c)
	MustWrite(t, s, someClicks(1, noon), 48)
	MustWrite(t, s, someClicks(2, noon), 48)
	want := MustStats(t, s, 1)
	for name, tt := range map[string]struct{ statement, tells string }{
		"clicks":           {`UPDATE click_rollups SET clicks = clicks + 1 WHERE link_id = 1 AND dimension = 'total'`, "clicks total"},
		"bots":             {`UPDATE click_rollups SET bots = 0 WHERE link_id = 1 AND dimension = 'total'`, "bots total"},
		"a value":          {`UPDATE click_rollups SET clicks = clicks + 100 WHERE link_id = 1 AND value = 'r1.example'`, "value referrer r1.example"},
		"a value is gone":  {`DELETE FROM click_rollups WHERE link_id = 1 AND value = 'Firefox'`, "value browser Firefox"},
		"a value too many": {`UPDATE click_rollups SET value = 'Netscape' WHERE link_id = 1 AND value = 'Firefox'`, "value browser Netscape: 0 rows"},
		"quarters":         {`UPDATE click_rollups SET clicks_15 = 0, clicks_30 = 0, clicks_45 = 0 WHERE link_id = 1`, "quarters total"},
		"totals are gone":  {`DELETE FROM click_rollups WHERE link_id = 1 AND dimension = 'total'`, "clicks total"},
		"values are gone":  {`DELETE FROM click_rollups WHERE link_id = 1 AND dimension <> 'total'`, "value os Linux"},
		"all is gone":      {`DELETE FROM click_rollups WHERE link_id = 1`, "value os Linux"},
		"clicks are gone":  {`UPDATE click_rollups SET dimension = 'total', value = '', link_id = 3 WHERE link_id = 1 AND value = 'CH'`, "link 3"},
	} {
		t.Run(name, func(t *testing.T) {
			MustDamage(t, c, tt.statement)
			_, lines := MustVerify(t, s, repair.Scope{})
			if !strings.Contains(strings.Join(lines, "\n"), tt.tells) {
				t.Errorf("no difference tells %q:\n%s", tt.tells, strings.Join(lines, "\n"))
			}
			if r := mustRebuild(t, s, repair.Scope{}); r.Different < 3 {
				t.Errorf("%d hours were rebuilt, want 3 and more", r.Different)
			}
			mustBeRight(t, s, 96)
			if r := mustRebuild(t, s, repair.Scope{}); r.Different != 0 {
				t.Errorf("a second time %d hours were rebuilt", r.Different)
			}
			if diff := cmp.Diff(want, MustStats(t, s, 1)); diff != "" {
				t.Errorf("statistics (-want +got):\n%s", diff)
			}
			if stats := MustStats(t, s, 3); stats.Clicks != 0 {
				t.Errorf("rollups without clicks are still there: %+v", stats)
			}
		})
	}
}

// testRebuildAmongWriters damages and rebuilds hours which are being written all the while. What a rebuild has made wrong
// nothing mends afterwards.
func testRebuildAmongWriters(t *testing.T, fresh func(*testing.T) store.Config) {
	c := fresh(t)
	MustMigrate(t, c)
	stores := []store.Store{MustOpen(t, c), MustOpen(t, c), MustOpen(t, c)}
	const writers, links, rounds = 3, 3, 4
	ctx := background(t, 10*time.Minute)
	var written atomic.Int64
	var writing sync.WaitGroup
	done := make(chan struct{})
	for i := range writers {
		writing.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				var batch []click.Click
				for id := range int64(links) {
					at := noon.Add(time.Duration(n%7-3) * 20 * time.Minute)
					batch = append(batch, referrers(1+id, at.Add(time.Duration(n*writers+i)*time.Microsecond), fmt.Sprintf("w%d.example", n%300), "same.example")...)
				}
				got, err := stores[i%2].WriteClicks(ctx, batch)
				if err != nil {
					t.Errorf("write: %v", err)
					return
				}
				written.Add(int64(got))
				time.Sleep(20 * time.Millisecond) // SQLite's lock has no queue: the others would hardly get it
			}
		})
	}
	var rebuilt int64
	for round := range rounds {
		for before := written.Load(); written.Load() < before+20 && ctx.Err() == nil; {
			time.Sleep(time.Millisecond)
		}
		MustDamage(t, c, []string{
			`DELETE FROM click_rollups WHERE link_id < 3`,
			`UPDATE click_rollups SET clicks = clicks + 5 WHERE value = 'same.example'`,
			`UPDATE click_rollups SET bots = 9 WHERE dimension = 'total'`,
			`DELETE FROM click_rollups WHERE dimension = 'total'`,
		}[round%4])
		r, err := repair.Rebuild(ctx, stores[2], repair.Scope{}, func(repair.Progress) {})
		if err != nil {
			t.Errorf("rebuild: %v", err)
		}
		rebuilt += r.Different
		// A moment's comparison is right in the middle of it all.
		if _, lines := MustVerify(t, stores[2], repair.Scope{}); len(lines) > 0 {
			t.Errorf("round %d:\n%s", round, strings.Join(lines[:min(len(lines), 20)], "\n"))
		}
	}
	close(done)
	writing.Wait()
	mustBeRight(t, stores[2], written.Load())
	var clicks int64
	for id := range int64(links) {
		clicks += MustStats(t, stores[2], 1+id).Clicks
	}
	if clicks != written.Load() || rebuilt < rounds {
		t.Errorf("the statistics have %d clicks of %d, after %d hours were rebuilt", clicks, written.Load(), rebuilt)
	}
	t.Logf("%d clicks were written while %d hours were rebuilt", written.Load(), rebuilt)
}

func testRetention(t *testing.T, fresh func(*testing.T) store.Config) {
	c := fresh(t)
	MustMigrate(t, c)
	s := MustOpen(t, c)
	const months = 6
	start := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	for i := range months {
		MustWrite(t, s, someClicks(1, start.AddDate(0, i, 9)), 48)
		MustWrite(t, s, clicksAt(2, start.AddDate(0, i, 0), 3), 3) // begins with the month's first moment
	}
	if p, ok := s.(store.Partitioner); ok {
		if err := p.EnsurePartitions(t.Context(), start.AddDate(0, 1, 0)); err != nil {
			t.Fatal(err)
		}
	}
	stats := func(t *testing.T) click.Stats {
		t.Helper()
		got, err := s.ClickStats(t.Context(), click.StatsQuery{LinkID: 1, From: start, To: start.AddDate(1, 0, 0), Interval: click.IntervalMonth})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	retain := func(t *testing.T, r record.Retention) (removed []record.Removed) {
		t.Helper()
		if err := s.Retain(t.Context(), r, func(p record.Removed) { removed = append(removed, p) }); err != nil {
			t.Fatalf("retain: %v", err)
		}
		return removed
	}
	rows := func(linkID int64) int { return len(mustLatest(t, s, linkID, uuid.Nil, click.MaxLatest)) }
	before, cut := stats(t), start.AddDate(0, 3, 0)

	t.Run("OK a dry run changes nothing", func(t *testing.T) {
		if removed := retain(t, record.Retention{Before: cut, DryRun: true, Rollups: true}); len(removed) < 2 {
			t.Errorf("it tells of %+v", removed)
		}
		if kept, err := s.KeptFrom(t.Context()); err != nil || !kept.IsZero() || rows(2) != 3*months {
			t.Errorf("clicks are kept from %v, %v; there are %d", kept, err, rows(2))
		}
		mustBeRight(t, s, months*51)
	})
	t.Run("OK clicks go, statistics stay", func(t *testing.T) {
		if removed := retain(t, record.Retention{Before: cut.AddDate(0, 0, 20)}); len(removed) == 0 { // a month is kept whole
			t.Error("nothing was removed")
		}
		kept, err := s.KeptFrom(t.Context())
		if err != nil || !kept.Equal(cut) {
			t.Errorf("clicks are kept from %v, %v; want %v", kept, err, cut)
		}
		if n := rows(2); n != 9 {
			t.Errorf("%d clicks are left, want those of three months", n)
		}
		for _, c := range mustLatest(t, s, click.AllLinks, uuid.Nil, click.MaxLatest) {
			if c.Time.Before(cut) {
				t.Errorf("a click of %v is left", c.Time)
			}
		}
		if diff := cmp.Diff(before, stats(t)); diff != "" {
			t.Errorf("statistics (-before +after):\n%s", diff)
		}
	})
	t.Run("OK what comes too late is no click", func(t *testing.T) {
		late := clicksAt(1, cut.Add(-time.Minute), 2)
		late = append(late, clicksAt(1, cut, 1)...)
		MustWrite(t, s, late, 1)
		if got := stats(t).Clicks; got != before.Clicks+1 {
			t.Errorf("%d clicks, want one more than %d", got, before.Clicks)
		}
	})
	t.Run("OK verify and rebuild leave it alone", func(t *testing.T) {
		want := stats(t)
		mustBeRight(t, s, 3*51+1)
		r := mustRebuild(t, s, repair.Scope{})
		if !r.KeptFrom.Equal(cut) || r.Different != 0 {
			t.Errorf("got %+v", r)
		}
		if diff := cmp.Diff(want, stats(t)); diff != "" {
			t.Errorf("statistics (-before +after):\n%s", diff)
		}
	})
	t.Run("ErrRemoved", func(t *testing.T) {
		for _, scope := range []repair.Scope{{From: start}, {LinkID: 1, From: cut.Add(-time.Hour)}} {
			if _, err := repair.Rebuild(t.Context(), s, scope, func(repair.Progress) {}); !errors.Is(err, repair.ErrRemoved) || !strings.Contains(err.Error(), "2026-04-01") {
				t.Errorf("got %v", err)
			}
		}
		if state, err := s.RebuildHours(t.Context(), 1, []time.Time{start.AddDate(0, 0, 8)}, false); err != nil || state != repair.Retained {
			t.Errorf("got %v, %v", state, err)
		}
	})
	t.Run("OK it never goes back", func(t *testing.T) {
		if removed := retain(t, record.Retention{Before: start}); len(removed) != 0 {
			t.Errorf("it removed %+v", removed)
		}
		if kept, err := s.KeptFrom(t.Context()); err != nil || !kept.Equal(cut) {
			t.Errorf("clicks are kept from %v, %v", kept, err)
		}
	})
	t.Run("OK statistics too, by choice", func(t *testing.T) {
		retain(t, record.Retention{Before: cut, Rollups: true})
		got := stats(t)
		for _, step := range got.Series {
			if gone := step.Start.Before(cut); gone != (step.Clicks == 0) && step.Start.Before(start.AddDate(0, months, 0)) {
				t.Errorf("%s has %d clicks", step.Start, step.Clicks)
			}
		}
		if got.Clicks == 0 || got.Clicks >= before.Clicks {
			t.Errorf("%d clicks are left of %d", got.Clicks, before.Clicks)
		}
		mustBeRight(t, s, 3*51+1)
	})
}
