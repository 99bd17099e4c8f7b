package urlapi_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/tracequery"
	"github.com/linktrail/linktrail/internal/tracequery/tracetest"
)

const chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"

type count struct {
	Value  string `json:"value"`
	Clicks int64  `json:"clicks"`
}

type shownStats struct {
	Clicks   int64  `json:"clicks"`
	Bots     int64  `json:"bots"`
	From     string `json:"from"`
	To       string `json:"to"`
	Interval string `json:"interval"`
	TZ       string `json:"tz"`
	Series   []struct {
		Start  string `json:"start"`
		Clicks int64  `json:"clicks"`
	} `json:"series"`
	Referrers []count `json:"referrers"`
	Countries []count `json:"countries"`
	Browsers  []count `json:"browsers"`
	OS        []count `json:"os"`
	Devices   []count `json:"devices"`
}

type clickPage struct {
	Clicks []struct {
		ID       string  `json:"id"`
		Time     string  `json:"time"`
		TraceID  string  `json:"trace_id"`
		SpanID   string  `json:"span_id"`
		Sampled  bool    `json:"sampled"`
		TraceURL *string `json:"trace_url"`
		Country  string  `json:"country"`
		Browser  string  `json:"browser"`
		Bot      bool    `json:"bot"`
	} `json:"clicks"`
	Next *string `json:"next"`
}

// mustClick stores clicks of a link at the given times; the last is a bot's, and the first was not sampled.
func (s *server) mustClick(t *testing.T, code string, times ...time.Time) {
	t.Helper()
	l, err := s.store.LinkByCode(context.Background(), code)
	if err != nil {
		t.Fatal(err)
	}
	var batch []click.Click
	for i, at := range times {
		id := uuid.Must(uuid.NewV7())
		for b := range 6 { // the id's time is the click's
			id[b] = byte(at.UnixMilli() >> (8 * (5 - b)))
		}
		c := click.Click{ID: id, LinkID: l.ID, Code: code, Time: at.UTC().Truncate(time.Microsecond), UserAgent: chrome,
			Country: "DE", TraceID: trace.TraceID{15: byte(i + 1)}, SpanID: trace.SpanID{7: byte(i + 1)}, Sampled: i > 0}
		if i == len(times)-1 {
			c.UserAgent = "Googlebot/2.1 (+http://www.google.com/bot.html)"
		}
		click.Classify(&c)
		batch = append(batch, c)
	}
	if _, err := s.store.WriteClicks(context.Background(), batch); err != nil {
		t.Fatal(err)
	}
}

func TestStatistics(t *testing.T) {
	s := mustServe(t, "")
	s.mustCall(t, http.StatusCreated, http.MethodPost, "/api/v1/links", `{"url":"http://a.example","slug":"counted"}`)
	now := time.Now()
	s.mustClick(t, "counted", now, now, now, now)
	day := time.Date(2026, 3, 4, 22, 30, 0, 0, time.UTC)
	s.mustClick(t, "counted", day, day.Add(time.Hour), day.Add(48*time.Hour), day.Add(48*time.Hour))

	t.Run("OKDefaults", func(t *testing.T) {
		var got shownStats
		s.mustCall(t, http.StatusOK, http.MethodGet, "/api/v1/links/counted/stats", "").decode(t, &got)
		if got.Clicks != 3 || got.Bots != 1 || got.Interval != "hour" || got.TZ != "UTC" {
			t.Errorf("stats = %+v", got)
		}
		want := fmt.Sprint([]count{{"DE", 3}}, []count{{"Chrome", 3}}, []count{{"Linux", 3}}, []count{{"desktop", 3}}, []count{{"direct", 3}})
		if have := fmt.Sprint(got.Countries, got.Browsers, got.OS, got.Devices, got.Referrers); have != want {
			t.Errorf("breakdowns = %s, want %s", have, want)
		}
	})
	t.Run("OKDaysOfAZone", func(t *testing.T) {
		var got shownStats
		s.mustCall(t, http.StatusOK, http.MethodGet,
			"/api/v1/links/counted/stats?from=2026-03-04&to=2026-03-08&interval=day&tz=Europe/Berlin", "").decode(t, &got)
		var series []string
		for _, step := range got.Series {
			series = append(series, fmt.Sprint(step.Start, " ", step.Clicks))
		}
		// 22:30 UTC is 23:30 in Berlin, an hour later the next day.
		want := "2026-03-04T00:00:00+01:00 1,2026-03-05T00:00:00+01:00 1,2026-03-06T00:00:00+01:00 1,2026-03-07T00:00:00+01:00 0"
		if have := strings.Join(series, ","); have != want {
			t.Errorf("series = %s, want %s", have, want)
		}
		if got.From != "2026-03-04T00:00:00+01:00" || got.To != "2026-03-08T00:00:00+01:00" || got.Bots != 1 {
			t.Errorf("stats = %+v", got)
		}
	})
	t.Run("OKNoClicks", func(t *testing.T) {
		s.mustCall(t, http.StatusCreated, http.MethodPost, "/api/v1/links", `{"url":"http://a.example","slug":"not-clicked"}`)
		a := s.mustCall(t, http.StatusOK, http.MethodGet, "/api/v1/links/not-clicked/stats", "")
		if !strings.Contains(string(a.body), `"referrers":[]`) {
			t.Errorf("body = %s", a.body)
		}
	})
	t.Run("OKLatestClicks", func(t *testing.T) { testLatest(t, s) })
	t.Run("OneTrace", func(t *testing.T) { testStatsTrace(t, s) })
	t.Run("ErrAnalyticsAway", func(t *testing.T) {
		s.stopAnalytics(t)
		a := s.call(t, http.MethodGet, "/api/v1/links/counted/stats", "")
		p := checkProblem(t, a, http.StatusServiceUnavailable, "")
		if a.header.Get("Retry-After") == "" || strings.Contains(p.Detail, "127.0.0.1") || !strings.Contains(p.Detail, "statistics") {
			t.Errorf("problem = %+v, Retry-After = %q", p, a.header.Get("Retry-After"))
		}
		s.mustCall(t, http.StatusOK, http.MethodGet, "/api/v1/links/counted", "")
	})
}

func testLatest(t *testing.T, s *server) {
	var ids, before []string
	next := ""
	for range 4 {
		var page clickPage
		s.mustCall(t, http.StatusOK, http.MethodGet, "/api/v1/links/counted/clicks?limit=3"+next, "").decode(t, &page)
		for _, c := range page.Clicks {
			if len(before) > 0 && c.Time > before[len(before)-1] {
				t.Errorf("%s comes after %s", c.Time, before[len(before)-1])
			}
			before = append(before, c.Time)
			ids = append(ids, c.ID)
			want := "http://jaeger.example/trace/" + c.TraceID
			switch unsampled := c.TraceID == "00000000000000000000000000000001"; {
			case unsampled == c.Sampled:
				t.Errorf("sampled of trace %s = %v", c.TraceID, c.Sampled)
			case unsampled && c.TraceURL != nil:
				t.Errorf("trace_url of a click that was not sampled = %q", *c.TraceURL)
			case !unsampled && (c.TraceURL == nil || *c.TraceURL != want):
				t.Errorf("trace_url = %v, want %q", c.TraceURL, want)
			}
		}
		if page.Next == nil {
			break
		}
		next = "&cursor=" + *page.Next
	}
	if len(ids) != 8 {
		t.Errorf("%d clicks on all pages, want 8", len(ids))
	}
}

// testStatsTrace follows one request through both services.
func testStatsTrace(t *testing.T, s *server) {
	const caller, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	a := s.mustCall(t, http.StatusOK, http.MethodGet, "/api/v1/links/counted/stats", "", "Traceparent: 00-"+caller+"-"+parent+"-01")
	if got := a.header.Get("Traceparent"); !strings.HasPrefix(got, "00-"+caller+"-") {
		t.Errorf("traceparent = %q, want the trace of the trusted caller", got)
	}
	const route, rpc = "/api/v1/links/:code/stats", "linktrail.analytics.v1.Analytics/ClickStats"
	spans := tracetest.Wait(t, tracequery.Files(s.spans), caller, 20*time.Second, func(got tracequery.Trace) error {
		return tracetest.Check(got,
			tracetest.Expect{Service: "url-api", Name: route, Kind: tracequery.KindServer, Parent: "remote:" + parent, Times: 1},
			tracetest.Expect{Service: "url-api", Name: rpc, Kind: tracequery.KindClient, Parent: route, Times: 1},
			tracetest.Expect{Service: "analytics-rpc", Name: rpc, Kind: tracequery.KindServer, Parent: rpc, Times: 1},
			tracetest.Expect{Service: "analytics-rpc", Name: "SELECT click_rollups", Kind: tracequery.KindClient, Parent: rpc},
		)
	})
	client := only(t, spans, "url-api", rpc)
	answered := only(t, spans, "analytics-rpc", rpc)
	if answered.ParentID != client.SpanID {
		t.Errorf("analytics-rpc's span has the parent %s, want the client span %s\n%s", answered.ParentID, client.SpanID, tracetest.Tree(spans))
	}
	if read := only(t, spans, "analytics-rpc", "SELECT click_rollups"); read.ParentID != answered.SpanID {
		t.Errorf("the SELECT has the parent %s, want %s\n%s", read.ParentID, answered.SpanID, tracetest.Tree(spans))
	}
	t.Log("\n" + tracetest.Tree(spans))
}

func only(t *testing.T, spans tracequery.Trace, service, name string) tracequery.Span {
	t.Helper()
	return tracetest.MustFind(t, spans, service, name)
}

// TestStrangers serves callers who are not trusted.
func TestStrangers(t *testing.T) {
	s := mustServe(t, "TrustedProxies: [192.0.2.0/24]\n")
	const theirs = "4bf92f3577b34da6a3ce929d0e0e4736"
	for _, path := range []string{"/api/v1/links", "/nothing"} {
		a := s.call(t, http.MethodGet, path, "", "Traceparent: 00-"+theirs+"-00f067aa0ba902b7-01", "Tracestate: a=b", "Baggage: a=b")
		got := a.header.Get("Traceparent")
		if got == "" || strings.Contains(got, theirs) {
			t.Errorf("%s: traceparent = %q, want a trace of our own", path, got)
		}
	}
}

// TestUnknownAddresses asks for many: the names of spans do not grow with them.
func TestUnknownAddresses(t *testing.T) {
	s := mustServe(t, "")
	a := s.call(t, http.MethodGet, "/wp-login.php", "")
	p := checkProblem(t, a, http.StatusNotFound, "")
	tracetest.WaitFor(t, tracequery.Files(s.spans), p.TraceID, 20*time.Second,
		tracetest.Expect{Service: "url-api", Name: "not found", Kind: tracequery.KindServer, Parent: "", Times: 1})
}
