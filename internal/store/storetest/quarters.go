package storetest

import (
	"fmt"
	"testing"
	"time"
	_ "time/tzdata" // the zones are the same wherever the test runs

	"github.com/google/go-cmp/cmp"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/store"
)

// testQuarters asks for ranges that begin and end within an hour: the totals, the series and every breakdown must count
// the same clicks.
func testQuarters(t *testing.T, fresh func(*testing.T) store.Config) {
	s := MustFresh(t, fresh)
	// One click and one bot in the middle of each quarter from 10:00 to 14:00, each click with a referrer of its own, and
	// on the first and the last microsecond of 11:30 to 12:45 one more.
	start := noon.Add(-2 * time.Hour)
	var batch []click.Click
	add := func(at time.Time, referrer string, bot bool) {
		batch = append(batch, click.Click{ID: click.NewID(at.Add(time.Duration(len(batch)) * time.Microsecond)), LinkID: 1, Code: "x", Time: at,
			Referrer: "https://" + referrer + "/", UserAgent: firefox, Bot: bot})
	}
	for i := range 16 {
		at := start.Add(time.Duration(i)*click.Quarter + 7*time.Minute)
		add(at, fmt.Sprintf("q%02d.example", i), false)
		add(at, "bot.example", true)
	}
	const microsecond = time.Microsecond
	first, end := noon.Add(-30*time.Minute), noon.Add(45*time.Minute)
	for _, edge := range []time.Time{first.Add(-microsecond), end} {
		add(edge, "outside.example", false)
	}
	for _, edge := range []time.Time{first, end.Add(-microsecond)} {
		add(edge, "inside.example", false)
	}
	MustWrite(t, s, batch[:20], 20) // in batches that meet within an hour and within a quarter
	MustWrite(t, s, batch[19:], len(batch)-20)

	t.Run("OK the edges are exact", func(t *testing.T) {
		got, err := s.ClickStats(t.Context(), click.StatsQuery{LinkID: 1, From: first, To: end, Top: click.MaxTop})
		if err != nil {
			t.Fatal(err)
		}
		if got.Clicks != 7 || got.Bots != 5 {
			t.Errorf("%d clicks and %d bots, want 7 and 5", got.Clicks, got.Bots)
		}
		want := []click.Count{{Value: "inside.example", Clicks: 2}}
		for i := 6; i <= 10; i++ {
			want = append(want, click.Count{Value: fmt.Sprintf("q%02d.example", i), Clicks: 1})
		}
		if diff := cmp.Diff(want, got.Values[click.DimensionReferrer]); diff != "" {
			t.Errorf("referrers (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]click.Step{{Start: noon.Add(-time.Hour), Clicks: 3}, {Start: noon, Clicks: 4}}, got.Series); diff != "" {
			t.Errorf("series (-want +got):\n%s", diff)
		}
	})
	t.Run("OK every range of quarters", func(t *testing.T) {
		for from := range 16 {
			for to := from + 1; to <= 16; to++ {
				q := click.StatsQuery{LinkID: 1, From: start.Add(time.Duration(from) * click.Quarter), To: start.Add(time.Duration(to) * click.Quarter), Top: click.MaxTop}
				checkRange(t, s, q, batch)
			}
		}
	})
	for i, name := range []string{"Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "Australia/Eucla", "America/St_Johns"} {
		t.Run("OK days of "+name, func(t *testing.T) { testDays(t, s, int64(2+i), name) })
	}
}

// checkRange compares the answer with what the clicks themselves say.
func checkRange(t *testing.T, s store.Store, q click.StatsQuery, clicks []click.Click) {
	t.Helper()
	got, err := s.ClickStats(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	var people, bots, series int64
	for _, c := range clicks {
		switch {
		case c.Time.Before(q.From) || !c.Time.Before(q.To):
		case c.Bot:
			bots++
		default:
			people++
		}
	}
	for _, step := range got.Series {
		series += step.Clicks
	}
	if got.Clicks != people || got.Bots != bots || series != people {
		t.Errorf("%s to %s: %d clicks, %d in the series, %d bots; want %d, %d", q.From, q.To, got.Clicks, series, got.Bots, people, bots)
	}
	for dimension, counts := range got.Values {
		if n := sum(counts); n != people {
			t.Errorf("%s to %s: %d clicks by %s, want %d", q.From, q.To, n, dimension, people)
		}
	}
}

// testDays puts clicks right before and right at each midnight of a zone.
func testDays(t *testing.T, s store.Store, linkID int64, name string) {
	zone, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	midnight := func(day int) time.Time { return time.Date(2026, time.October, day, 0, 0, 0, 0, zone) }
	var batch []click.Click
	for day := 2; day <= 6; day++ { // each day has its number of clicks, half of them right after it begins
		for i := range day {
			at := midnight(day)
			if i%2 == 1 {
				at = midnight(day + 1).Add(-time.Microsecond)
			}
			batch = append(batch, click.Click{ID: click.NewID(at.Add(time.Duration(i))), LinkID: linkID, Code: "x", Time: at, UserAgent: firefox})
		}
	}
	MustWrite(t, s, batch, len(batch))
	got, err := s.ClickStats(t.Context(), click.StatsQuery{LinkID: linkID, From: midnight(3), To: midnight(6), Interval: click.IntervalDay, Location: zone})
	if err != nil {
		t.Fatal(err)
	}
	var days []int64
	for i, step := range got.Series {
		if !step.Start.Equal(midnight(3 + i)) {
			t.Errorf("day %d begins at %s", 3+i, step.Start)
		}
		days = append(days, step.Clicks)
	}
	if diff := cmp.Diff([]int64{3, 4, 5}, days); diff != "" || got.Clicks != 12 || sum(got.Values[click.DimensionBrowser]) != 12 {
		t.Errorf("%d clicks, %v; days (-want +got):\n%s", got.Clicks, got.Values, diff)
	}
}

// CheckVersionBefore holds a store to working beside a version of linktrail that knows whole hours alone. write adds 2
// clicks and a bot of a value to an hour of link 1 as that version does, read adds up the clicks by browser as it does.
func CheckVersionBefore(t *testing.T, s store.Store, write func(total, value string, hour time.Time) error, read func() (int64, error)) {
	t.Helper()
	for range 2 { // before and after the row has quarters
		if err := write("", "Firefox", noon); err != nil {
			t.Fatal(err)
		}
		at := noon.Add(50 * time.Minute)
		MustWrite(t, s, []click.Click{{ID: click.NewID(time.Now()), LinkID: 1, Code: "x", Time: at, UserAgent: firefox}}, 1)
	}
	for quarter, want := range []click.Stats{{Clicks: 4, Bots: 2}, {}, {}, {Clicks: 2}} {
		from := noon.Add(time.Duration(quarter) * click.Quarter)
		got, err := s.ClickStats(t.Context(), click.StatsQuery{LinkID: 1, From: from, To: from.Add(click.Quarter)})
		if err != nil {
			t.Fatal(err)
		}
		if got.Clicks != want.Clicks || got.Bots != want.Bots || sum(got.Values[click.DimensionBrowser]) != want.Clicks {
			t.Errorf("quarter %d: %+v, want %d clicks and %d bots", quarter, got, want.Clicks, want.Bots)
		}
	}
	if got, err := read(); err != nil || got != 6 {
		t.Errorf("the version before reads %d clicks, %v; want 6", got, err)
	}
}
