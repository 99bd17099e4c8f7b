package door_test

import (
	"net/http"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/apps/url-api/internal/door"
	"github.com/linktrail/linktrail/internal/linkcache"
)

// TestForeignContext is about trace context as callers may write it, on a door that samples nothing by itself: what an
// untrusted caller writes must not have its request sampled, whatever it is.
func TestForeignContext(t *testing.T) {
	const (
		traceID = "0af7651916cd43dd8448eb211c80319c"
		spanID  = "b7ad6b7169203331"
		parent  = "traceparent: 00-" + traceID + "-" + spanID + "-01\r\n"
	)
	members := func(n int) string {
		list := make([]string, n)
		for i := range list {
			list[i] = "k" + strings.Repeat("a", i) + "=1"
		}
		return strings.Join(list, ",")
	}
	for name, tt := range map[string]struct {
		headers string
		valid   bool   // a trusted caller's is followed
		state   string // tracestate that is passed on then
	}{
		"OK":                                 {parent, true, ""},
		"OK in capitals":                     {strings.ToUpper(parent[:11]) + parent[11:], true, ""},
		"OK tracestate":                      {parent + "tracestate: a=1\r\ntracestate: b=2\r\n", true, "a=1,b=2"},
		"OK a later version":                 {"traceparent: 01-" + traceID + "-" + spanID + "-01-more\r\n", true, ""},
		"OK baggage":                         {parent + "baggage: sampled=1,linktrail=x\r\n", true, ""},
		"OK other vendors' headers":          {"X-B3-TraceId: " + traceID + "\r\nX-B3-SpanId: " + spanID + "\r\nX-B3-Sampled: 1\r\nuber-trace-id: " + traceID + ":" + spanID + ":0:3\r\n", false, ""},
		"Err tracestate of too many members": {parent + "tracestate: " + members(33) + "\r\n", true, ""},
		"Err tracestate of 8 KiB":            {parent + "tracestate: a=" + strings.Repeat("b", 8<<10) + "\r\n", true, ""},
		"Err tracestate that is none":        {parent + "tracestate: ==,;\x80\r\n", true, ""},
		"Err tracestate alone":               {"tracestate: a=1\r\n", false, ""},
		"Err two":                            {parent + parent, false, ""},
		"Err two, the second in capitals":    {parent + strings.ToUpper(parent[:11]) + ": 00-" + traceID + "-" + spanID + "-00\r\n", false, ""},
		"Err two in one":                     {parent[:len(parent)-2] + ", 00-" + traceID + "-" + spanID + "-00\r\n", false, ""},
		"Err an empty one":                   {"traceparent:\r\n", false, ""},
		"Err an empty one and a good one":    {"traceparent:\r\n" + parent, false, ""},
		"Err capitals within":                {"traceparent: 00-" + strings.ToUpper(traceID) + "-" + spanID + "-01\r\n", false, ""},
		"Err version ff":                     {"traceparent: ff-" + traceID + "-" + spanID + "-01\r\n", false, ""},
		"Err more than version 00 has":       {"traceparent: 00-" + traceID + "-" + spanID + "-01-more\r\n", false, ""},
		"Err a span of zeros":                {"traceparent: 00-" + traceID + "-0000000000000000-01\r\n", false, ""},
		"Err a trace of zeros":               {"traceparent: 00-" + strings.Repeat("0", 32) + "-" + spanID + "-01\r\n", false, ""},
		"Err a short trace":                  {"traceparent: 00-" + traceID[2:] + "-" + spanID + "-01\r\n", false, ""},
		"Err no flags":                       {"traceparent: 00-" + traceID + "-" + spanID + "\r\n", false, ""},
		"Err 15 KiB":                         {"traceparent: 00-" + strings.Repeat("a", 15<<10) + "\r\n", false, ""},
	} {
		for who, list := range map[string][]string{"trusted": {"127.0.0.0/8"}, "not trusted": {"192.0.2.0/24"}} {
			t.Run(name+", "+who, func(t *testing.T) {
				var provider *sdktrace.TracerProvider
				h := open(t, func(_ *door.Config, d *door.Deps, _ *linkcache.Config) {
					d.TrustedProxies = list
					provider = sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample())))
					d.Tracers = provider
				})
				answers := h.raw("GET /found HTTP/1.1\r\nHost: s\r\nForwarded: for=127.0.0.1\r\nX-Forwarded-For: 127.0.0.1\r\n" + tt.headers + "\r\n")
				if len(answers) != 1 || answers[0].StatusCode != http.StatusFound {
					t.Fatalf("%v", answers)
				}
				got := answers[0].Header.Get("Traceparent")
				follows := who == "trusted" && tt.valid
				if strings.Contains(got, traceID) != follows || strings.HasSuffix(got, "-01") != follows || strings.Contains(got, spanID) {
					t.Errorf("the answer's traceparent is %s", got)
				}
				clicks := h.clicks.all()
				if len(clicks) != 1 || clicks[0].Sampled != follows || !strings.Contains(got, clicks[0].TraceID.String()) {
					t.Fatalf("clicks %+v", clicks)
				}
				sc := trace.SpanContextFromContext(h.clicks.ctxs[0])
				want := ""
				if follows {
					want = tt.state
				}
				if sc.TraceState().String() != want {
					t.Errorf("tracestate is %q, want %q", sc.TraceState(), want)
				}
			})
		}
	}
}
