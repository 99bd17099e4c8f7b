package rollup

import (
	"cmp"
	"slices"
	"time"

	"github.com/linktrail/linktrail/internal/click"
)

// A Key names a value of a dimension.
type Key struct{ Dimension, Value string }

// Counts are all rollups of one hour of one link.
type Counts struct {
	Clicks, Bots Quarters
	Values       map[Key]Quarters
}

// Hours are the rollups of one link by the start of the hour, UTC.
type Hours map[time.Time]*Counts

// Hour returns the counts of an hour, which are made where there are none.
func (h Hours) Hour(start time.Time) *Counts {
	start = start.UTC()
	if h[start] == nil {
		h[start] = &Counts{Values: make(map[Key]Quarters)}
	}
	return h[start]
}

// Rows returns all of a link's counts as rows, in key order.
func (h Hours) Rows(linkID int64) ([]TotalRow, []ValueRow) {
	var totals []TotalRow
	var values []ValueRow
	for start, c := range h {
		hour := Hour{linkID, start}
		totals = append(totals, TotalRow{hour, c.Clicks, c.Bots})
		for key, n := range c.Values {
			values = append(values, ValueRow{hour, key.Dimension, key.Value, n})
		}
	}
	slices.SortFunc(totals, func(a, b TotalRow) int { return compareHours(a.Hour, b.Hour) })
	sortValues(values)
	return totals, values
}

// replayBatch is how many clicks a Replay adds up at once.
const replayBatch = 5000

// A Replay adds up the clicks of one link as if they were written anew, in batches of replayBatch in the order in which
// they are given. Its memory is that of a batch and of the rollups that come of it.
type Replay struct {
	hours Hours
	held  map[Group]map[string]bool
	batch []click.Click
}

// NewReplay returns a Replay in which the values that stored has are held before the first click: of more than
// click.MaxValues values these are counted, whichever they are. Without stored the clicks decide alone.
func NewReplay(linkID int64, stored Hours) *Replay {
	r := &Replay{hours: make(Hours), held: make(map[Group]map[string]bool)}
	for start, counts := range stored {
		for key := range counts.Values {
			r.hold(Group{Hour{linkID, start}, key.Dimension}, key.Value)
		}
	}
	return r
}

func (r *Replay) hold(g Group, value string) {
	if value == click.Other {
		return
	}
	if r.held[g] == nil {
		r.held[g] = make(map[string]bool)
	}
	r.held[g][value] = true
}

// Add counts a click.
func (r *Replay) Add(c click.Click) {
	if r.batch = append(r.batch, c); len(r.batch) == replayBatch {
		r.flush()
	}
}

// Hours returns the rollups of all clicks.
func (r *Replay) Hours() Hours {
	r.flush()
	return r.hours
}

func (r *Replay) flush() {
	totals, values := Sum(r.batch)
	r.batch = r.batch[:0]
	for _, t := range totals {
		hour := r.hours.Hour(t.Start)
		hour.Clicks.add(t.Clicks)
		hour.Bots.add(t.Bots)
	}
	full := make(map[Group]map[string]bool)
	for _, g := range Groups(values) {
		if held := r.held[g.Group]; len(held)+g.Values > click.MaxValues {
			full[g.Group] = held
		}
	}
	for _, v := range Cap(values, full) {
		counts, key := r.hours.Hour(v.Start), Key{v.Dimension, v.Value}
		sum := counts.Values[key]
		sum.add(v.Clicks)
		counts.Values[key] = sum
		r.hold(v.Group(), v.Value)
	}
}

// What a Difference is about.
const (
	// DiffClicks and DiffBots are the totals of an hour.
	DiffClicks = "clicks"
	DiffBots   = "bots"
	// DiffValue is a value of a dimension.
	DiffValue = "value"
	// DiffQuarters is a total or a value whose sum is right and whose quarters of the hour are not.
	DiffQuarters = "quarters"
	// DiffValues is a dimension with more than click.MaxValues values.
	DiffValues = "values"
)

// A Difference is a count of an hour that clicks and rollups do not agree on.
type Difference struct {
	Hour time.Time
	What string
	// Dimension is Total for the totals, and Value is empty then.
	Dimension, Value string
	// Rows is what the clicks say, Rollups what the rollups do.
	Rows, Rollups int64
}

// Compare returns what stored has differently from what a Replay with it made of the clicks, in the order of hours.
func Compare(stored, replayed Hours) []Difference {
	var all []Difference
	none := &Counts{}
	hours := make(map[time.Time]bool)
	for _, side := range []Hours{stored, replayed} {
		for start := range side {
			hours[start] = true
		}
	}
	for start := range hours {
		have, want := stored[start], replayed[start]
		if have == nil {
			have = none
		}
		if want == nil {
			want = none
		}
		all = append(all, compareCounts(start, have, want)...)
	}
	slices.SortFunc(all, func(a, b Difference) int {
		return cmp.Or(a.Hour.Compare(b.Hour), cmp.Compare(a.What, b.What), cmp.Compare(a.Dimension, b.Dimension), cmp.Compare(a.Value, b.Value))
	})
	return all
}

func compareCounts(start time.Time, have, want *Counts) (found []Difference) {
	check := func(what, dimension, value string, have, want Quarters) {
		if have == want {
			return
		}
		if have.Sum() == want.Sum() {
			what = DiffQuarters
		}
		found = append(found, Difference{start, what, dimension, value, want.Sum(), have.Sum()})
	}
	check(DiffClicks, Total, "", have.Clicks, want.Clicks)
	check(DiffBots, Total, "", have.Bots, want.Bots)
	values := make(map[string]int64)
	for key, n := range have.Values {
		check(DiffValue, key.Dimension, key.Value, n, want.Values[key])
		if key.Value != click.Other {
			values[key.Dimension]++
		}
	}
	for key, n := range want.Values {
		if _, both := have.Values[key]; !both {
			check(DiffValue, key.Dimension, key.Value, Quarters{}, n)
		}
	}
	for dimension, n := range values {
		if n > click.MaxValues {
			found = append(found, Difference{start, DiffValues, dimension, "", click.MaxValues, n})
		}
	}
	return found
}
