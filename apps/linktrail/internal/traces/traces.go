// Package traces waits for traces: spans leave their processes in batches, some time after they ended, so that a trace
// which is asked for at once has only some of them.
package traces

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/linktrail/linktrail/internal/tracequery"
)

const (
	// poll is how often the source is asked again.
	poll = 200 * time.Millisecond
	// quiet is how long a trace must stay as it is to be taken for whole when it is not a click's.
	quiet = 2 * time.Second
	// late is how long a whole one must: spans beside the way of the click, such as that of a cache, may follow.
	late = 500 * time.Millisecond
	// old is how long ago a trace has ended of which all spans have arrived.
	old = 15 * time.Second
)

// Spans of a click's trace: the first, the one after which more will come, and the last.
const (
	firstSpan = "GET /{code}"
	sendSpan  = "send click-events"
	lastSpan  = "INSERT clicks"
)

// Await reads a trace once it is whole, or as it is when wait has passed. The error for one of which nothing is known
// by then wraps tracequery.ErrNotFound.
func Await(ctx context.Context, source tracequery.Reader, id string, wait time.Duration) (tracequery.Trace, error) {
	deadline := time.Now().Add(wait)
	var last tracequery.Trace
	since := time.Now() // last is as it is
	for {
		trace, err := source.Trace(ctx, id)
		switch {
		case err == nil && len(trace.Spans) != len(last.Spans):
			last, since = trace, time.Now()
		case err != nil && !errors.Is(err, tracequery.ErrNotFound):
			return tracequery.Trace{}, err
		}
		if len(last.Spans) > 0 && (settled(last, since) || !time.Now().Before(deadline)) {
			return last, nil
		}
		if !time.Now().Before(deadline) {
			return tracequery.Trace{}, err
		}
		select {
		case <-ctx.Done():
			return tracequery.Trace{}, ctx.Err()
		case <-time.After(poll):
		}
	}
}

// settled reports whether nothing more is to be expected of a trace that has been as it is since then. One whose click is
// still on its way is not, however long it takes.
func settled(t tracequery.Trace, since time.Time) bool {
	whole := Whole(t)
	switch {
	case !whole && (has(t, sendSpan) || has(t, lastSpan)):
		return false
	case ended(t).Before(time.Now().Add(-old)):
		return true
	case whole:
		return time.Since(since) >= late
	}
	return time.Since(since) >= quiet
}

// ended is when the last of its spans did.
func ended(t tracequery.Trace) time.Time {
	var last time.Time
	for _, span := range t.Spans {
		if end := span.Start.Add(span.Duration()); end.After(last) {
			last = end
		}
	}
	return last
}

// Whole reports whether a trace is that of a click, from its redirect to its row in the store, with all that lies
// between.
func Whole(t tracequery.Trace) bool {
	known := make(map[string]bool, len(t.Spans))
	for _, span := range t.Spans {
		known[span.SpanID] = true
	}
	var first, last bool
	for _, span := range t.Spans {
		switch span.Name {
		case firstSpan:
			first = true // its parent may be the caller's
			continue
		case lastSpan:
			last = true
		}
		if span.ParentID != "" && !known[span.ParentID] {
			return false
		}
	}
	return first && last
}

func has(t tracequery.Trace, name string) bool {
	return slices.ContainsFunc(t.Spans, func(s tracequery.Span) bool { return s.Name == name })
}
