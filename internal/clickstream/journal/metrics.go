package journal

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Waiting is how many records are in the journal that are not done.
func (j *Journal) Waiting() uint64 {
	in := j.counts.found.Load() + j.counts.appended.Load()
	return in - min(in, j.counts.shipped.Load()+j.counts.overwritten.Load()+j.counts.lost.Load())
}

// Bytes is how many bytes the journal takes of the disk.
func (j *Journal) Bytes() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	var n int64
	for _, s := range append(slices.Clone(j.segments), j.leaving...) {
		n += int64(len(s.memory))
	}
	for _, s := range []*segment{j.spare, j.used} {
		if s != nil {
			n += int64(len(s.memory))
		}
	}
	return n
}

// Oldest is when the oldest record that is not done was appended; the zero time when there is none.
func (j *Journal) Oldest() time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.segments {
		if body, _, ok := s.at(s.shipped()); ok {
			if r, err := parse(body); err == nil {
				return r.Appended
			}
		}
	}
	return time.Time{}
}

// newSyncTime is the histogram of how long the disk takes; without Config.Sync it stays empty.
func newSyncTime() prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "linktrail_clicks_journal_sync_duration_seconds",
		Help:    "Time to put the clicks of the journal that wait for it on the disk.",
		Buckets: []float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5},
	})
}

// register registers the journal's metrics.
func (j *Journal) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	errs := []error{r.Register(j.syncTime)}
	for _, counter := range []struct {
		name, help string
		labels     prometheus.Labels
		value      *atomic.Uint64
	}{
		{"appended", "Clicks appended to the journal.", nil, &j.counts.appended},
		{"shipped", "Clicks of the journal that are done: acknowledged, or refused by the broker for good.", nil, &j.counts.shipped},
		{"repeated", "Clicks that an earlier process had read and not seen done, and that are sent again.", nil, &j.counts.repeated},
		{"dropped", droppedHelp, prometheus.Labels{"reason": "refused"}, &j.counts.refused},
		{"dropped", droppedHelp, prometheus.Labels{"reason": "overwritten"}, &j.counts.overwritten},
		{"damaged", "Places in the journal that could not be read; what was there is lost.", nil, &j.counts.damaged},
		{"sync_failures", "Clicks of which the disk did not say that it has them; they are in the page cache.", nil, &j.counts.unsynced},
	} {
		errs = append(errs, r.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "linktrail_clicks_journal_" + counter.name + "_total", Help: counter.help, ConstLabels: counter.labels,
		}, func() float64 { return float64(counter.value.Load()) })))
	}
	for _, gauge := range []struct {
		name, help string
		value      func() float64
	}{
		{"records", "Clicks in the journal that are not done.", func() float64 { return float64(j.Waiting()) }},
		{"bytes", "Bytes that the journal takes of the disk.", func() float64 { return float64(j.Bytes()) }},
		{"limit_bytes", "The most bytes that the journal may take of the disk.", func() float64 { return float64(j.config.MaxBytes) }},
		{"oldest_age_seconds", "Age of the oldest click in the journal that is not done; 0 when there is none.", func() float64 {
			if oldest := j.Oldest(); !oldest.IsZero() {
				return max(0, time.Since(oldest).Seconds()) // a clock may have been set back
			}
			return 0
		}},
	} {
		errs = append(errs, r.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "linktrail_clicks_journal_" + gauge.name, Help: gauge.help,
		}, gauge.value)))
	}
	return errors.Join(errs...)
}

const droppedHelp = "Clicks lost because the journal was full: new ones that it refused, or old ones that it overwrote."
