package record

import "time"

// A Retention says which clicks are no longer kept.
type Retention struct {
	// Before is the start of a month, UTC: clicks that were made before it go.
	Before time.Time
	// Rollups has the statistics of that time go as well; else they stay.
	Rollups bool
	// DryRun changes nothing and tells what would go.
	DryRun bool
}

// RetentionMonths returns the Before of a policy that keeps months months: all that lies wholly further back than that many
// months before now goes, and of the month in which that moment falls everything is kept.
func RetentionMonths(now time.Time, months int) time.Time {
	now = now.UTC()
	return time.Date(now.Year(), now.Month()-time.Month(months), 1, 0, 0, 0, 0, time.UTC)
}

// Removed is something that a retention removed.
type Removed struct {
	// What is a partition, such as "clicks_2026_01", "clicks_default" for clicks of the default partition, "clicks" where
	// there are no partitions, or "click_rollups".
	What string `json:"what"`
	// Rows is how many; of a partition the database's own estimate, -1 when it has none.
	Rows int64 `json:"rows"`
	// Bytes is the size on disk of a partition, 0 of anything else.
	Bytes int64 `json:"bytes"`
}
