package door

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/valyala/fasthttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/linkcache"
)

// last keeps the click it was given last.
type last struct{ click *click.Click }

func (l *last) Publish(_ context.Context, c click.Click) { l.click = &c }
func (l *last) Close(context.Context) error              { return nil }

// FuzzRequest answers whatever fasthttp takes for a request. Whatever it is, the door has no fault, a click exists
// exactly when a GET was redirected that was no prefetch, the click can be read on the other side, and what the span
// tells is clean.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		"GET /abcdefg HTTP/1.1\r\nHost: s.example\r\nUser-Agent: a\xff\x00b\r\nReferer: https://u:p@h/?q#f\r\n\r\n",
		"HEAD /abcdefg?x=y HTTP/1.1\r\nHost: [2001:db8::1]:80\r\nAccept-Language: de;q=0.5, en\r\n\r\n",
		"GET http://h/%61bcdefg HTTP/1.0\r\nX-Forwarded-For: 1.2.3.4, [::1]:3, x\r\nForwarded: for=\"[::1]\", for=_x\r\n\r\n",
		"GET /abcdefg HTTP/1.1\r\nHost: s:99999\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=1\r\n\r\n",
		"GET /abcdefg HTTP/1.1\r\nHost: s\r\nSec-Purpose: prefetch\r\nAccept: text/html;q=1.5, */*\r\nX-Country: C\xc3\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	links := linkcache.New(linkcache.Config{}, oneLink{}, nil)
	f.Cleanup(links.Close)
	f.Fuzz(func(t *testing.T, raw []byte) {
		spans, clicks := tracetest.NewSpanRecorder(), new(last)
		d, err := New(Config{}, Deps{
			Links: links, Clicks: clicks, CountryHeader: "X-Country",
			Tracers: sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.AlwaysSample()), sdktrace.WithSpanProcessor(spans)),
		})
		if err != nil {
			t.Fatal(err)
		}
		var req fasthttp.Request
		if err := req.ReadLimitBody(bufio.NewReaderSize(bytes.NewReader(raw), 16<<10), maxBody); err != nil {
			return
		}
		var rc fasthttp.RequestCtx
		rc.Init(&req, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4711}, silent{})
		d.serve(&rc)

		status, h := rc.Response.StatusCode(), &rc.Response.Header
		switch status {
		case http.StatusOK, http.StatusNoContent, http.StatusFound, http.StatusNotFound, http.StatusMethodNotAllowed:
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusRequestHeaderFieldsTooLarge, http.StatusHTTPVersionNotSupported: // refused
		default:
			t.Errorf("status %d", status)
		}
		if len(h.Peek("traceparent")) != 55 {
			t.Errorf("traceparent %q", h.Peek("traceparent"))
		}
		prefetch := (&request{rc: &rc}).prefetch()
		want := status == http.StatusFound && string(rc.Method()) == http.MethodGet && !prefetch
		if got := clicks.click != nil; got != want {
			t.Errorf("%s answered %d, prefetch %v: a click is %v", rc.Method(), status, prefetch, got)
		}
		if c := clicks.click; c != nil {
			if _, err := click.Decode(c.AppendJSON(nil)); err != nil {
				t.Errorf("the click cannot be read: %v", err)
			}
		}
		ended := spans.Ended()
		if len(ended) != 1 {
			t.Fatalf("%d spans", len(ended))
		}
		for _, a := range ended[0].Attributes() {
			if s := a.Value.String(); !utf8.ValidString(s) || strings.ContainsAny(s, "\r\n\x00") {
				t.Errorf("span attribute %s is %q", a.Key, s)
			}
		}
	})
}
