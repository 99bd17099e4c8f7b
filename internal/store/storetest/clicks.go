package storetest

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/store"
)

const firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

var prefixes = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

func mustLatest(t *testing.T, s click.Store, linkID int64, before uuid.UUID, limit int) []click.Click {
	t.Helper()
	clicks, err := s.LatestClicks(t.Context(), linkID, before, limit)
	if err != nil {
		t.Fatalf("latest clicks: %v", err)
	}
	return clicks
}

func testWriteClicks(t *testing.T, fresh func(*testing.T) store.Config) {
	s := MustFresh(t, fresh)
	t.Run("OK all fields", func(t *testing.T) {
		at := time.Date(2026, 5, 20, 13, 1, 2, 345678000, time.UTC)
		full := click.Click{ID: click.NewID(at), LinkID: 71, Code: "Grüße", Time: at, Referrer: "https://news.example/ü", UserAgent: firefox,
			Language: "de-CH", Client: netip.MustParsePrefix("203.0.113.0/24"), Country: "CH", TraceID: [16]byte{1, 0, 2}, SpanID: [8]byte{3, 0, 4},
			Sampled: true}
		six := click.Click{ID: click.NewID(at.Add(time.Second)), LinkID: 71, Code: "x", Time: at.Add(time.Second),
			Client: netip.MustParsePrefix("2001:db8:1::/48"), Bot: true}
		bare := click.Click{ID: click.NewID(at.Add(2 * time.Second)), LinkID: 71, Code: "x", Time: at.Add(2 * time.Second)}
		MustWrite(t, s, []click.Click{six, bare, full}, 3)
		if diff := cmp.Diff([]click.Click{bare, six, full}, mustLatest(t, s, 71, uuid.Nil, 10), prefixes); diff != "" {
			t.Errorf("read back (-want +got):\n%s", diff)
		}
		want := click.Stats{Clicks: 2, Bots: 1, Values: map[click.Dimension][]click.Count{
			click.DimensionReferrer: {{Value: click.Direct, Clicks: 1}, {Value: "news.example", Clicks: 1}},
			click.DimensionCountry:  {{Value: "CH", Clicks: 1}, {Value: click.Unknown, Clicks: 1}},
			click.DimensionBrowser:  {{Value: "Firefox", Clicks: 1}, {Value: click.Unknown, Clicks: 1}},
			click.DimensionOS:       {{Value: "Linux", Clicks: 1}, {Value: click.Unknown, Clicks: 1}},
		}}
		got := MustStats(t, s, 71)
		got.Series = nil
		delete(got.Values, click.DimensionDevice) // what a click without a user agent counts as is its domain's affair
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("stats (-want +got):\n%s", diff)
		}
	})
	t.Run("OK a repeated batch changes nothing", func(t *testing.T) {
		batch := clicksAt(72, noon, 50)
		MustWrite(t, s, batch, 50)
		before := MustStats(t, s, 72)
		MustWrite(t, s, batch, 0)
		slices.Reverse(batch)
		MustWrite(t, s, batch[10:20], 0)
		if diff := cmp.Diff(before, MustStats(t, s, 72)); diff != "" {
			t.Errorf("stats (-before +after):\n%s", diff)
		}
		if before.Clicks != 50 {
			t.Errorf("%d clicks, want 50", before.Clicks)
		}
	})
	t.Run("OK the same click twice in a batch counts once", func(t *testing.T) {
		one := clicksAt(73, noon, 2)
		MustWrite(t, s, []click.Click{one[0], one[1], one[0], one[0]}, 2)
		if stats := MustStats(t, s, 73); stats.Clicks != 2 || sum(stats.Values[click.DimensionOS]) != 2 {
			t.Errorf("got %+v, want 2 clicks", stats)
		}
	})
	t.Run("OK a batch that overlaps", func(t *testing.T) {
		clicks := clicksAt(74, noon, 30)
		MustWrite(t, s, clicks[:20], 20)
		MustWrite(t, s, clicks[10:], 10)
		if stats := MustStats(t, s, 74); stats.Clicks != 30 || sum(stats.Values[click.DimensionReferrer]) != 30 {
			t.Errorf("%d clicks, want 30", stats.Clicks)
		}
	})
	t.Run("OK an empty batch", func(t *testing.T) {
		MustWrite(t, s, nil, 0)
	})
	t.Run("OK thousands at once, over many links and hours", func(t *testing.T) {
		const links, each = 40, 125
		var batch []click.Click
		for id := range int64(links) {
			for i, c := range clicksAt(1000+id, noon, each) {
				c.Time = c.Time.Add(-time.Duration(i%5) * time.Hour)
				c.Bot = i%25 == 0
				batch = append(batch, c)
			}
		}
		MustWrite(t, s, batch, links*each)
		for id := range int64(links) {
			stats := MustStats(t, s, 1000+id)
			if stats.Clicks != each-5 || stats.Bots != 5 || sum(stats.Values[click.DimensionReferrer]) != each-5 {
				t.Fatalf("link %d: %d clicks, %d bots", id, stats.Clicks, stats.Bots)
			}
		}
	})
	t.Run("OK odd text holds up no batch", func(t *testing.T) {
		batch := clicksAt(75, noon, 3)
		batch[1].Referrer, batch[1].UserAgent, batch[1].Language = "https://a\x00b.example/", "agent \xff\x00", "\x00"
		MustWrite(t, s, batch, 3)
		latest := mustLatest(t, s, 75, uuid.Nil, 3)
		if latest[1].UserAgent != "agent \uFFFD\uFFFD" || latest[1].Language != "\uFFFD" {
			t.Errorf("got %q, %q", latest[1].UserAgent, latest[1].Language)
		}
		if stats := MustStats(t, s, 75); stats.Clicks != 3 || sum(stats.Values[click.DimensionReferrer]) != 3 {
			t.Errorf("got %+v", stats)
		}
	})
	t.Run("OK clicks of any time", func(t *testing.T) {
		var batch []click.Click
		for _, at := range []time.Time{time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), noon.AddDate(-1, 0, 0), noon.AddDate(0, 5, 0), noon.AddDate(50, 0, 0)} {
			batch = append(batch, clicksAt(76, at, 1)...)
		}
		MustWrite(t, s, batch, 4)
		MustWrite(t, s, batch, 0)
		if latest := mustLatest(t, s, 76, uuid.Nil, 9); len(latest) != 4 || !latest[0].Time.Equal(noon.AddDate(50, 0, 0)) {
			t.Errorf("got %v", latest)
		}
	})
	t.Run("ErrContext", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		batch := clicksAt(77, noon, 3)
		if n, err := s.WriteClicks(ctx, batch); err == nil || n != 0 || link.KindOf(err) != link.KindInternal {
			t.Errorf("got %d, %v", n, err)
		}
		MustWrite(t, s, batch, 3)
	})
}

func testLatestClicks(t *testing.T, fresh func(*testing.T) store.Config) {
	s := MustFresh(t, fresh)
	clicks := clicksAt(5, noon, 23)
	MustWrite(t, s, slices.Concat(clicks, clicksAt(6, noon, 4)), 27)
	t.Run("OK pages have no gaps while clicks come in", func(t *testing.T) {
		var got []uuid.UUID
		for before := uuid.Nil; ; {
			page := mustLatest(t, s, 5, before, 5)
			if len(page) == 0 {
				break
			}
			for _, c := range page {
				got = append(got, c.ID)
			}
			before = got[len(got)-1]
			MustWrite(t, s, clicksAt(5, noon.Add(time.Duration(len(got))*time.Hour), 1), 1)
		}
		var want []uuid.UUID
		for _, c := range slices.Backward(clicks) {
			want = append(want, c.ID)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("pages together (-want +got):\n%s", diff)
		}
	})
	t.Run("OK all links, page by page, newest first", func(t *testing.T) {
		s := MustFresh(t, fresh)
		if got := mustLatest(t, s, click.AllLinks, uuid.Nil, 5); got == nil || len(got) != 0 {
			t.Errorf("got %v, want an empty list", got)
		}
		// In three months and before them, so that they lie in several partitions.
		var want []click.Click
		for i := range 17 {
			at := time.Now().AddDate(0, i/4-1, 0).Add(time.Duration(i) * time.Second)
			c := clicksAt(int64(1+i%3), at, 1)[0]
			c.Code = fmt.Sprint("code-", i%3)
			want = append(want, c)
		}
		MustWrite(t, s, want, len(want))
		slices.SortFunc(want, func(a, b click.Click) int { return bytes.Compare(b.ID[:], a.ID[:]) })
		var got []click.Click
		for before := uuid.Nil; ; before = got[len(got)-1].ID {
			page := mustLatest(t, s, click.AllLinks, before, 4)
			if len(page) == 0 {
				break
			}
			got = append(got, page...)
		}
		if len(got) != len(want) {
			t.Fatalf("%d clicks on all pages, want %d", len(got), len(want))
		}
		for i := range want {
			if got[i].ID != want[i].ID || got[i].LinkID != want[i].LinkID || got[i].Code != want[i].Code {
				t.Errorf("click %d is %v of %q, want %v of %q", i, got[i].ID, got[i].Code, want[i].ID, want[i].Code)
			}
		}
	})
	t.Run("OK none", func(t *testing.T) {
		if got := mustLatest(t, s, 7, uuid.Nil, 5); got == nil || len(got) != 0 {
			t.Errorf("got %v, want an empty list", got)
		}
	})
	t.Run("OK never more than MaxLatest", func(t *testing.T) {
		MustWrite(t, s, clicksAt(8, noon, click.MaxLatest+1), click.MaxLatest+1)
		if got := mustLatest(t, s, 8, uuid.Nil, 10*click.MaxLatest); len(got) != click.MaxLatest {
			t.Errorf("got %d, want %d", len(got), click.MaxLatest)
		}
	})
}

func testClickStats(t *testing.T, fresh func(*testing.T) store.Config) {
	s := MustFresh(t, fresh)
	var batch []click.Click
	add := func(linkID int64, at time.Time, referrer string, bot bool) {
		batch = append(batch, click.Click{ID: click.NewID(at.Add(time.Duration(len(batch)) * time.Microsecond)), LinkID: linkID, Time: at,
			Referrer: "https://" + referrer + "/", UserAgent: firefox, Bot: bot})
	}
	for i, referrer := range []string{"c.example", "a.example", "b.example", "b.example", "a.example", "d.example"} {
		add(1, noon.Add(time.Duration(i)*20*time.Minute), referrer, false) // 12:00 to 13:40
	}
	add(1, noon.Add(90*time.Minute), "bot.example", true)
	add(1, noon.Add(-time.Microsecond), "before.example", false)
	add(1, noon.Add(2*time.Hour), "after.example", false)
	add(2, noon, "else.example", false)
	MustWrite(t, s, batch, len(batch))

	hours := click.StatsQuery{LinkID: 1, From: noon, To: noon.Add(2 * time.Hour), Interval: click.IntervalHour, Top: 2}
	t.Run("OK hours, bots apart, the most frequent values", func(t *testing.T) {
		got, err := s.ClickStats(t.Context(), hours)
		if err != nil {
			t.Fatal(err)
		}
		if got.Clicks != 6 || got.Bots != 1 {
			t.Errorf("%d clicks and %d bots, want 6 and 1", got.Clicks, got.Bots)
		}
		if diff := cmp.Diff([]click.Step{{Start: noon, Clicks: 3}, {Start: noon.Add(time.Hour), Clicks: 3}}, got.Series); diff != "" {
			t.Errorf("series (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]click.Count{{Value: "a.example", Clicks: 2}, {Value: "b.example", Clicks: 2}}, got.Values[click.DimensionReferrer]); diff != "" {
			t.Errorf("referrers (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]click.Count{{Value: "Firefox", Clicks: 6}}, got.Values[click.DimensionBrowser]); diff != "" {
			t.Errorf("browsers (-want +got):\n%s", diff)
		}
	})
	t.Run("OK from and to are widened to quarters of an hour", func(t *testing.T) {
		q := hours
		q.From, q.To = noon.Add(44*time.Minute), noon.Add(61*time.Minute)
		if got, err := s.ClickStats(t.Context(), q); err != nil || got.Clicks != 2 || sum(got.Values[click.DimensionReferrer]) != 2 {
			t.Errorf("%+v, %v; want the clicks of 12:40 and 13:00", got, err)
		}
	})
	t.Run("OK days of a time zone", func(t *testing.T) {
		q := hours
		q.Interval, q.Location = click.IntervalDay, time.FixedZone("", 11*3600) // midnight there is 13:00 here
		got, err := s.ClickStats(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		var clicks []int64
		for _, step := range got.Series {
			clicks = append(clicks, step.Clicks)
		}
		if diff := cmp.Diff([]int64{3, 3}, clicks); diff != "" {
			t.Errorf("days (-want +got):\n%s", diff)
		}
	})
	t.Run("OK nothing", func(t *testing.T) {
		q := hours
		q.LinkID = 99
		got, err := s.ClickStats(t.Context(), q)
		if err != nil || got.Clicks != 0 || len(got.Series) != 2 || len(got.Values) != len(click.Dimensions()) {
			t.Errorf("got %+v, %v", got, err)
		}
		for dimension, counts := range got.Values {
			if counts == nil || len(counts) != 0 {
				t.Errorf("%s is %v, want an empty list", dimension, counts)
			}
		}
	})
	t.Run("ErrInvalid", func(t *testing.T) {
		q := hours
		q.To = q.From
		_, err := s.ClickStats(t.Context(), q)
		wantError(t, err, link.KindInvalid, "to")
	})
}

func referrers(linkID int64, at time.Time, names ...string) []click.Click {
	clicks := clicksAt(linkID, at, len(names))
	for i, name := range names {
		clicks[i].Referrer = "https://" + name + "/"
	}
	return clicks
}

// countOf returns the clicks of a value, and how many values there are besides click.Other.
func countOf(stats click.Stats, value string) (clicks int64, values int) {
	for _, c := range stats.Values[click.DimensionReferrer] {
		if c.Value == value {
			clicks = c.Clicks
		}
		if c.Value != click.Other {
			values++
		}
	}
	return clicks, values
}

func testMaxValues(t *testing.T, fresh func(*testing.T) store.Config) {
	s := MustFresh(t, fresh)
	hourStats := func(t *testing.T, linkID int64, at time.Time) click.Stats {
		t.Helper()
		// Top is at most MaxValues; other is in the answer as it has the most clicks.
		stats, err := s.ClickStats(t.Context(), click.StatsQuery{LinkID: linkID, From: at, To: at.Add(time.Hour), Top: click.MaxTop})
		if err != nil {
			t.Fatal(err)
		}
		return stats
	}
	t.Run("OK batch by batch", func(t *testing.T) {
		batch := clicksAt(1, noon, click.MaxValues+50)
		MustWrite(t, s, batch[:click.MaxValues-1], click.MaxValues-1)
		MustWrite(t, s, referrers(1, noon.Add(10*time.Minute), click.Other), 1) // is not one of the 200
		MustWrite(t, s, batch[click.MaxValues-1:click.MaxValues], 1)
		// All 201 rows have one click: other is in the answer since it orders before the "r…" hosts.
		if other, _ := countOf(hourStats(t, 1, noon), click.Other); other != 1 {
			t.Errorf("other has %d, want 1", other)
		}
		MustWrite(t, s, batch[click.MaxValues:], 50)
		MustWrite(t, s, referrers(1, noon.Add(20*time.Minute), "r0000.example", "r0000.example", "late.example"), 3)
		stats := hourStats(t, 1, noon)
		if other, _ := countOf(stats, click.Other); other != 52 {
			t.Errorf("other has %d, want 50 and the two others", other)
		}
		if held, _ := countOf(stats, "r0000.example"); held != 3 {
			t.Errorf("a value that was held has %d, want 3", held)
		}
		if late, _ := countOf(stats, "late.example"); late != 0 {
			t.Errorf("a value beyond the limit has %d, want 0", late)
		}
		if stats.Clicks != click.MaxValues+50+1+3 {
			t.Errorf("%d clicks in all", stats.Clicks)
		}
	})
	t.Run("OK in one batch the most frequent stay", func(t *testing.T) {
		batch := append(clicksAt(2, noon, click.MaxValues+50), referrers(2, noon.Add(30*time.Minute), "z.example", "z.example")...)
		MustWrite(t, s, batch, len(batch))
		stats := hourStats(t, 2, noon)
		if z, _ := countOf(stats, "z.example"); z != 2 {
			t.Errorf("the most frequent value has %d, want 2", z)
		}
		if other, _ := countOf(stats, click.Other); other != 51 {
			t.Errorf("other has %d, want 51", other)
		}
	})
	t.Run("OK every hour and link has its own", func(t *testing.T) {
		for i := range 3 {
			at := noon.Add(time.Duration(i) * time.Hour)
			MustWrite(t, s, referrers(3, at, fmt.Sprintf("only-%d.example", i)), 1)
			MustWrite(t, s, clicksAt(3, at.Add(time.Minute), click.MaxValues-1), click.MaxValues-1)
			if other, values := countOf(hourStats(t, 3, at), click.Other); other != 0 || values != click.MaxValues {
				t.Errorf("hour %d: other has %d beside %d values", i, other, values)
			}
		}
	})
}
