package door_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/zeromicro/go-zero/core/logx"
	"github.com/zeromicro/go-zero/core/logx/logtest"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/linktrail/linktrail/apps/url-api/internal/door"
	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/linkcache"
)

// proxied makes the test's own address a trusted proxy's, and 10.0.0.0/8; strangers makes it nobody's.
func proxied(_ *door.Config, d *door.Deps, _ *linkcache.Config) {
	d.TrustedProxies = []string{"127.0.0.1", "10.0.0.0/8", "2001:db8:aaaa::/48"}
	d.CountryHeader = "X-Country"
	d.Countries = countries{}
}

func strangers(_ *door.Config, d *door.Deps, _ *linkcache.Config) {
	d.TrustedProxies = []string{"192.0.2.0/24"}
	d.CountryHeader = "X-Country"
	d.Countries = countries{}
}

func attributes(s sdktrace.ReadOnlySpan) map[string]any {
	m := make(map[string]any)
	for _, a := range s.Attributes() {
		m[string(a.Key)] = a.Value.AsInterface()
	}
	return m
}

func TestSpan(t *testing.T) {
	h := open(t, proxied)
	common := map[string]any{
		"url.scheme": "https", "network.protocol.version": "1.1", "server.address": "s.example", "server.port": int64(8443),
		"client.address": "203.0.113.0", "user_agent.original": "Mozilla/5.0 (a\ufffdb)",
	}
	for _, tt := range []struct {
		method, path, name string
		want               map[string]any
	}{
		{"GET", "/found?secret=1", "GET /{code}", map[string]any{"http.request.method": "GET", "http.route": "/{code}", "url.path": "/found", "linktrail.link.code": "found", "http.response.status_code": int64(302)}},
		{"HEAD", "/found", "HEAD /{code}", map[string]any{"http.request.method": "HEAD", "http.route": "/{code}", "url.path": "/found", "linktrail.link.code": "found", "http.response.status_code": int64(302)}},
		{"GET", "/unknown", "GET /{code}", map[string]any{"http.request.method": "GET", "http.route": "/{code}", "url.path": "/unknown", "linktrail.link.code": "unknown", "http.response.status_code": int64(404)}},
		{"GET", "/a/b", "GET", map[string]any{"http.request.method": "GET", "url.path": "/a/b", "http.response.status_code": int64(404)}},
		{"GET", "/", "GET /", map[string]any{"http.request.method": "GET", "http.route": "/", "url.path": "/", "http.response.status_code": int64(200)}},
		{"DELETE", "/found", "DELETE", map[string]any{"http.request.method": "DELETE", "url.path": "/found", "http.response.status_code": int64(405)}},
	} {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			answers := h.raw(tt.method + " " + tt.path + " HTTP/1.1\r\nHost: s.example:8443\r\nX-Forwarded-Proto: https\r\n" +
				"X-Forwarded-For: 203.0.113.77\r\nUser-Agent: Mozilla/5.0 (a\x80b)\r\nConnection: close\r\n\r\n")
			s := h.span(answers[0])
			for k, v := range common {
				tt.want[k] = v
			}
			if diff := cmp.Diff(tt.want, attributes(s)); diff != "" {
				t.Errorf("attributes (-want +got):\n%s", diff)
			}
			if s.Name() != tt.name || s.SpanKind() != trace.SpanKindServer || s.Status().Code.String() != "Unset" {
				t.Errorf("span %q, %v, status %v", s.Name(), s.SpanKind(), s.Status())
			}
		})
	}
	t.Run("Err what is no request", func(t *testing.T) {
		answers := h.raw("hello\r\n\r\n")
		s := h.span(answers[0])
		if a := attributes(s); s.Name() != "HTTP" || a["http.request.method"] != "_OTHER" || a["http.response.status_code"] != int64(400) {
			t.Errorf("span %q %v", s.Name(), a)
		}
	})
	t.Run("Err a fault has its type", func(t *testing.T) {
		h.store.set(func(s *store) { s.away = true })
		if a := attributes(h.span(h.ask("GET", "/moved"))); a["error.type"] != "503" {
			t.Errorf("error.type is %v", a["error.type"])
		}
	})
}

func TestParent(t *testing.T) {
	const (
		traceID = "0af7651916cd43dd8448eb211c80319c"
		spanID  = "b7ad6b7169203331"
		sampled = "00-" + traceID + "-" + spanID + "-01"
		not     = "00-" + traceID + "-" + spanID + "-00"
	)
	for name, tt := range map[string]struct {
		change  func(*door.Config, *door.Deps, *linkcache.Config)
		headers []string
		parent  bool
		link    bool
		sampled bool
	}{
		"OK a trusted proxy's is the parent":              {proxied, []string{"traceparent", sampled, "tracestate", "a=1,b=2"}, true, false, true},
		"OK loopback is trusted by default":               {nil, []string{"traceparent", sampled}, true, false, true},
		"OK a trusted proxy decides what is sampled":      {proxied, []string{"traceparent", not}, true, false, false},
		"OK a stranger's is linked to":                    {strangers, []string{"traceparent", sampled, "tracestate", "a=1,b=2"}, false, true, true},
		"OK a stranger does not decide what is sampled":   {strangers, []string{"traceparent", not}, false, true, true},
		"OK an address in a header does not make a proxy": {strangers, []string{"traceparent", sampled, "X-Forwarded-For", "192.0.2.1"}, false, true, true},
		"OK none":                {proxied, nil, false, false, true},
		"OK a broken one":        {proxied, []string{"traceparent", "00-zz-" + spanID + "-01"}, false, false, true},
		"OK zeros":               {proxied, []string{"traceparent", "00-00000000000000000000000000000000-" + spanID + "-01"}, false, false, true},
		"OK two of them":         {proxied, []string{"traceparent", sampled, "traceparent", not}, false, false, true},
		"OK baggage is not read": {proxied, []string{"baggage", "user=1"}, false, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t, tt.change)
			a := h.ask("GET", "/found", tt.headers...)
			parts := strings.Split(a.Header.Get("Traceparent"), "-")
			if got := parts[1] == traceID; got != tt.parent {
				t.Errorf("traceparent %v, in the caller's trace: %v, want %v", parts, got, tt.parent)
			}
			if got := parts[3][1]&1 == 1; got != tt.sampled {
				t.Fatalf("traceparent %v, sampled: %v, want %v", parts, got, tt.sampled)
			}
			if !tt.sampled {
				if n := len(h.spans.Ended()); n != 0 {
					t.Errorf("%d spans", n)
				}
				if c := h.clicks.all()[0]; c.Sampled || c.TraceID.String() != traceID {
					t.Errorf("click: sampled %v, trace %v", c.Sampled, c.TraceID)
				}
				return
			}
			s := h.span(a)
			if got := s.Parent().SpanID().String() == spanID; got != tt.parent {
				t.Errorf("parent %v", s.Parent())
			}
			if tt.parent && len(tt.headers) > 2 && s.SpanContext().TraceState().String() != "a=1,b=2" {
				t.Errorf("tracestate %q", s.SpanContext().TraceState())
			}
			if got := len(s.Links()) == 1 && s.Links()[0].SpanContext.SpanID().String() == spanID; got != tt.link {
				t.Errorf("links %v", s.Links())
			}
		})
	}
}

func TestStrangersSampledFlag(t *testing.T) {
	// With a sampler that begins no trace, a stranger's sampled flag begins none either; a proxy's does.
	never := func(base func(*door.Config, *door.Deps, *linkcache.Config)) func(*door.Config, *door.Deps, *linkcache.Config) {
		return func(c *door.Config, d *door.Deps, l *linkcache.Config) {
			base(c, d, l)
			d.Tracers = sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample())))
		}
	}
	const sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for name, tt := range map[string]struct {
		base func(*door.Config, *door.Deps, *linkcache.Config)
		want bool
	}{"a stranger": {strangers, false}, "a trusted proxy": {proxied, true}} {
		h := open(t, never(tt.base))
		a := h.ask("GET", "/found", "traceparent", sampled)
		if got := strings.HasSuffix(a.Header.Get("Traceparent"), "1"); got != tt.want {
			t.Errorf("%s: traceparent %s", name, a.Header.Get("Traceparent"))
		}
		if c := h.clicks.all()[0]; c.Sampled != tt.want || !c.TraceID.IsValid() {
			t.Errorf("%s: click %+v", name, c)
		}
	}
}

func TestWithoutTracing(t *testing.T) {
	h := open(t, func(_ *door.Config, d *door.Deps, _ *linkcache.Config) { d.Tracers = noop.NewTracerProvider() })
	seen := make(map[string]bool)
	for range 3 {
		parent := h.ask("GET", "/found").Header.Get("Traceparent")
		clicks := h.clicks.all()
		last := clicks[len(clicks)-1]
		if want := fmt.Sprintf("00-%s-%s-00", last.TraceID, last.SpanID); parent != want || seen[parent] || !last.TraceID.IsValid() {
			t.Errorf("traceparent %s, want %s and none twice", parent, want)
		}
		seen[parent] = true
	}
}

func TestClick(t *testing.T) {
	t.Run("OK what it holds", func(t *testing.T) {
		h := open(t, proxied)
		a := h.ask("GET", "/found", "Referer", "https://user:pw@news.example/story?session=1#top", "User-Agent", "Mozilla/5.0",
			"Accept-Language", "de-CH,de;q=0.9", "X-Forwarded-For", "203.0.113.77")
		s := h.span(a).SpanContext()
		want := []click.Click{{
			LinkID: testLinks()["found"].ID, Code: "found", Time: start, Referrer: "https://news.example/story",
			UserAgent: "Mozilla/5.0", Language: "de-CH", Client: netip.MustParsePrefix("203.0.113.0/24"), Country: "CH",
			TraceID: s.TraceID(), SpanID: s.SpanID(), Sampled: true,
		}}
		got := h.clicks.all()
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(click.Click{}, "ID"), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Fatalf("clicks (-want +got):\n%s", diff)
		}
		if id := got[0].ID; id.Version() != 7 || click.TimeOf(id).UnixMilli() != start.UnixMilli() {
			t.Errorf("id %s", id)
		}
		if decoded, err := click.Decode(got[0].AppendJSON(nil)); err != nil || decoded.ID != got[0].ID {
			t.Errorf("on the wire: %v", err)
		}
		ctx := h.clicks.ctxs[0]
		if ctx.Err() != nil || trace.SpanContextFromContext(ctx).SpanID() != s.SpanID() {
			t.Errorf("context: %v, span %v", ctx.Err(), trace.SpanContextFromContext(ctx).SpanID())
		}
	})

	t.Run("OK HEAD and prefetches redirect and are none", func(t *testing.T) {
		h := open(t, nil)
		for _, header := range [][2]string{
			{"Sec-Purpose", "prefetch"}, {"Sec-Purpose", "prefetch;prerender"}, {"Sec-Purpose", "prefetch;anonymous-client-ip"},
			{"Purpose", "prefetch"}, {"purpose", "Prefetch"}, {"X-Moz", "prefetch"}, {"X-Purpose", "preview"},
		} {
			for _, code := range []string{"found", "moved"} {
				a := h.ask("GET", "/"+code, header[0], header[1])
				if a.Header.Get("Location") == "" || a.Header.Get("Cache-Control") != "private, max-age=0" {
					t.Errorf("%v: %d %v", header, a.StatusCode, a.Header)
				}
			}
		}
		h.ask("HEAD", "/found")
		if n := len(h.clicks.all()); n != 0 {
			t.Errorf("%d clicks", n)
		}
		h.ask("GET", "/found", "Sec-Purpose", "navigate", "Purpose", "")
		if n := len(h.clicks.all()); n != 1 {
			t.Errorf("%d clicks, want 1", n)
		}
	})

	t.Run("OK each redirect is one and is counted", func(t *testing.T) {
		h := open(t, nil)
		for range 10 {
			h.ask("GET", "/found")
		}
		h.ask("GET", "/unknown")
		if n := len(h.clicks.all()); n != 10 || h.metric("linktrail_redirects_total", "302") != 10 || h.metric("linktrail_redirects_total", "404") != 1 {
			t.Errorf("%d clicks", n)
		}
		if n := h.metric("linktrail_redirects_in_flight", ""); n != 0 {
			t.Errorf("%v in flight", n)
		}
	})
}

func TestClientAddress(t *testing.T) {
	for name, tt := range map[string]struct {
		change  func(*door.Config, *door.Deps, *linkcache.Config)
		headers []string
		network string
		country string
	}{
		"OK the peer":                        {proxied, nil, "127.0.0.0/24", ""},
		"OK a trusted proxy's word":          {proxied, []string{"X-Forwarded-For", "203.0.113.77"}, "203.0.113.0/24", "CH"},
		"OK with a port":                     {proxied, []string{"X-Forwarded-For", "203.0.113.77:4711"}, "203.0.113.0/24", "CH"},
		"OK IPv6":                            {proxied, []string{"X-Forwarded-For", "2001:db8:1:2::3"}, "2001:db8:1::/48", ""},
		"OK IPv6 in brackets with a port":    {proxied, []string{"X-Forwarded-For", "[2001:db8:1:2::3]:80"}, "2001:db8:1::/48", ""},
		"OK IPv4 in IPv6":                    {proxied, []string{"X-Forwarded-For", "::ffff:203.0.113.77"}, "203.0.113.0/24", "CH"},
		"OK the rightmost that is no proxy":  {proxied, []string{"X-Forwarded-For", "198.51.100.1, 203.0.113.77, 10.1.2.3"}, "203.0.113.0/24", "CH"},
		"OK over several lines":              {proxied, []string{"X-Forwarded-For", "198.51.100.1", "X-Forwarded-For", "203.0.113.77", "X-Forwarded-For", "10.1.2.3, 10.3.2.1"}, "203.0.113.0/24", "CH"},
		"OK all of them proxies":             {proxied, []string{"X-Forwarded-For", "10.9.9.9, 10.1.2.3"}, "10.9.9.0/24", ""},
		"OK garbage ends it":                 {proxied, []string{"X-Forwarded-For", "203.0.113.77, garbage, 10.1.2.3"}, "10.1.2.0/24", ""},
		"OK empty":                           {proxied, []string{"X-Forwarded-For", ""}, "127.0.0.0/24", ""},
		"OK Forwarded":                       {proxied, []string{"Forwarded", `for=198.51.100.1, For="203.0.113.77:80";proto=https;by=10.0.0.1`}, "203.0.113.0/24", "CH"},
		"OK Forwarded with IPv6":             {proxied, []string{"Forwarded", `for="[2001:db8:1:2::3]:80"`}, "2001:db8:1::/48", ""},
		"OK Forwarded that hides it":         {proxied, []string{"Forwarded", `for=_hidden`}, "127.0.0.0/24", ""},
		"OK X-Forwarded-For goes before":     {proxied, []string{"Forwarded", "for=198.51.100.1", "X-Forwarded-For", "203.0.113.77"}, "203.0.113.0/24", "CH"},
		"OK X-Real-IP":                       {proxied, []string{"X-Real-IP", "203.0.113.77"}, "203.0.113.0/24", "CH"},
		"OK a stranger's word is not taken":  {strangers, []string{"X-Forwarded-For", "203.0.113.77", "X-Real-IP", "203.0.113.77", "Forwarded", "for=203.0.113.77", "X-Country", "FR"}, "127.0.0.0/24", ""},
		"OK the proxy's country goes before": {proxied, []string{"X-Forwarded-For", "203.0.113.77", "X-Country", "fr"}, "203.0.113.0/24", "FR"},
		"OK the proxy does not know":         {proxied, []string{"X-Forwarded-For", "203.0.113.77", "X-Country", "XX"}, "203.0.113.0/24", "CH"},
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t, tt.change)
			h.ask("GET", "/found", tt.headers...)
			c := h.clicks.all()[0]
			if c.Client.String() != tt.network || c.Country != tt.country {
				t.Errorf("%s %q, want %s %q", c.Client, c.Country, tt.network, tt.country)
			}
		})
	}
}

// TestBuffers asks over many connections at once, each of which uses fasthttp's buffers again and again: nothing of one
// request may show up in another's click or span.
func TestBuffers(t *testing.T) {
	const callers, requests = 16, 50
	h := open(t, proxied)
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			var text strings.Builder
			for n := range requests {
				mark := strings.Repeat(string(rune('a'+i)), 5+n)
				_, _ = fmt.Fprintf(&text, "GET /found HTTP/1.1\r\nHost: %s.example\r\nUser-Agent: agent-%s\r\nReferer: https://%s.example/%s\r\n"+
					"Accept-Language: %s\r\nX-Forwarded-For: 198.51.%d.1\r\n\r\n", mark, mark, mark, mark, mark, i)
			}
			for _, a := range h.raw(text.String()) {
				if a.StatusCode != http.StatusFound || a.Header.Get("Location") != "https://example.org/found" {
					t.Errorf("%d %v", a.StatusCode, a.Header)
				}
			}
		})
	}
	all.Wait()
	clicks := h.clicks.all()
	if len(clicks) != callers*requests {
		t.Fatalf("%d clicks, want %d", len(clicks), callers*requests)
	}
	spans := make(map[trace.SpanID]map[string]any)
	for _, s := range h.spans.Ended() {
		spans[s.SpanContext().SpanID()] = attributes(s)
	}
	for _, c := range clicks {
		mark := strings.TrimPrefix(c.UserAgent, "agent-")
		network := fmt.Sprintf("198.51.%d.0/24", mark[0]-'a')
		language := mark[:min(len(mark), click.MaxLanguage)]
		want := []string{strings.Repeat(mark[:1], len(mark)), "https://" + mark + ".example/" + mark, language, network, "found"}
		if diff := cmp.Diff(want, []string{mark, c.Referrer, c.Language, c.Client.String(), c.Code}); diff != "" {
			t.Fatalf("click (-want +got):\n%s", diff)
		}
		s := spans[c.SpanID]
		wantSpan := []any{"agent-" + mark, mark + ".example", "found", "/found"}
		if diff := cmp.Diff(wantSpan, []any{s["user_agent.original"], s["server.address"], s["linktrail.link.code"], s["url.path"]}); diff != "" {
			t.Fatalf("span (-want +got):\n%s", diff)
		}
	}
}

func TestAccessLog(t *testing.T) {
	lines := logtest.NewCollector(t)
	quiet := open(t, proxied)
	quiet.ask("GET", "/found")
	if s := lines.String(); strings.Contains(s, "access") {
		t.Errorf("a line by default: %s", s)
	}
	h := open(t, func(c *door.Config, d *door.Deps, l *linkcache.Config) { proxied(c, d, l); c.AccessLog = true })
	s := h.span(h.ask("GET", "/found?secret=1", "X-Forwarded-For", "203.0.113.77", "User-Agent", "a \"quoted\" agent"))
	got := lines.String()
	for _, want := range []string{
		`"content":"access"`, `"status":302`, `"path":"/found"`, `"route":"/{code}"`, `"client":"203.0.113.0/24"`,
		`"trace":"` + s.SpanContext().TraceID().String() + `"`, `"span":"` + s.SpanContext().SpanID().String() + `"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
	if strings.Contains(got, "203.0.113.77") || strings.Contains(got, "secret") {
		t.Errorf("too much in %s", got)
	}
	logx.Reset()
}
