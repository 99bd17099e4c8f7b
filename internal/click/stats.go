package click

import (
	"slices"
	"time"

	"github.com/linktrail/linktrail/internal/link"
)

// Dimension is what clicks are broken down by.
type Dimension string

// The dimensions of the rollups.
const (
	DimensionReferrer Dimension = "referrer"
	DimensionCountry  Dimension = "country"
	DimensionBrowser  Dimension = "browser"
	DimensionOS       Dimension = "os"
	DimensionDevice   Dimension = "device"
)

// Dimensions returns all dimensions in the order in which they are shown.
func Dimensions() []Dimension {
	return []Dimension{DimensionReferrer, DimensionCountry, DimensionBrowser, DimensionOS, DimensionDevice}
}

// MaxValues is the most values a dimension holds for one link and hour; clicks with further ones are counted as Other.
const MaxValues = 200

// Other is the value that stands for all beyond MaxValues. Unknown is the value of a click that says nothing.
const (
	Other   = "other"
	Unknown = "unknown"
)

// Interval is the width of a step of the series.
type Interval string

// The intervals; hours, days and months are those that the clocks of the query's time zone show, so that a day may have 23
// or 25 hours. Where clocks change by less than an hour, the hour of the change is two steps, one for each offset.
const (
	IntervalHour  Interval = "hour"
	IntervalDay   Interval = "day"
	IntervalMonth Interval = "month"
)

// MaxSteps is the most steps a series has; a query for more is refused.
const MaxSteps = 2000

// maxYear is the last year that a query may reach into: later ones have no form in RFC 3339.
const maxYear = 9998

// MaxTop is the most values of a dimension that a query returns; DefaultTop is how many it returns unasked.
const (
	MaxTop     = MaxValues
	DefaultTop = 10
)

// A StatsQuery asks for the statistics of one link.
type StatsQuery struct {
	LinkID int64
	// From and To limit the time, To exclusive. Clicks are counted by quarters of an hour: From is taken down and To up to
	// a full one.
	From, To time.Time
	Interval Interval
	// Location is the time zone of hours, days and months; nil is UTC.
	Location *time.Location
	// Top is the most values returned a dimension, the most frequent first; 0 is DefaultTop.
	Top int
}

// Stats are the counts of one link. Bots are in Bots alone, in no other figure.
type Stats struct {
	Clicks, Bots int64
	// Series has one step an interval from From to To, without gaps, and adds up to Clicks. The first step starts where its
	// interval does, the last ends so; both count only what is within From and To.
	Series []Step
	// Values are by dimension, most clicks first, then by value.
	Values map[Dimension][]Count
}

// A Step is the clicks of one interval that starts at Start.
type Step struct {
	Start  time.Time
	Clicks int64
}

// A Count is how many clicks had a value.
type Count struct {
	Value  string
	Clicks int64
}

// Check fills in defaults and refuses what a store need not answer; the error is a *link.Error that names the field.
func (q StatsQuery) Check() (StatsQuery, error) {
	if q.Location == nil {
		q.Location = time.UTC
	}
	if q.Interval == "" {
		q.Interval = IntervalHour
	}
	if !slices.Contains([]Interval{IntervalHour, IntervalDay, IntervalMonth}, q.Interval) {
		return q, link.Invalid("interval", "must be hour, day or month, got %q", q.Interval)
	}
	if q.Top == 0 {
		q.Top = DefaultTop
	}
	if q.Top < 1 || q.Top > MaxTop {
		return q, link.Invalid("top", "must be 1 to %d, got %d", MaxTop, q.Top)
	}
	if !q.From.Before(q.To) {
		return q, link.Invalid("to", "must be after from")
	}
	if q.To.UTC().Year() > maxYear {
		return q, link.Invalid("to", "must be before the year %d", maxYear+1)
	}
	q.From = q.From.UTC().Truncate(Quarter)
	if end := q.To.UTC().Truncate(Quarter); end.Before(q.To) {
		q.To = end.Add(Quarter)
	} else {
		q.To = end
	}
	steps := 0
	for at := q.start(q.From); at.Before(q.To); at = q.next(at) {
		if steps++; steps > MaxSteps {
			return q, link.Invalid("interval", "makes more than %d steps between from and to; ask for a wider one", MaxSteps)
		}
	}
	return q, nil
}

// Series turns the clicks of single quarters of an hour, in any order, into steps without gaps. The query must have passed
// Check.
func (q StatsQuery) Series(quarters []Step) []Step {
	var steps []Step
	for at := q.start(q.From); at.Before(q.To); at = q.next(at) {
		steps = append(steps, Step{Start: at})
	}
	for _, quarter := range quarters {
		// The last step that starts no later: clocks that go back over midnight make the hour after it yesterday's, once more.
		i, found := slices.BinarySearchFunc(steps, q.start(quarter.Start), func(s Step, t time.Time) int { return s.Start.Compare(t) })
		if !found {
			i--
		}
		if len(steps) > 0 {
			steps[max(i, 0)].Clicks += quarter.Clicks
		}
	}
	return steps
}

// start returns the start of the interval that holds t.
func (q StatsQuery) start(t time.Time) time.Time {
	t = t.In(q.Location)
	switch q.Interval {
	case IntervalMonth:
		return StartOfDay(t.Year(), t.Month(), 1, q.Location)
	case IntervalDay:
		return StartOfDay(t.Year(), t.Month(), t.Day(), q.Location)
	default:
		return startOfHour(t)
	}
}

// next returns the start of the interval after the one that starts at start.
func (q StatsQuery) next(start time.Time) time.Time {
	switch q.Interval {
	case IntervalMonth:
		return StartOfDay(start.Year(), start.Month()+1, 1, q.Location)
	case IntervalDay:
		return StartOfDay(start.Year(), start.Month(), start.Day()+1, q.Location)
	default:
		return endOfHour(start)
	}
}
