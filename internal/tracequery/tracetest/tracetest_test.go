package tracetest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/linktrail/linktrail/internal/tracequery"
	"github.com/linktrail/linktrail/internal/tracequery/tracetest"
)

const traceID = "0123456789abcdef0123456789abcdef"

func click() tracequery.Trace {
	return tracequery.Trace{TraceID: traceID, Spans: []tracequery.Span{
		{Service: "url-api", Name: "GET /{code}", Kind: "SERVER", SpanID: "1", ParentID: "ca12", Attributes: map[string]any{"http.response.status_code": int64(302)}},
		{
			Service: "url-api", Name: "send click-events", Kind: "PRODUCER", SpanID: "2", ParentID: "1",
			Links: []tracequery.Link{{TraceID: "ca11", SpanID: "ca12"}}, Attributes: map[string]any{"messaging.system": "kafka"},
		},
		{Service: "analytics-consumer", Name: "process click-events", Kind: "CONSUMER", SpanID: "3", ParentID: "2", Links: []tracequery.Link{{TraceID: traceID, SpanID: "2"}}},
		{Service: "analytics-consumer", Name: "INSERT clicks", Kind: "CLIENT", SpanID: "4", ParentID: "3"},
		{Service: "analytics-consumer", Name: "INSERT clicks", Kind: "CLIENT", SpanID: "5", ParentID: "3"},
	}}
}

func TestCheck(t *testing.T) {
	for name, want := range map[string]tracetest.Expect{
		"name":         {Name: "GET /{code}", Parent: tracetest.AnyParent},
		"remoteParent": {Name: "GET /{code}", Parent: "remote:ca12"},
		"number":       {Name: "GET /{code}", Parent: tracetest.AnyParent, Attributes: map[string]any{"http.response.status_code": 302}},
		"attributes": {Name: "send click-events", Parent: "GET /{code}", Attributes: map[string]any{
			"messaging.system": tracetest.Present{}, "error.type": tracetest.Absent{},
		}},
		"function": {Name: "send click-events", Parent: "GET /{code}", Attributes: map[string]any{
			"messaging.system": func(v any) bool { return v == "kafka" },
		}},
		"remoteLink":      {Name: "send click-events", Parent: "GET /{code}", LinkTo: "remote:ca11"},
		"remoteLinkExact": {Name: "send click-events", Parent: "GET /{code}", LinkTo: "remote:ca11/ca12"},
		"link":            {Service: "analytics-consumer", Name: "process click-events", Kind: "CONSUMER", Parent: "send click-events", LinkTo: "send click-events"},
		"parentService":   {Name: "process click-events", Parent: "send click-events", ParentService: "url-api"},
		"times":           {Name: "INSERT clicks", Parent: "process click-events", LinkTo: tracetest.NoLink, Times: 2},
	} {
		t.Run("OK/"+name, func(t *testing.T) {
			if err := tracetest.Check(click(), want); err != nil {
				t.Error(err)
			}
		})
	}
	for name, tc := range map[string]struct {
		expect tracetest.Expect
		want   string
	}{
		"Missing": {tracetest.Expect{Service: "x", Name: "y"}, `no span "y" of x`},
		"Service": {tracetest.Expect{Service: "url-api", Name: "INSERT clicks"}, `no span "INSERT clicks" of url-api`},
		"Kind":    {tracetest.Expect{Name: "GET /{code}", Kind: "CLIENT", Parent: "*"}, "kind is SERVER, want CLIENT"},
		"Root":    {tracetest.Expect{Name: "GET /{code}"}, `parent is ca12 (not in the trace), want ""`},
		"Parent":  {tracetest.Expect{Name: "INSERT clicks", Parent: "GET /{code}"}, `parent is "process click-events" of analytics-consumer, want "GET /{code}"`},
		"Remote":  {tracetest.Expect{Name: "send click-events", Parent: "remote:1"}, `parent is "GET /{code}" of url-api, want "remote:1"`},
		"ParentService": {
			tracetest.Expect{Name: "process click-events", Parent: "send click-events", ParentService: "analytics-consumer"},
			`parent is "send click-events" of url-api, want "send click-events" of analytics-consumer`,
		},
		"Link":        {tracetest.Expect{Name: "INSERT clicks", Parent: "*", LinkTo: "send click-events"}, `links are none, want "send click-events"`},
		"LinkOther":   {tracetest.Expect{Name: "send click-events", Parent: "*", LinkTo: "remote:ca11/0"}, `links are remote:ca11/ca12, want`},
		"NoLink":      {tracetest.Expect{Name: "process click-events", Parent: "*", LinkTo: tracetest.NoLink}, `links are "send click-events" of url-api, want "no link"`},
		"Attribute":   {tracetest.Expect{Name: "GET /{code}", Parent: "*", Attributes: map[string]any{"http.response.status_code": 404}}, "http.response.status_code is 302, want 404"},
		"Type":        {tracetest.Expect{Name: "GET /{code}", Parent: "*", Attributes: map[string]any{"http.response.status_code": "302"}}, `is 302, want "302"`},
		"NotPresent":  {tracetest.Expect{Name: "GET /{code}", Parent: "*", Attributes: map[string]any{"x": tracetest.Present{}}}, "x is absent, want it present"},
		"NotAbsent":   {tracetest.Expect{Name: "send click-events", Parent: "*", Attributes: map[string]any{"messaging.system": tracetest.Absent{}}}, `messaging.system is "kafka", want it absent`},
		"TooMany":     {tracetest.Expect{Name: "INSERT clicks", Parent: "*", Times: 1}, "2 of them fit, want 1"},
		"SeveralDiff": {tracetest.Expect{Name: "INSERT clicks", Parent: "", Kind: "SERVER"}, `kind is CLIENT, want SERVER; parent is`},
	} {
		t.Run("Err"+name, func(t *testing.T) {
			if err := tracetest.Check(click(), tc.expect); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}

// growing shows one more span each time it is asked.
type growing struct{ asked int }

func (g *growing) Trace(context.Context, string) (tracequery.Trace, error) {
	g.asked++
	trace := click()
	switch g.asked {
	case 1:
		return tracequery.Trace{}, tracequery.ErrNotFound
	case 2:
		return tracequery.Trace{}, errors.New("busy")
	}
	trace.Spans = trace.Spans[:min(g.asked-2, len(trace.Spans))]
	return trace, nil
}

// recorder is a test that is watched while it fails.
type recorder struct {
	testing.TB
	failure string
}

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failure = fmt.Sprintf(format, args...)
	panic(r)
}

func TestWait(t *testing.T) {
	t.Run("OK", func(t *testing.T) {
		got := tracetest.WaitFor(t, &growing{}, traceID, 10*time.Second, tracetest.Expect{Name: "process click-events", Parent: "send click-events"})
		if len(got.Spans) != 3 {
			t.Errorf("%d spans, want it to return with the third", len(got.Spans))
		}
	})
	t.Run("ErrDeadline", func(t *testing.T) {
		watched := &recorder{TB: t}
		func() {
			defer func() {
				if p := recover(); p != nil && p != any(watched) {
					panic(p)
				}
			}()
			tracetest.WaitFor(watched, &growing{}, traceID, 400*time.Millisecond, tracetest.Expect{Name: "DELETE clicks"})
		}()
		if !strings.Contains(watched.failure, `no span "DELETE clicks"`) || !strings.Contains(watched.failure, "GET /{code}") {
			t.Errorf("got %q, want what is missing and the tree", watched.failure)
		}
	})
}

func TestMustFind(t *testing.T) {
	if span := tracetest.MustFind(t, click(), "", "INSERT clicks"); span.SpanID != "4" {
		t.Errorf("got %s, want the first", span.SpanID)
	}
}
