package tracequery_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/linktrail/linktrail/internal/tracequery"
)

const traceID = "0123456789abcdef0123456789abcdef"

// span is a span that starts ms after a fixed time.
func span(id, parent, service, name, kind string, ms int, took time.Duration, attributes map[string]any, links ...tracequery.Link) tracequery.Span {
	return tracequery.Span{
		Service: service, Name: name, Kind: kind, SpanID: id, ParentID: parent, Links: links,
		Start: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(time.Duration(ms) * time.Millisecond), DurationUS: took.Microseconds(), Attributes: attributes,
	}
}

func MustTree(t *testing.T, trace tracequery.Trace, opts ...tracequery.TreeOption) string {
	t.Helper()
	var b strings.Builder
	if err := tracequery.WriteTree(&b, trace, opts...); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestWriteTree(t *testing.T) {
	click := tracequery.Trace{TraceID: traceID, Spans: []tracequery.Span{
		span("1", "", "url-api", "GET /{code}", "SERVER", 0, 812*time.Microsecond,
			map[string]any{"http.response.status_code": 302, "url.path": "/aB3", "zzz": "not shown"}, tracequery.Link{TraceID: "ca11", SpanID: "ca12"}),
		span("2", "1", "url-api", "send click-events", "PRODUCER", 1, 4*time.Millisecond, map[string]any{"messaging.system": "kafka"}),
		span("3", "2", "analytics-consumer", "process click-events", "CONSUMER", 6, 9*time.Millisecond, nil, tracequery.Link{TraceID: traceID, SpanID: "2"}),
		span("4", "3", "analytics-consumer", "INSERT clicks", "CLIENT", 7, 1500*time.Millisecond,
			map[string]any{"db.operation.batch.size": int64(20), tracequery.StatusCode: "ERROR", tracequery.StatusDescription: "connection refused"}),
		span("5", "1", "url-api", "GET cache", "CLIENT", 2, 0, nil, tracequery.Link{TraceID: traceID, SpanID: "4"}, tracequery.Link{TraceID: traceID, SpanID: "9"}),
	}}
	want := `
trace 0123456789abcdef0123456789abcdef  5 spans  1.51s  analytics-consumer, url-api
GET /{code}                 url-api             SERVER        812µs  http.response.status_code=302 url.path=/aB3 link→trace ca11
├─ send click-events        url-api             PRODUCER     4.00ms  messaging.system=kafka
│  └─ process click-events  analytics-consumer  CONSUMER     9.00ms  link→parent
│     └─ INSERT clicks      analytics-consumer  CLIENT        1.50s  ERROR: "connection refused"  db.operation.batch.size=20
└─ GET cache                url-api             CLIENT          0µs  link→INSERT clicks link→span 9
`
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), MustTree(t, click)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	colored := MustTree(t, click, tracequery.WithColor())
	for _, wanted := range []string{"\x1b[31m│  ", "\x1b[2mmessaging.system=kafka\x1b[0m"} {
		if !strings.Contains(colored, wanted) {
			t.Errorf("no %q in %q", wanted, colored)
		}
	}
}

func TestWriteTreeOddTraces(t *testing.T) {
	deep := make([]tracequery.Span, 5000)
	for i := range deep {
		deep[i] = span(fmt.Sprint(i+1), fmt.Sprint(i), "s", "n", "INTERNAL", i, 0, nil)
	}
	for name, tc := range map[string]struct {
		spans []tracequery.Span
		want  []string
		lines int
	}{
		"empty":          {nil, []string{"0 spans"}, 1},
		"missing parent": {[]tracequery.Span{span("2", "1", "s", "orphan", "SERVER", 0, 0, nil)}, []string{"\norphan", "(parent 1 is not in the trace)"}, 2},
		"its own parent": {[]tracequery.Span{span("1", "1", "s", "self", "SERVER", 0, 0, nil)}, []string{"\nself", "(its parents form a circle)"}, 2},
		"a circle beside a root": {[]tracequery.Span{
			span("2", "3", "s", "b", "SERVER", 1, 0, nil), span("3", "2", "s", "c", "SERVER", 2, 0, nil), span("1", "", "s", "a", "SERVER", 3, 0, nil),
		}, []string{"\na ", "\nb ", "\n└─ c"}, 4},
		"two roots": {[]tracequery.Span{span("1", "", "s", "late", "SERVER", 5, 0, nil), span("2", "", "s", "early", "SERVER", 0, 0, nil)}, []string{"\nearly", "\nlate"}, 3},
		"very deep": {deep, []string{"5000 spans"}, 5001},
		"terminal codes": {[]tracequery.Span{
			span("1", "", "s\x1b[31m", "name\n\x07", "SERVER", 0, 0, map[string]any{"url.path": "/\x1b]0;x\x07", "error.type": strings.Repeat("long ", 100)}),
		}, []string{`"name\n\a"`, `"s\x1b[31m"`, `"/\x1b]0;x\a"`, "…"}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			tree := MustTree(t, tracequery.Trace{TraceID: traceID, Spans: tc.spans})
			for _, want := range tc.want {
				if !strings.Contains(tree, want) {
					t.Errorf("no %q in\n%.2000s", want, tree)
				}
			}
			if lines := strings.Count(tree, "\n"); lines != tc.lines {
				t.Errorf("%d lines, want %d", lines, tc.lines)
			}
			if strings.ContainsAny(tree, "\x1b\x07") || len(tree) > 2<<20 {
				t.Errorf("the tree has terminal codes or %d bytes", len(tree))
			}
		})
	}
}
