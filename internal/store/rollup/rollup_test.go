package rollup_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/store/rollup"
)

var hour = rollup.Hour{LinkID: 1, Start: time.Date(2026, 5, 20, 12, 0, 0, 0, time.UTC)}

func TestSum(t *testing.T) {
	at := func(linkID int64, minutes int, referrer string, bot bool) click.Click {
		return click.Click{LinkID: linkID, Time: hour.Start.Add(time.Duration(minutes) * time.Minute).In(time.FixedZone("", 1800)), Referrer: referrer, Bot: bot}
	}
	totals, values := rollup.Sum([]click.Click{
		at(2, 0, "https://b.example/", false), at(1, 60, "", false), at(1, 59, "https://b.example/", false), at(1, 0, "https://b.example/", false),
		at(1, 1, "https://a.example/", false), at(1, 2, "https://bot.example/", true), at(3, 0, "", true),
	})
	next := rollup.Hour{LinkID: 1, Start: hour.Start.Add(time.Hour)}
	two, three := rollup.Hour{LinkID: 2, Start: hour.Start}, rollup.Hour{LinkID: 3, Start: hour.Start}
	if diff := cmp.Diff([]rollup.TotalRow{
		{hour, rollup.Quarters{2, 0, 0, 1}, rollup.Quarters{1}}, {next, rollup.Quarters{1}, rollup.Quarters{}},
		{two, rollup.Quarters{1}, rollup.Quarters{}}, {three, rollup.Quarters{}, rollup.Quarters{1}}}, totals); diff != "" {
		t.Errorf("totals (-want +got):\n%s", diff)
	}
	isReferrer := func(r rollup.ValueRow) bool { return r.Dimension != string(click.DimensionReferrer) }
	first := rollup.Quarters{1}
	want := []rollup.ValueRow{{hour, "referrer", "a.example", first}, {hour, "referrer", "b.example", rollup.Quarters{1, 0, 0, 1}},
		{next, "referrer", click.Direct, first}, {two, "referrer", "b.example", first}}
	if diff := cmp.Diff(want, slices.DeleteFunc(slices.Clone(values), isReferrer)); diff != "" {
		t.Errorf("referrers (-want +got):\n%s", diff)
	}
	groups := rollup.Groups(values)
	if len(groups) != 3*len(click.Dimensions()) {
		t.Errorf("%d groups, want one a dimension, link and hour: %v", len(groups), groups)
	}
}

func TestCap(t *testing.T) {
	group := rollup.Group{Hour: hour, Dimension: "referrer"}
	row := func(value string, clicks int64) rollup.ValueRow {
		return rollup.ValueRow{Hour: hour, Dimension: "referrer", Value: value, Clicks: rollup.Quarters{2: clicks - 1, 3: 1}}
	}
	held := make(map[string]bool)
	for i := range click.MaxValues - 1 {
		held[uuid.UUID{byte(i)}.String()] = true
	}
	t.Run("OK room for one", func(t *testing.T) {
		first := uuid.UUID{0}.String()
		got := rollup.Cap([]rollup.ValueRow{row(first, 7), row("a", 1), row("b", 2), row("c", 2), row(click.Other, 5)}, map[rollup.Group]map[string]bool{group: held})
		if diff := cmp.Diff([]rollup.ValueRow{row(first, 7), row("b", 2), {Hour: hour, Dimension: "referrer", Value: click.Other, Clicks: rollup.Quarters{2: 5, 3: 3}}}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("OK groups that are not full stay", func(t *testing.T) {
		rows := []rollup.ValueRow{row("a", 1), row(click.Other, 5)}
		if diff := cmp.Diff(rows, rollup.Cap(rows, nil)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}
