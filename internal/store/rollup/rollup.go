// Package rollup adds up clicks by link, hour and dimension, and within the hour by its quarters. The stores write what it
// returns, in its order.
package rollup

import (
	"cmp"
	"slices"
	"time"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/store/record"
)

// Total is the name of the dimension whose one row a link and hour counts all clicks, and alone counts bots.
const Total = "total"

// A Hour is one hour of one link.
type Hour struct {
	LinkID int64
	// Start is the start of the hour, UTC.
	Start time.Time
}

// Quarters are the counts of the four quarters of an hour.
type Quarters [int(time.Hour / click.Quarter)]int64

// OfHour makes Quarters of what the stores keep: the count of the whole hour, and those of all its quarters but the first.
func OfHour(whole, second, third, fourth int64) Quarters {
	return Quarters{whole - second - third - fourth, second, third, fourth}
}

// Sum is the count of the whole hour.
func (q Quarters) Sum() (n int64) {
	for _, count := range q {
		n += count
	}
	return n
}

func (q *Quarters) add(other Quarters) {
	for i, count := range other {
		q[i] += count
	}
}

// A TotalRow is what is added to the total of a link's hour.
type TotalRow struct {
	Hour
	Clicks, Bots Quarters
}

// A ValueRow is what is added to a value of a dimension.
type ValueRow struct {
	Hour
	Dimension string
	Value     string
	Clicks    Quarters
}

// A Group is the values of one dimension in one hour of one link: that which holds at most click.MaxValues.
type Group struct {
	Hour
	Dimension string
}

// Group returns the group that the row belongs to.
func (r ValueRow) Group() Group { return Group{r.Hour, r.Dimension} }

// A GroupSize says how many values other than click.Other a group of rows has.
type GroupSize struct {
	Group
	Values int
}

// Sum adds up clicks, each of which is new to the store. Both results are in key order: link, dimension, hour, value.
// Bots are counted in the totals only.
func Sum(clicks []click.Click) ([]TotalRow, []ValueRow) {
	totals := make(map[Hour]TotalRow)
	type valueKey struct {
		Group
		value string
	}
	values := make(map[valueKey]Quarters)
	for i := range clicks {
		c := &clicks[i]
		hour := Hour{c.LinkID, c.Time.UTC().Truncate(time.Hour)}
		quarter := c.Time.Sub(hour.Start) / click.Quarter
		total := totals[hour]
		total.Hour = hour
		if c.Bot {
			total.Bots[quarter]++
			totals[hour] = total
			continue
		}
		total.Clicks[quarter]++
		totals[hour] = total
		for _, d := range c.Dimensions() {
			key := valueKey{Group{hour, string(d.Dimension)}, record.Text(d.Value)}
			counts := values[key]
			counts[quarter]++
			values[key] = counts
		}
	}
	totalRows := make([]TotalRow, 0, len(totals))
	for _, t := range totals {
		totalRows = append(totalRows, t)
	}
	slices.SortFunc(totalRows, func(a, b TotalRow) int { return compareHours(a.Hour, b.Hour) })
	valueRows := make([]ValueRow, 0, len(values))
	for k, n := range values {
		valueRows = append(valueRows, ValueRow{k.Hour, k.Dimension, k.value, n})
	}
	sortValues(valueRows)
	return totalRows, valueRows
}

// Groups returns the groups of rows in key order, with their sizes.
func Groups(rows []ValueRow) []GroupSize {
	var groups []GroupSize
	for _, r := range rows {
		if len(groups) == 0 || groups[len(groups)-1].Group != r.Group() {
			groups = append(groups, GroupSize{Group: r.Group()})
		}
		if r.Value != click.Other {
			groups[len(groups)-1].Values++
		}
	}
	return groups
}

// Cap counts as click.Other what would make a group hold more than click.MaxValues values. held has, for every group that
// may come to that, the values that the store has of it already (click.Other left out); groups that held does not have
// stay as they are. Values that are held keep counting, the most frequent new ones take what room is left. The result is
// in key order.
func Cap(rows []ValueRow, held map[Group]map[string]bool) []ValueRow {
	if len(held) == 0 {
		return rows
	}
	fresh := make(map[Group][]ValueRow)
	other := make(map[Group]Quarters)
	var kept []ValueRow
	for _, r := range rows {
		values, full := held[r.Group()]
		switch {
		case full && r.Value == click.Other:
			addTo(other, r)
		case !full || values[r.Value]:
			kept = append(kept, r)
		default:
			fresh[r.Group()] = append(fresh[r.Group()], r)
		}
	}
	for group, candidates := range fresh {
		slices.SortFunc(candidates, func(a, b ValueRow) int {
			return cmp.Or(cmp.Compare(b.Clicks.Sum(), a.Clicks.Sum()), cmp.Compare(a.Value, b.Value))
		})
		room := min(max(click.MaxValues-len(held[group]), 0), len(candidates))
		kept = append(kept, candidates[:room]...)
		for _, r := range candidates[room:] {
			addTo(other, r)
		}
	}
	for group, n := range other {
		kept = append(kept, ValueRow{group.Hour, group.Dimension, click.Other, n})
	}
	sortValues(kept)
	return kept
}

func addTo(counts map[Group]Quarters, r ValueRow) {
	sum := counts[r.Group()]
	sum.add(r.Clicks)
	counts[r.Group()] = sum
}

func compareHours(a, b Hour) int {
	return cmp.Or(cmp.Compare(a.LinkID, b.LinkID), a.Start.Compare(b.Start))
}

func sortValues(rows []ValueRow) {
	slices.SortFunc(rows, func(a, b ValueRow) int {
		return cmp.Or(cmp.Compare(a.LinkID, b.LinkID), cmp.Compare(a.Dimension, b.Dimension), a.Start.Compare(b.Start),
			cmp.Compare(a.Value, b.Value))
	})
}

// A Counter collects what the store's rollups say into click.Stats; it is how all stores answer.
type Counter struct {
	query    click.StatsQuery
	quarters []click.Step
	stats    click.Stats
}

// NewCounter returns a Counter for a query that has passed Check.
func NewCounter(q click.StatsQuery) *Counter {
	c := &Counter{query: q, stats: click.Stats{Values: make(map[click.Dimension][]click.Count)}}
	for _, d := range click.Dimensions() {
		c.stats.Values[d] = []click.Count{}
	}
	return c
}

// Hour takes the total of one hour, of which it counts the quarters that the query asks for.
func (c *Counter) Hour(start time.Time, clicks, bots Quarters) {
	for i := range clicks {
		quarter := start.UTC().Add(time.Duration(i) * click.Quarter)
		if quarter.Before(c.query.From) || !quarter.Before(c.query.To) {
			continue
		}
		c.stats.Clicks += clicks[i]
		c.stats.Bots += bots[i]
		if clicks[i] != 0 {
			c.quarters = append(c.quarters, click.Step{Start: quarter, Clicks: clicks[i]})
		}
	}
}

// Value takes a value's clicks in all quarters of the query.
func (c *Counter) Value(dimension, value string, clicks int64) {
	d := click.Dimension(dimension)
	c.stats.Values[d] = append(c.stats.Values[d], click.Count{Value: value, Clicks: clicks})
}

// Stats returns the answer.
func (c *Counter) Stats() click.Stats {
	for _, counts := range c.stats.Values {
		slices.SortFunc(counts, func(a, b click.Count) int {
			return cmp.Or(cmp.Compare(b.Clicks, a.Clicks), cmp.Compare(a.Value, b.Value))
		})
	}
	c.stats.Series = c.query.Series(c.quarters)
	return c.stats
}

// Distinct returns the batch sorted by ID with each ID once: the order in which all writers take their locks.
func Distinct(batch []click.Click) []click.Click {
	sorted := slices.Clone(batch)
	slices.SortStableFunc(sorted, func(a, b click.Click) int { return slices.Compare(a.ID[:], b.ID[:]) })
	return slices.CompactFunc(sorted, func(a, b click.Click) bool { return a.ID == b.ID })
}

// Dimensions are the names of all dimensions that rollups have, Total first.
func Dimensions() []string {
	names := []string{Total}
	for _, d := range click.Dimensions() {
		names = append(names, string(d))
	}
	return names
}
