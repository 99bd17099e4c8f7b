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
		case err == nil && Whole(trace):
			return trace, nil
		case err == nil && len(trace.Spans) != len(last.Spans):
			last, since = trace, time.Now()
		case err != nil && !errors.Is(err, tracequery.ErrNotFound):
			return tracequery.Trace{}, err
		}
		settled := len(last.Spans) > 0 && !has(last, sendSpan) && time.Since(since) >= quiet
		if settled || !time.Now().Before(deadline) {
			if len(last.Spans) > 0 {
				return last, nil
			}
			return tracequery.Trace{}, err
		}
		select {
		case <-ctx.Done():
			return tracequery.Trace{}, ctx.Err()
		case <-time.After(poll):
		}
	}
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
