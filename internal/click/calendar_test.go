package click_test

import (
	"errors"
	"strconv"
	"testing"
	"time"
	_ "time/tzdata" // the zones are the same wherever the test runs

	"github.com/google/go-cmp/cmp"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/link"
)

func mustZone(t *testing.T, name string) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

func mustTime(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestStartOfDay(t *testing.T) {
	for _, tt := range []struct {
		zone             string
		year, month, day int
		want             string
	}{
		{"UTC", 2026, 3, 1, "2026-03-01T00:00:00Z"},
		{"Europe/Berlin", 2026, 3, 29, "2026-03-29T00:00:00+01:00"},
		{"Europe/Berlin", 2026, 3, 30, "2026-03-30T00:00:00+02:00"},
		{"Asia/Kathmandu", 2026, 1, 1, "2026-01-01T00:00:00+05:45"},
		{"Pacific/Kiritimati", 2026, 1, 1, "2026-01-01T00:00:00+14:00"},
		{"Etc/GMT+12", 2026, 1, 1, "2026-01-01T00:00:00-12:00"},
		// There is no midnight: clocks go from 24:00 to 01:00.
		{"America/Sao_Paulo", 2018, 11, 4, "2018-11-04T01:00:00-02:00"},
		{"America/Santiago", 2026, 9, 6, "2026-09-06T01:00:00-03:00"},
		{"Asia/Beirut", 2026, 3, 29, "2026-03-29T01:00:00+03:00"},
		{"Africa/Cairo", 2026, 4, 24, "2026-04-24T01:00:00+03:00"},
		{"Atlantic/Azores", 2026, 3, 29, "2026-03-29T01:00:00Z"},
		// Clocks go from 24:00 to 23:00: there is one midnight, but two hours before it.
		{"America/Sao_Paulo", 2018, 2, 18, "2018-02-18T00:00:00-03:00"},
		{"America/Santiago", 2026, 4, 5, "2026-04-05T00:00:00-04:00"},
		// Clocks go from 01:00 to 00:00: there are two midnights.
		{"America/Havana", 2026, 11, 1, "2026-11-01T00:00:00-04:00"},
		{"Atlantic/Azores", 2026, 10, 25, "2026-10-25T00:00:00Z"},
		// Samoa went over the date line and left out a day.
		{"Pacific/Apia", 2011, 12, 29, "2011-12-29T00:00:00-10:00"},
		{"Pacific/Apia", 2011, 12, 30, "2011-12-31T00:00:00+14:00"},
		{"Pacific/Apia", 2011, 12, 31, "2011-12-31T00:00:00+14:00"},
		// Alaska came to America and had a day twice.
		{"America/Juneau", 1867, 10, 18, "1867-10-18T00:00:00+15:02"},
		// Months and days beyond their range.
		{"Europe/Berlin", 2025, 13, 1, "2026-01-01T00:00:00+01:00"},
		{"Europe/Berlin", 2026, 3, 0, "2026-02-28T00:00:00+01:00"},
		{"Europe/Berlin", 2028, 2, 30, "2028-03-01T00:00:00+01:00"},
	} {
		t.Run("OK "+tt.zone+" "+tt.want, func(t *testing.T) {
			got := click.StartOfDay(tt.year, time.Month(tt.month), tt.day, mustZone(t, tt.zone))
			if got := got.Format(time.RFC3339); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// TestSteps asks for the steps of a range, and for the number of quarters that lie in each.
func TestSteps(t *testing.T) {
	for _, tt := range []struct {
		name, zone string
		interval   click.Interval
		from, to   string
		steps      []string // start, and how many quarters
	}{
		{"spring forward", "Europe/Berlin", click.IntervalDay, "2026-03-28T00:00:00+01:00", "2026-03-31T00:00:00+02:00", []string{
			"2026-03-28T00:00:00+01:00 96", "2026-03-29T00:00:00+01:00 92", "2026-03-30T00:00:00+02:00 96"}},
		{"spring forward", "Europe/Berlin", click.IntervalHour, "2026-03-29T01:00:00+01:00", "2026-03-29T04:00:00+02:00", []string{
			"2026-03-29T01:00:00+01:00 4", "2026-03-29T03:00:00+02:00 4"}},
		{"fall back", "Europe/Berlin", click.IntervalDay, "2026-10-24T00:00:00+02:00", "2026-10-27T00:00:00+01:00", []string{
			"2026-10-24T00:00:00+02:00 96", "2026-10-25T00:00:00+02:00 100", "2026-10-26T00:00:00+01:00 96"}},
		{"two hours at 02:00", "Europe/Berlin", click.IntervalHour, "2026-10-25T01:00:00+02:00", "2026-10-25T04:00:00+01:00", []string{
			"2026-10-25T01:00:00+02:00 4", "2026-10-25T02:00:00+02:00 4", "2026-10-25T02:00:00+01:00 4", "2026-10-25T03:00:00+01:00 4"}},
		{"a month with a change", "America/New_York", click.IntervalMonth, "2026-03-01T00:00:00-05:00", "2026-05-01T00:00:00-04:00", []string{
			"2026-03-01T00:00:00-05:00 2972", "2026-04-01T00:00:00-04:00 2880"}},
		{"half an hour forward", "Australia/Lord_Howe", click.IntervalHour, "2026-10-04T01:00:00+10:30", "2026-10-04T04:00:00+11:00", []string{
			"2026-10-04T01:00:00+10:30 4", "2026-10-04T02:30:00+11:00 2", "2026-10-04T03:00:00+11:00 4"}},
		{"half an hour back", "Australia/Lord_Howe", click.IntervalHour, "2026-04-05T01:00:00+11:00", "2026-04-05T03:00:00+10:30", []string{
			"2026-04-05T01:00:00+11:00 4", "2026-04-05T01:30:00+10:30 2", "2026-04-05T02:00:00+10:30 4"}},
		{"half an hour", "Australia/Lord_Howe", click.IntervalDay, "2026-04-05T00:00:00+11:00", "2026-04-07T00:00:00+10:30", []string{
			"2026-04-05T00:00:00+11:00 98", "2026-04-06T00:00:00+10:30 96"}},
		{"hours by the clock", "Asia/Kolkata", click.IntervalHour, "2026-05-01T00:15:00+05:30", "2026-05-01T02:30:00+05:30", []string{
			"2026-05-01T00:00:00+05:30 3", "2026-05-01T01:00:00+05:30 4", "2026-05-01T02:00:00+05:30 2"}},
		{"hours by the clock", "Asia/Kathmandu", click.IntervalHour, "2026-05-01T00:00:00+05:45", "2026-05-01T02:00:00+05:45", []string{
			"2026-05-01T00:00:00+05:45 4", "2026-05-01T01:00:00+05:45 4"}},
		{"no midnight", "America/Sao_Paulo", click.IntervalDay, "2018-11-03T00:00:00-03:00", "2018-11-06T00:00:00-02:00", []string{
			"2018-11-03T00:00:00-03:00 96", "2018-11-04T01:00:00-02:00 92", "2018-11-05T00:00:00-02:00 96"}},
		{"no midnight, far from it", "America/Santiago", click.IntervalDay, "2026-09-06T12:00:00-03:00", "2026-09-08T00:00:00-03:00", []string{
			"2026-09-06T01:00:00-03:00 48", "2026-09-07T00:00:00-03:00 96"}},
		{"two midnights", "America/Havana", click.IntervalDay, "2026-10-31T00:00:00-04:00", "2026-11-03T00:00:00-05:00", []string{
			"2026-10-31T00:00:00-04:00 96", "2026-11-01T00:00:00-04:00 100", "2026-11-02T00:00:00-05:00 96"}},
		{"an hour of yesterday after midnight", "America/Goose_Bay", click.IntervalDay, "2005-10-30T00:00:00-03:00", "2005-10-30T08:00:00-04:00", []string{
			"2005-10-30T00:00:00-03:00 36"}},
		{"two hours before midnight", "America/Santiago", click.IntervalHour, "2026-04-04T23:00:00-03:00", "2026-04-05T01:00:00-04:00", []string{
			"2026-04-04T23:00:00-03:00 4", "2026-04-04T23:00:00-04:00 4", "2026-04-05T00:00:00-04:00 4"}},
		{"a day left out", "Pacific/Apia", click.IntervalDay, "2011-12-29T00:00:00-10:00", "2012-01-01T00:00:00+14:00", []string{
			"2011-12-29T00:00:00-10:00 96", "2011-12-31T00:00:00+14:00 96"}},
		{"a day left out", "Pacific/Apia", click.IntervalMonth, "2011-12-01T00:00:00-10:00", "2012-02-01T00:00:00+14:00", []string{
			"2011-12-01T00:00:00-10:00 2880", "2012-01-01T00:00:00+14:00 2976"}},
		{"leap day", "UTC", click.IntervalDay, "2028-02-28T00:00:00Z", "2028-03-02T00:00:00Z", []string{
			"2028-02-28T00:00:00Z 96", "2028-02-29T00:00:00Z 96", "2028-03-01T00:00:00Z 96"}},
		{"months of 31, 28, 31 and 30 days, and a new year", "Asia/Kolkata", click.IntervalMonth, "2025-12-31T00:00:00+05:30", "2026-05-01T00:00:00+05:30", []string{
			"2025-12-01T00:00:00+05:30 96", "2026-01-01T00:00:00+05:30 2976", "2026-02-01T00:00:00+05:30 2688",
			"2026-03-01T00:00:00+05:30 2976", "2026-04-01T00:00:00+05:30 2880"}},
		{"a month of 29 days", "UTC", click.IntervalMonth, "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z", []string{"2028-02-01T00:00:00Z 2784"}},
		{"the first and the last second", "UTC", click.IntervalHour, "2026-05-01T10:59:59Z", "2026-05-01T12:00:01Z", []string{
			"2026-05-01T10:00:00Z 1", "2026-05-01T11:00:00Z 4", "2026-05-01T12:00:00Z 1"}},
		{"a zone that only changes its name", "America/Caracas", click.IntervalHour, "2026-05-01T10:00:00-04:00", "2026-05-01T11:00:00-04:00", []string{
			"2026-05-01T10:00:00-04:00 4"}},
	} {
		t.Run("OK "+tt.zone+" "+string(tt.interval)+" "+tt.name, func(t *testing.T) {
			q, err := click.StatsQuery{LinkID: 1, From: mustTime(t, tt.from), To: mustTime(t, tt.to), Interval: tt.interval,
				Location: mustZone(t, tt.zone)}.Check()
			if err != nil {
				t.Fatal(err)
			}
			var quarters []click.Step
			for at := q.From; at.Before(q.To); at = at.Add(click.Quarter) {
				quarters = append(quarters, click.Step{Start: at, Clicks: 1})
			}
			if diff := cmp.Diff(tt.steps, shown(q.Series(quarters))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func shown(steps []click.Step) []string {
	var lines []string
	for _, s := range steps {
		lines = append(lines, s.Start.Format(time.RFC3339)+" "+strconv.FormatInt(s.Clicks, 10))
	}
	return lines
}

// TestSeriesLosesNothing goes through the seasons in which clocks change, in many zones, whose every quarter must be in one step that holds
// it, and whose steps must follow each other.
func TestSeriesLosesNothing(t *testing.T) {
	for _, name := range []string{"UTC", "Europe/Berlin", "Europe/Dublin", "America/New_York", "America/St_Johns", "America/Havana",
		"America/Santiago", "America/Nuuk", "America/Asuncion", "Asia/Kolkata", "Asia/Kathmandu", "Asia/Tehran", "Asia/Beirut", "Asia/Gaza",
		"Africa/Cairo", "Africa/Casablanca", "Australia/Lord_Howe", "Australia/Eucla", "Pacific/Chatham", "Pacific/Apia",
		"Pacific/Kiritimati", "Pacific/Marquesas", "Antarctica/Troll", "Atlantic/Azores"} {
		zone := mustZone(t, name)
		for interval, days := range map[click.Interval]int{click.IntervalHour: 80, click.IntervalDay: 100, click.IntervalMonth: 100} {
			t.Run("OK "+name+" "+string(interval), func(t *testing.T) {
				for _, from := range []time.Time{mustTime(t, "2026-02-25T07:15:00Z"), mustTime(t, "2026-08-30T07:45:00Z")} {
					q, err := click.StatsQuery{From: from, To: from.AddDate(0, 0, days), Interval: interval, Location: zone}.Check()
					if err != nil {
						t.Fatal(err)
					}
					checkSeries(t, q)
				}
			})
		}
	}
}

func checkSeries(t *testing.T, q click.StatsQuery) {
	t.Helper()
	layout := map[click.Interval]string{click.IntervalHour: "2006-01-02 15 -0700", click.IntervalDay: "2006-01-02", click.IntervalMonth: "2006-01"}[q.Interval]
	var quarters []click.Step
	want := make(map[string]int64)
	for at := q.From; at.Before(q.To); at = at.Add(click.Quarter) {
		quarters = append(quarters, click.Step{Start: at, Clicks: 1})
		want[at.In(q.Location).Format(layout)]++
	}
	steps := q.Series(quarters)
	if len(steps) != len(want) {
		t.Errorf("%d steps, want %d", len(steps), len(want))
	}
	for i, s := range steps {
		if label := s.Start.Format(layout); s.Clicks != want[label] {
			t.Errorf("the step at %s has %d quarters, want %d", s.Start.Format(time.RFC3339), s.Clicks, want[label])
		}
		if i > 0 && !s.Start.After(steps[i-1].Start) {
			t.Errorf("%s follows %s", s.Start, steps[i-1].Start)
		}
	}
}

func TestStatsQueryCheckErr(t *testing.T) {
	day := mustTime(t, "2026-05-01T00:00:00Z")
	for name, tt := range map[string]struct {
		q     click.StatsQuery
		field string
	}{
		"Interval": {click.StatsQuery{From: day, To: day.Add(1), Interval: "week"}, "interval"},
		"Top":      {click.StatsQuery{From: day, To: day.Add(1), Top: click.MaxTop + 1}, "top"},
		"Empty":    {click.StatsQuery{From: day, To: day}, "to"},
		"Backward": {click.StatsQuery{From: day.Add(1), To: day}, "to"},
		"Far":      {click.StatsQuery{From: day, To: mustTime(t, "9999-12-31T23:59:59Z"), Interval: click.IntervalMonth}, "to"},
		// However wide the range is, no more than MaxSteps are tried.
		"Hours":  {click.StatsQuery{From: time.Time{}, To: mustTime(t, "9998-12-31T23:59:59Z"), Location: mustZone(t, "Europe/Berlin")}, "interval"},
		"Days":   {click.StatsQuery{From: time.Time{}, To: day, Interval: click.IntervalDay, Location: mustZone(t, "Asia/Tokyo")}, "interval"},
		"Months": {click.StatsQuery{From: time.Time{}, To: day, Interval: click.IntervalMonth, Location: mustZone(t, "America/Lima")}, "interval"},
	} {
		t.Run("Err"+name, func(t *testing.T) {
			_, err := tt.q.Check()
			wantField(t, err, tt.field)
		})
	}
	t.Run("OKMaxSteps", func(t *testing.T) {
		q := click.StatsQuery{From: day, To: day.Add(click.MaxSteps * time.Hour)}
		if _, err := q.Check(); err != nil {
			t.Error(err)
		}
		q.To = q.To.Add(time.Second)
		_, err := q.Check()
		wantField(t, err, "interval")
	})
}

func BenchmarkSeries(b *testing.B) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		b.Fatal(err)
	}
	from := time.Date(2060, 1, 1, 0, 0, 0, 0, zone)
	var quarters []click.Step
	for at := from; len(quarters) < 4*click.MaxSteps; at = at.Add(click.Quarter) {
		quarters = append(quarters, click.Step{Start: at, Clicks: 1})
	}
	for b.Loop() {
		q, err := click.StatsQuery{From: from, To: from.Add(click.MaxSteps * time.Hour), Location: zone}.Check()
		if err != nil {
			b.Fatal(err)
		}
		q.Series(quarters)
	}
}

func wantField(t *testing.T, err error, field string) {
	t.Helper()
	if e, ok := errors.AsType[*link.Error](err); !ok || e.Kind != link.KindInvalid || e.Field != field {
		t.Errorf("got %v, want an invalid %s", err, field)
	}
}
