package click

import "time"

// Quarter is the grain of the rollups. Every offset from UTC in use is a multiple of it, so an hour, a day or a month of
// any time zone is made of whole quarters.
const Quarter = 15 * time.Minute

// StartOfDay returns the first moment of a date in a time zone. That is not always midnight: where clocks are put forward
// at midnight the day begins at 01:00, where they are put back over midnight it is the first of the two midnights, and a
// date that a zone left out altogether begins, and ends, where the next one does. Month and day may be out of their range,
// as those of time.Date may.
func StartOfDay(year int, month time.Month, day int, zone *time.Location) time.Time {
	midnight := time.Date(year, month, day, 0, 0, 0, 0, time.UTC) // what clocks shall show, as if they showed UTC
	const furthest = 26 * time.Hour                               // no two zones are further apart
	for at := midnight.Add(-furthest).In(zone); ; {
		_, offset := at.Zone()
		from, until := at.ZoneBounds()
		first := midnight.Add(-time.Duration(offset) * time.Second).In(zone)
		if !from.IsZero() && first.Before(from) {
			first = from
		}
		if until.IsZero() || first.Before(until) {
			return first
		}
		at = until
	}
}

// startOfHour returns the start of what is one hour by the clock and one offset from UTC: where the offset changes within
// an hour, a new one starts there.
func startOfHour(t time.Time) time.Time {
	start := t.Add(-sinceFullHour(t))
	from, _ := t.ZoneBounds()
	if !from.IsZero() && start.Before(from) && shifts(from) {
		return from
	}
	return start
}

// endOfHour returns the end of the hour that startOfHour returns the start of.
func endOfHour(start time.Time) time.Time {
	end := start.Add(time.Hour - sinceFullHour(start))
	if _, until := start.ZoneBounds(); !until.IsZero() && until.Before(end) && shifts(until) {
		return until
	}
	return end
}

func sinceFullHour(t time.Time) time.Duration {
	return time.Duration(t.Minute())*time.Minute + time.Duration(t.Second())*time.Second + time.Duration(t.Nanosecond())
}

// shifts reports whether clocks are changed at t, and not the zone's name alone.
func shifts(t time.Time) bool {
	_, before := t.Add(-1).Zone()
	_, after := t.Zone()
	return before != after
}
