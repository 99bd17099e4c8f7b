// Package tracequery reads finished traces, from Jaeger or from the files the
// `file` batcher writes, into one small form, and draws them as a tree.
package tracequery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Errors a Reader's error may wrap.
var (
	// ErrNotFound says that no span of the trace is known, or not yet: spans are
	// exported some seconds after they ended, and only those that are sampled.
	ErrNotFound = errors.New("trace not found")
	// ErrTraceID says that a text is no trace id.
	ErrTraceID = errors.New("not a trace id (32 hexadecimal digits, not all zero)")
	// ErrTooLarge says that a trace has more spans, or more text, than its Reader
	// takes.
	ErrTooLarge = errors.New("trace too large")
)

// What a Reader takes of one trace, unless WithLimits says less.
const (
	MaxSpans = 20_000
	MaxBytes = 128 << 20 // of what the source has of the trace
)

// Option changes a Reader.
type Option func(*limits)

// WithLimits makes the Reader take no more than that many spans and bytes of a
// trace; one that is larger is ErrTooLarge.
func WithLimits(spans int, bytes int64) Option {
	return func(l *limits) { l.spans, l.bytes = spans, bytes }
}

type limits struct {
	spans int
	bytes int64
}

func newLimits(opts []Option) limits {
	l := limits{spans: MaxSpans, bytes: MaxBytes}
	for _, opt := range opts {
		opt(&l)
	}
	return l
}

// exceeded is the error for a trace beyond the limits.
func (l limits) exceeded(id string) error {
	return fmt.Errorf("%w: %s has more than %d spans or %d bytes", ErrTooLarge, id, l.spans, l.bytes)
}

// Reader reads a trace by its id of 32 hexadecimal digits. Its error wraps
// ErrNotFound, ErrTraceID or ErrTooLarge where one fits; another one names the
// source that could not be read. It is safe for concurrent use.
type Reader interface {
	Trace(ctx context.Context, traceID string) (Trace, error)
}

// Open makes a Reader of a source: the URL of Jaeger's query service, or a folder
// with files of spans.
func Open(source string, opts ...Option) (Reader, error) {
	switch {
	case source == "":
		return nil, errors.New("no source of traces given: the URL of Jaeger's query service, like http://localhost:16686, or a folder with files of spans")
	case strings.Contains(source, "://"):
		if _, err := parseJaegerURL(source); err != nil {
			return nil, err
		}
		return Jaeger(source, opts...), nil
	}
	return Files(source, opts...), nil
}

// Kinds of spans.
const (
	KindInternal = "INTERNAL"
	KindServer   = "SERVER"
	KindClient   = "CLIENT"
	KindProducer = "PRODUCER"
	KindConsumer = "CONSUMER"
)

// Attributes in which a span's status is told.
const (
	StatusCode        = "otel.status_code" // OK or ERROR; absent when unset
	StatusDescription = "otel.status_description"
)

// Trace is the spans of one trace as far as they are known, parents before their
// children, brothers and sisters by the time they started.
type Trace struct {
	TraceID string `json:"trace_id"`
	Spans   []Span `json:"spans"`
}

// Span is one operation of one service.
type Span struct {
	Service string `json:"service"`
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	SpanID  string `json:"span_id"`
	// ParentID is empty for the span a trace begins with. It names a span which is
	// not in the trace when that one was not exported, or is the caller's.
	ParentID string    `json:"parent_id"`
	Links    []Link    `json:"links"`
	Start    time.Time `json:"start"` // UTC; Jaeger keeps microseconds, files nanoseconds
	// DurationUS is in microseconds.
	DurationUS int64 `json:"duration_us"`
	// Attributes holds string, bool, int64 and float64 values. A list is a []any
	// when it comes from a file and its JSON text when it comes from Jaeger.
	Attributes map[string]any `json:"attributes"`
}

// Link points to another span, of this trace or another one.
type Link struct {
	TraceID string `json:"trace_id"`
	SpanID  string `json:"span_id"`
}

// Duration is how long the span took.
func (s Span) Duration() time.Duration { return time.Duration(s.DurationUS) * time.Microsecond }

// Failed says whether the span's status is an error.
func (s Span) Failed() bool { return s.Attributes[StatusCode] == "ERROR" }

// Services returns the names of the services in the trace, sorted.
func (t Trace) Services() []string {
	var names []string
	for _, span := range t.Spans {
		names = append(names, span.Service)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// ParseTraceID returns a trace id in lower case, or an error that wraps
// ErrTraceID.
func ParseTraceID(s string) (string, error) {
	id := strings.ToLower(strings.TrimSpace(s))
	if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" || strings.Trim(id, "0") == "" {
		return "", fmt.Errorf("%q is %w", s, ErrTraceID)
	}
	return id, nil
}

// newTrace brings spans into order. A span that was exported twice is kept once.
func newTrace(id string, spans []Span) Trace {
	seen := make(map[string]bool, len(spans))
	spans = slices.DeleteFunc(spans, func(s Span) bool {
		was := seen[s.SpanID]
		seen[s.SpanID] = true
		return was
	})
	ordered := make([]Span, 0, len(spans))
	for node := range newForest(spans).walk() {
		ordered = append(ordered, *node.span)
	}
	return Trace{TraceID: id, Spans: ordered}
}

// forest is the spans of a trace by their parents.
type forest struct {
	spans    []Span
	byID     map[string]*Span
	children map[string][]*Span
	roots    []*Span // without a parent, or with one that is not known
}

func newForest(spans []Span) *forest {
	f := &forest{spans: spans, byID: make(map[string]*Span, len(spans)), children: map[string][]*Span{}}
	for i := range spans {
		f.byID[spans[i].SpanID] = &spans[i]
	}
	for i := range spans {
		span := &spans[i]
		if span.ParentID != "" && f.byID[span.ParentID] != nil {
			f.children[span.ParentID] = append(f.children[span.ParentID], span)
		} else {
			f.roots = append(f.roots, span)
		}
	}
	for _, brood := range f.children {
		slices.SortStableFunc(brood, byStart)
	}
	slices.SortStableFunc(f.roots, byStart)
	return f
}

func byStart(a, b *Span) int {
	if c := a.Start.Compare(b.Start); c != 0 {
		return c
	}
	return cmp.Compare(a.SpanID, b.SpanID)
}

// node is a span's place in the tree.
type node struct {
	span  *Span
	last  bool // it is the last of its parent's children
	depth int
}

// walk yields every span once, parents first. What hangs on no root, because
// broken spans are each other's parents, comes last, from its earliest span on.
func (f *forest) walk() func(yield func(node) bool) {
	return func(yield func(node) bool) {
		seen := make(map[*Span]bool, len(f.spans))
		descend := func(root *Span) bool {
			stack := []node{{root, true, 0}}
			for len(stack) > 0 {
				next := stack[len(stack)-1]
				stack = stack[:len(stack)-1]
				if seen[next.span] {
					continue
				}
				seen[next.span] = true
				if !yield(next) {
					return false
				}
				brood := slices.DeleteFunc(slices.Clone(f.children[next.span.SpanID]), func(s *Span) bool { return seen[s] })
				for i := len(brood) - 1; i >= 0; i-- {
					stack = append(stack, node{brood[i], i == len(brood)-1, next.depth + 1})
				}
			}
			return true
		}
		for _, root := range f.roots {
			if !descend(root) {
				return
			}
		}
		if len(seen) == len(f.spans) {
			return
		}
		var rest []*Span
		for i := range f.spans {
			if !seen[&f.spans[i]] {
				rest = append(rest, &f.spans[i])
			}
		}
		slices.SortStableFunc(rest, byStart)
		for _, span := range rest {
			if !seen[span] && !descend(span) {
				return
			}
		}
	}
}
