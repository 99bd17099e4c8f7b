package traces_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/linktrail/linktrail/apps/linktrail/internal/traces"
	"github.com/linktrail/linktrail/internal/tracequery"
)

// source answers the first of its traces first, and the last from then on; nil is not found.
type source struct {
	answers [][]tracequery.Span
	err     error
	asked   int
}

func (s *source) Trace(_ context.Context, id string) (tracequery.Trace, error) {
	if s.err != nil {
		return tracequery.Trace{}, s.err
	}
	spans := s.answers[min(s.asked, len(s.answers)-1)]
	s.asked++
	if spans == nil {
		return tracequery.Trace{}, tracequery.ErrNotFound
	}
	return tracequery.Trace{TraceID: id, Spans: spans}, nil
}

func TestAwait(t *testing.T) {
	id := strings.Repeat("a", 32)
	door := tracequery.Span{Name: "GET /{code}", SpanID: "1", ParentID: "the caller's"}
	send := tracequery.Span{Name: "send click-events", SpanID: "2", ParentID: "1"}
	process := tracequery.Span{Name: "process click-events", SpanID: "3", ParentID: "2"}
	insert := tracequery.Span{Name: "INSERT clicks", SpanID: "4", ParentID: "3"}
	whole := []tracequery.Span{door, send, process, insert}
	set := tracequery.Span{Name: "set", SpanID: "5", ParentID: "1", Start: time.Now()}

	t.Run("OK spans come one after the other", func(t *testing.T) {
		s := &source{answers: [][]tracequery.Span{nil, {process, insert}, {door, process, insert}, whole}}
		trace, err := traces.Await(t.Context(), s, id, time.Minute)
		if err != nil || len(trace.Spans) != 4 || s.asked != 4 { // these ended long ago: nothing more will come
			t.Errorf("%d spans after %d questions: %v", len(trace.Spans), s.asked, err)
		}
	})
	t.Run("OK spans beside the click's way follow", func(t *testing.T) {
		whole[0].Start = time.Now()
		s := &source{answers: [][]tracequery.Span{whole, append(whole, set)}}
		trace, err := traces.Await(t.Context(), s, id, time.Minute)
		if err != nil || len(trace.Spans) != 5 {
			t.Errorf("%d spans: %v", len(trace.Spans), err)
		}
	})
	t.Run("OK a trace that is no click's is done when nothing more comes", func(t *testing.T) {
		s := &source{answers: [][]tracequery.Span{{{Name: "GET /api/v1/links", SpanID: "1", Start: time.Now()}}}}
		trace, err := traces.Await(t.Context(), s, id, time.Hour)
		if err != nil || len(trace.Spans) != 1 {
			t.Errorf("%d spans: %v", len(trace.Spans), err)
		}
	})
	t.Run("OK what there is when the time is over", func(t *testing.T) {
		trace, err := traces.Await(t.Context(), &source{answers: [][]tracequery.Span{{door, send}}}, id, 0)
		if err != nil || len(trace.Spans) != 2 {
			t.Errorf("%d spans: %v", len(trace.Spans), err)
		}
	})
	t.Run("ErrNotFound", func(t *testing.T) {
		if _, err := traces.Await(t.Context(), &source{answers: [][]tracequery.Span{nil}}, id, 0); !errors.Is(err, tracequery.ErrNotFound) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("ErrSource", func(t *testing.T) {
		away := errors.New("away")
		if _, err := traces.Await(t.Context(), &source{err: away}, id, time.Hour); !errors.Is(err, away) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("ErrContext", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := traces.Await(ctx, &source{answers: [][]tracequery.Span{nil}}, id, time.Hour); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}
