// Package tracetest asserts in tests what a trace must look like, span by span,
// whatever it is read from.
package tracetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linktrail/linktrail/internal/tracequery"
)

// Values of Expect.Parent and Expect.LinkTo beside the name of a span.
const (
	// AnyParent leaves the parent open.
	AnyParent = "*"
	// NoLink wants a span without links; as LinkTo only.
	NoLink = "no link"
	// remote goes before an id: see Expect.
	remote = "remote:"
)

// Present as an attribute's value wants the attribute, whatever its value.
type Present struct{}

// Absent as an attribute's value wants a span without it.
type Absent struct{}

// Expect describes one span. Zero fields are not compared, save Parent.
type Expect struct {
	Service string
	Name    string
	Kind    string // as tracequery.KindServer
	// Parent is the name of the parent span, which must be in the trace; "" for a
	// span that begins the trace; "remote:SPAN_ID" for a parent which is not in the
	// trace; AnyParent.
	Parent string
	// ParentService is the service of the parent span in the trace, where the name
	// alone would fit two (the CLIENT and the SERVER span of one call).
	ParentService string
	// LinkTo is the name of a span of the trace to which one of the links must
	// point; "remote:TRACE_ID" or "remote:TRACE_ID/SPAN_ID" for one of another
	// trace; NoLink.
	LinkTo string
	// Attributes must be on the span with equal values; numbers are compared as
	// numbers. A value may be Present{}, Absent{} or a func(any) bool.
	Attributes map[string]any
	// Times is how many spans of the trace must fit; 0 means at least one.
	Times int
}

// PollInterval is how often Wait asks the reader.
const PollInterval = 100 * time.Millisecond

// Wait reads a trace until check returns nil and returns it then. After the
// deadline the test fails with check's last error and the tree it was about.
func Wait(t testing.TB, r tracequery.Reader, traceID string, deadline time.Duration, check func(tracequery.Trace) error) tracequery.Trace {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	tick := time.NewTicker(PollInterval)
	defer tick.Stop()

	var seen tracequery.Trace
	var last error
	for {
		trace, err := r.Trace(ctx, traceID)
		if err == nil {
			seen = trace
			if err = check(trace); err == nil {
				return trace
			}
		}
		if ctx.Err() == nil || last == nil {
			last = err // not that of a request the deadline cut off
		}
		if errors.Is(err, tracequery.ErrTraceID) {
			t.Fatalf("trace %s: %v", traceID, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("trace %s is not as wanted after %v: %v\n%s", traceID, deadline, last, Tree(seen))
		}
	}
}

// WaitFor is Wait for a table of spans.
func WaitFor(t testing.TB, r tracequery.Reader, traceID string, deadline time.Duration, want ...Expect) tracequery.Trace {
	t.Helper()
	return Wait(t, r, traceID, deadline, func(trace tracequery.Trace) error { return Check(trace, want...) })
}

// MustFind returns the first span of that service (any when empty) and name, and
// fails the test with the tree when there is none.
func MustFind(t testing.TB, trace tracequery.Trace, service, name string) tracequery.Span {
	t.Helper()
	spans := Find(trace, service, name)
	if len(spans) == 0 {
		t.Fatalf("no span %s in\n%s", title(service, name), Tree(trace))
	}
	return spans[0]
}

// Find returns the spans of that service and name; an empty one fits all.
func Find(trace tracequery.Trace, service, name string) []tracequery.Span {
	var found []tracequery.Span
	for _, span := range trace.Spans {
		if (service == "" || span.Service == service) && (name == "" || span.Name == name) {
			found = append(found, span)
		}
	}
	return found
}

// Check says what is missing from a trace or different in it.
func Check(trace tracequery.Trace, want ...Expect) error {
	var errs []error
	for _, expect := range want {
		errs = append(errs, expect.check(trace))
	}
	return errors.Join(errs...)
}

func (e Expect) check(trace tracequery.Trace) error {
	spans := Find(trace, e.Service, e.Name)
	if len(spans) == 0 {
		return fmt.Errorf("no span %s", title(e.Service, e.Name))
	}
	fitting := 0
	var nearest []string // what is different on the span with the fewest differences
	for _, span := range spans {
		differences := e.differences(trace, span)
		if len(differences) == 0 {
			fitting++
			continue
		}
		if nearest == nil || len(differences) < len(nearest) {
			nearest = differences
		}
	}
	switch {
	case fitting == 0:
		return fmt.Errorf("span %s: %s", title(e.Service, e.Name), strings.Join(nearest, "; "))
	case e.Times > 0 && fitting != e.Times:
		return fmt.Errorf("span %s: %d of them fit, want %d", title(e.Service, e.Name), fitting, e.Times)
	}
	return nil
}

func (e Expect) differences(trace tracequery.Trace, span tracequery.Span) (differences []string) {
	differ := func(format string, args ...any) { differences = append(differences, fmt.Sprintf(format, args...)) }
	if e.Kind != "" && span.Kind != e.Kind {
		differ("kind is %s, want %s", span.Kind, e.Kind)
	}
	if !e.parentFits(trace, span) {
		differ("parent is %s, want %s", describe(trace, span.ParentID), title(e.ParentService, e.Parent))
	}
	if !e.linkFits(trace, span) {
		differ("links are %s, want %q", describeLinks(trace, span.Links), e.LinkTo)
	}
	keys := make([]string, 0, len(e.Attributes))
	for key := range e.Attributes {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		got, ok := span.Attributes[key]
		if !valueFits(got, ok, e.Attributes[key]) {
			differ("%s is %s, want %s", key, shown(got, ok), wanted(e.Attributes[key]))
		}
	}
	return differences
}

func (e Expect) parentFits(trace tracequery.Trace, span tracequery.Span) bool {
	parent, known := byID(trace, span.ParentID)
	switch {
	case e.Parent == AnyParent:
		return true
	case e.Parent == "":
		return span.ParentID == ""
	case strings.HasPrefix(e.Parent, remote):
		return !known && span.ParentID == strings.TrimPrefix(e.Parent, remote)
	}
	return known && parent.Name == e.Parent && (e.ParentService == "" || parent.Service == e.ParentService)
}

func (e Expect) linkFits(trace tracequery.Trace, span tracequery.Span) bool {
	switch e.LinkTo {
	case "":
		return true
	case NoLink:
		return len(span.Links) == 0
	}
	return slices.ContainsFunc(span.Links, func(link tracequery.Link) bool {
		if id, ok := strings.CutPrefix(e.LinkTo, remote); ok {
			return id == link.TraceID || id == link.TraceID+"/"+link.SpanID
		}
		target, known := byID(trace, link.SpanID)
		return known && link.TraceID == trace.TraceID && target.Name == e.LinkTo
	})
}

func byID(trace tracequery.Trace, id string) (tracequery.Span, bool) {
	for _, span := range trace.Spans {
		if id != "" && span.SpanID == id {
			return span, true
		}
	}
	return tracequery.Span{}, false
}

func valueFits(got any, present bool, want any) bool {
	switch want := want.(type) {
	case Present:
		return present
	case Absent:
		return !present
	case func(any) bool:
		return present && want(got)
	}
	if !present {
		return false
	}
	if a, ok := number(got); ok {
		b, ok := number(want)
		return ok && a == b
	}
	return reflect.DeepEqual(got, want)
}

func number(value any) (float64, bool) {
	switch v := reflect.ValueOf(value); {
	case v.CanInt():
		return float64(v.Int()), true
	case v.CanUint():
		return float64(v.Uint()), true
	case v.CanFloat():
		return v.Float(), true
	}
	return 0, false
}

// Tree is the trace as a text to print.
func Tree(trace tracequery.Trace) string {
	if len(trace.Spans) == 0 {
		return "(no span seen)"
	}
	var b strings.Builder
	_ = tracequery.WriteTree(&b, trace) // a Builder takes everything
	for _, span := range trace.Spans {
		fmt.Fprintf(&b, "  %s %s: %v\n", span.SpanID, title(span.Service, span.Name), span.Attributes)
	}
	return b.String()
}

func title(service, name string) string {
	if service == "" {
		return fmt.Sprintf("%q", name)
	}
	return fmt.Sprintf("%q of %s", name, service)
}

func describe(trace tracequery.Trace, id string) string {
	if id == "" {
		return "none"
	}
	if span, ok := byID(trace, id); ok {
		return title(span.Service, span.Name)
	}
	return id + " (not in the trace)"
}

func describeLinks(trace tracequery.Trace, links []tracequery.Link) string {
	if len(links) == 0 {
		return "none"
	}
	texts := make([]string, 0, len(links))
	for _, link := range links {
		if link.TraceID == trace.TraceID {
			texts = append(texts, describe(trace, link.SpanID))
		} else {
			texts = append(texts, remote+link.TraceID+"/"+link.SpanID)
		}
	}
	return strings.Join(texts, ", ")
}

func shown(value any, present bool) string {
	if !present {
		return "absent"
	}
	return fmt.Sprintf("%#v", value)
}

func wanted(value any) string {
	switch value.(type) {
	case Present:
		return "it present"
	case Absent:
		return "it absent"
	case func(any) bool:
		return "one that passes its test"
	}
	return fmt.Sprintf("%#v", value)
}
