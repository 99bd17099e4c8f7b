package door_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/linktrail/linktrail/apps/url-api/internal/door"
	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/linkcache"
)

// store is a store of links in memory that can be held up, and be away.
type store struct {
	mu    sync.Mutex
	links map[string]link.Link
	away  bool
	gate  chan struct{}
	reads atomic.Int64
}

func (s *store) LinkByCode(ctx context.Context, code string) (link.Link, error) {
	s.reads.Add(1)
	s.mu.Lock()
	l, ok := s.links[code]
	away, gate := s.away, s.gate
	s.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return link.Link{}, ctx.Err()
		}
	}
	switch {
	case away:
		return link.Link{}, errors.New("dial tcp 10.9.8.7:5432: connection refused")
	case !ok:
		return link.Link{}, link.NotFound(code)
	}
	return l, nil
}

func (s *store) set(change func(*store)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// publisher keeps the clicks that it is given, with the span in their context.
type publisher struct {
	mu     sync.Mutex
	clicks []click.Click
	ctxs   []context.Context
	fault  bool
}

func (p *publisher) Publish(ctx context.Context, c click.Click) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fault {
		panic("a fault of the publisher")
	}
	p.clicks, p.ctxs = append(p.clicks, c), append(p.ctxs, ctx)
}

func (p *publisher) Close(context.Context) error { return nil }

func (p *publisher) all() []click.Click {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]click.Click(nil), p.clicks...)
}

// house is a door that serves on a real socket, and all that it works with.
type house struct {
	t        *testing.T
	door     *door.Door
	addr     string
	store    *store
	clicks   *publisher
	spans    *tracetest.SpanRecorder
	registry *prometheus.Registry
	now      atomic.Int64
	client   *http.Client
}

// start is when the tests' clock stands still.
var start = time.Date(2026, 7, 1, 12, 0, 0, 123456000, time.UTC)

func testLinks() map[string]link.Link {
	links := make(map[string]link.Link)
	add := func(code string, status int, change func(*link.Link)) {
		l := link.Link{ID: int64(len(links) + 1), Code: code, URL: "https://example.org/" + code, RedirectStatus: status}
		if change != nil {
			change(&l)
		}
		links[code] = l
	}
	add("found", 302, nil)
	add("moved", 301, nil)
	add("keep307", 307, nil)
	add("keep308", 308, nil)
	add("soon", 301, func(l *link.Link) { l.ExpiresAt = start.Add(10 * time.Second) })
	add("expired", 302, func(l *link.Link) { l.ExpiresAt = start })
	add("disabled", 302, func(l *link.Link) { l.Disabled = true })
	add("unicode", 302, func(l *link.Link) { l.URL = "https://xn--bcher-kva.example/%C3%BC?q=a%20b&r=%22#frag" })
	add("injected", 302, func(l *link.Link) { l.URL = "https://example.org/\r\nSet-Cookie: a=b" })
	return links
}

// open starts a door; change alters its configuration before.
func open(t *testing.T, change func(*door.Config, *door.Deps, *linkcache.Config)) *house {
	t.Helper()
	h := &house{
		t:        t,
		store:    &store{links: testLinks()},
		clicks:   new(publisher),
		spans:    tracetest.NewSpanRecorder(),
		registry: prometheus.NewRegistry(),
	}
	h.now.Store(start.UnixNano())
	now := func() time.Time { return time.Unix(0, h.now.Load()) }
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(h.spans))
	cfg := door.Config{}
	deps := door.Deps{Clicks: h.clicks, Registry: h.registry, Tracers: provider, Now: now}
	cache := linkcache.Config{}
	if change != nil {
		change(&cfg, &deps, &cache)
	}
	links := linkcache.New(cache, h.store, nil, linkcache.WithClock(now))
	deps.Links = links
	var err error
	if h.door, err = door.New(cfg, deps); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.addr = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- h.door.Serve(ln) }()
	h.client = &http.Client{
		Transport:     &http.Transport{DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       20 * time.Second,
	}
	t.Cleanup(func() {
		h.client.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := h.door.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		links.Close()
	})
	return h
}

// answer is a response with its body read.
type answer struct {
	*http.Response
	body string
}

// ask sends a request; headers are name, value, name, value.
func (h *house) ask(method, path string, headers ...string) answer {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), method, "http://"+h.addr+path, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	res, err := h.client.Do(req)
	if err != nil {
		h.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{Response: res, body: string(body)}
}

// raw sends bytes on a connection of its own and returns the connection's answers.
func (h *house) raw(text string) []answer {
	h.t.Helper()
	conn, err := net.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		h.t.Logf("write: %v", err) // the door may have closed already
	}
	_ = conn.(*net.TCPConn).CloseWrite()
	in := bufio.NewReader(conn)
	var answers []answer
	for {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			return answers
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			h.t.Fatal(err)
		}
		answers = append(answers, answer{Response: res, body: string(body)})
	}
}

// span returns the span that a response names.
func (h *house) span(a answer) sdktrace.ReadOnlySpan {
	h.t.Helper()
	parts := strings.Split(a.Header.Get("Traceparent"), "-")
	if len(parts) != 4 {
		h.t.Fatalf("traceparent is %q", a.Header.Get("Traceparent"))
	}
	for _, s := range h.spans.Ended() {
		if s.SpanContext().SpanID().String() == parts[2] && s.SpanContext().TraceID().String() == parts[1] {
			return s
		}
	}
	h.t.Fatalf("no span %s", parts[2])
	return nil
}

// metric returns the value of a counter or gauge; status "" is the one without labels.
func (h *house) metric(name, status string) float64 {
	h.t.Helper()
	families, err := h.registry.Gather()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() != name || status != "" && m.GetLabel()[0].GetValue() != status {
				continue
			}
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	h.t.Fatalf("no metric %s %s", name, status)
	return 0
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(15 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within 15 s: %s", what)
		}
	}
}

func TestRedirect(t *testing.T) {
	for _, tt := range []struct {
		code     string
		status   int
		location string
		cache    string
	}{
		{"found", 302, "https://example.org/found", "private, max-age=0"},
		{"moved", 301, "https://example.org/moved", "private, max-age=30"},
		{"keep307", 307, "https://example.org/keep307", "private, max-age=0"},
		{"keep308", 308, "https://example.org/keep308", "private, max-age=30"},
		{"soon", 301, "https://example.org/soon", "private, max-age=10"},
		{"unicode", 302, "https://xn--bcher-kva.example/%C3%BC?q=a%20b&r=%22#frag", "private, max-age=0"},
		{"found?utm=1&x=%zz", 302, "https://example.org/found", "private, max-age=0"},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			t.Run(method+" "+tt.code, func(t *testing.T) {
				h := open(t, nil)
				for _, from := range []string{"the store", "the process"} {
					a := h.ask(method, "/"+tt.code)
					got := []any{a.StatusCode, a.Header.Get("Location"), a.Header.Get("Cache-Control"), a.Header.Get("X-Robots-Tag"), a.body}
					if diff := cmp.Diff([]any{tt.status, tt.location, tt.cache, "noindex", ""}, got); diff != "" {
						t.Errorf("from %s (-want +got):\n%s", from, diff)
					}
					if a.Header.Get("Date") == "" || a.Header.Values("Server") != nil || a.Header.Values("Content-Type") != nil {
						t.Errorf("headers %v", a.Header)
					}
					h.span(a)
				}
				if n := h.store.reads.Load(); n != 1 {
					t.Errorf("the store was asked %d times, want 1", n)
				}
			})
		}
	}

	t.Run("OK a target cannot end the header", func(t *testing.T) {
		a := open(t, nil).ask("GET", "/injected")
		if a.Header.Values("Set-Cookie") != nil || a.StatusCode != 302 {
			t.Errorf("%d %v", a.StatusCode, a.Header)
		}
	})
}

const (
	browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	client  = "application/json"
)

func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		path   string
		status int
		detail string
		page   string
	}{
		{"/unknown", 404, `no link has the code "unknown".`, "Link not found"},
		{"/disabled", 404, `no link has the code "disabled".`, "Link not found"},
		{"/expired", 410, "This link has expired.", "Link expired"},
		{"/a/path", 404, "There is nothing at this address.", "Link not found"},
	} {
		t.Run(tt.path, func(t *testing.T) {
			h := open(t, nil)
			a := h.ask("GET", tt.path, "Accept", client)
			traceID := h.span(a).SpanContext().TraceID().String()
			want := `{"type":"about:blank","title":"` + http.StatusText(tt.status) + `","status":` + a.Status[:3] +
				`,"detail":"` + strings.ReplaceAll(tt.detail, `"`, `\"`) + `","trace_id":"` + traceID + `"}` + "\n"
			if a.StatusCode != tt.status || a.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%d %s", a.StatusCode, a.Header.Get("Content-Type"))
			}
			if diff := cmp.Diff(want, a.body); diff != "" {
				t.Errorf("problem (-want +got):\n%s", diff)
			}
			page := h.ask("GET", tt.path, "Accept", browser)
			if page.StatusCode != tt.status || page.Header.Get("Content-Type") != "text/html; charset=utf-8" ||
				!strings.Contains(page.body, tt.page) || strings.Contains(page.body, tt.path) {
				t.Errorf("%d %s\n%s", page.StatusCode, page.Header.Get("Content-Type"), page.body)
			}
			if csp := page.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
				t.Errorf("Content-Security-Policy: %s", csp)
			}
			for _, a := range []answer{a, page} {
				got := []string{a.Header.Get("Cache-Control"), a.Header.Get("Vary"), a.Header.Get("X-Robots-Tag"), a.Header.Get("X-Content-Type-Options")}
				if diff := cmp.Diff([]string{"no-store", "Accept", "noindex", "nosniff"}, got); diff != "" {
					t.Errorf("headers (-want +got):\n%s", diff)
				}
			}
			head := h.ask("HEAD", tt.path, "Accept", client)
			if head.StatusCode != tt.status || head.body != "" || head.ContentLength <= 0 {
				t.Errorf("HEAD: %d, %d bytes, Content-Length %d", head.StatusCode, len(head.body), head.ContentLength)
			}
			if n := len(h.clicks.all()); n != 0 {
				t.Errorf("%d clicks", n)
			}
		})
	}

	t.Run("Err the store is away", func(t *testing.T) {
		h := open(t, nil)
		h.ask("GET", "/found")
		h.store.set(func(s *store) { s.away = true })
		a := h.ask("GET", "/moved")
		if a.StatusCode != 503 || a.Header.Get("Retry-After") != "1" || strings.Contains(a.body, "10.9.8.7") {
			t.Errorf("%d, Retry-After %q: %s", a.StatusCode, a.Header.Get("Retry-After"), a.body)
		}
		if got := h.span(a).Status().Code.String(); got != "Error" {
			t.Errorf("the span's status is %s", got)
		}
		h.now.Add(int64(time.Minute))
		if a := h.ask("GET", "/found"); a.StatusCode != 302 {
			t.Errorf("a link that is cached: %d", a.StatusCode)
		}
	})

	t.Run("Err other methods", func(t *testing.T) {
		h := open(t, nil)
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"} {
			a := h.ask(method, "/found")
			if a.StatusCode != 405 || a.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s: %d, Allow %q", method, a.StatusCode, a.Header.Get("Allow"))
			}
			want := method
			if method == "BREW" {
				want = "HTTP"
			}
			if name := h.span(a).Name(); name != want {
				t.Errorf("%s: span %q, want %q", method, name, want)
			}
		}
		if n := h.store.reads.Load(); n != 0 || len(h.clicks.all()) != 0 {
			t.Errorf("%d look-ups, %d clicks", n, len(h.clicks.all()))
		}
	})

	t.Run("Err a fault of ours", func(t *testing.T) {
		h := open(t, nil)
		h.clicks.fault = true
		a := h.ask("GET", "/found")
		if a.StatusCode != 500 || a.Header.Get("Location") != "" || strings.Contains(a.body, "publisher") {
			t.Errorf("%d %v %s", a.StatusCode, a.Header, a.body)
		}
		if n := h.metric("linktrail_redirect_panics_total", ""); n != 1 {
			t.Errorf("linktrail_redirect_panics_total is %v", n)
		}
		if a := h.ask("HEAD", "/found"); a.StatusCode != 302 {
			t.Errorf("after it: %d", a.StatusCode)
		}
	})

	t.Run("Err too many wait", func(t *testing.T) {
		h := open(t, func(c *door.Config, _ *door.Deps, cache *linkcache.Config) {
			c.MaxLookups, cache.StoreTimeout = 1, time.Minute
		})
		h.ask("GET", "/found")
		gate := make(chan struct{})
		h.store.set(func(s *store) { s.gate = gate })
		waiting := make(chan answer, 1)
		go func() { waiting <- h.ask("GET", "/moved") }()
		eventually(t, "one waits", func() bool { return h.store.reads.Load() == 2 })
		a := h.ask("GET", "/keep307")
		if a.StatusCode != 503 || a.Header.Get("Retry-After") != "1" || h.metric("linktrail_redirects_shed_total", "") != 1 {
			t.Errorf("%d, Retry-After %q", a.StatusCode, a.Header.Get("Retry-After"))
		}
		if a := h.ask("GET", "/found"); a.StatusCode != 302 {
			t.Errorf("a link that is known: %d", a.StatusCode)
		}
		close(gate)
		if a := <-waiting; a.StatusCode != 301 {
			t.Errorf("who waited: %d", a.StatusCode)
		}
	})
}

func TestNegotiation(t *testing.T) {
	h := open(t, nil)
	for accept, html := range map[string]bool{
		"":                                  false,
		"*/*":                               false,
		browser:                             true,
		"text/html":                         true,
		"TEXT/HTML;q=0.5":                   true,
		"text/html;q=0":                     false,
		"application/json":                  false,
		"application/json, text/html":       true,
		"application/json, text/html;q=0.9": false,
		"application/problem+json;q=0.5, text/html;q=0.6": true,
		"text/html;q=junk": false,
		"text/*":           false,
	} {
		a := h.ask("GET", "/unknown", "Accept", accept)
		if got := strings.HasPrefix(a.Header.Get("Content-Type"), "text/html"); got != html {
			t.Errorf("Accept %q: %s", accept, a.Header.Get("Content-Type"))
		}
	}
}

func TestFixedPages(t *testing.T) {
	h := open(t, nil)
	if a := h.ask("GET", "/"); a.StatusCode != 200 || !strings.Contains(a.body, "short links") ||
		!strings.HasPrefix(a.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("/: %d %v %s", a.StatusCode, a.Header, a.body)
	}
	if a := h.ask("GET", "/robots.txt"); a.StatusCode != 200 || a.body != "User-agent: *\nDisallow: /\n" ||
		a.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("/robots.txt: %d %v %s", a.StatusCode, a.Header, a.body)
	}
	if a := h.ask("GET", "/favicon.ico"); a.StatusCode != 204 || a.body != "" {
		t.Errorf("/favicon.ico: %d %s", a.StatusCode, a.body)
	}
	if n := h.store.reads.Load(); n != 0 || len(h.clicks.all()) != 0 {
		t.Errorf("%d look-ups, %d clicks", n, len(h.clicks.all()))
	}
	home := open(t, func(c *door.Config, _ *door.Deps, _ *linkcache.Config) { c.HomeURL = "https://example.org/about" })
	if a := home.ask("GET", "/"); a.StatusCode != 302 || a.Header.Get("Location") != "https://example.org/about" {
		t.Errorf("/ with HomeURL: %d %v", a.StatusCode, a.Header)
	}
}

func TestPathsThatAreNoCodes(t *testing.T) {
	h := open(t, nil)
	for _, path := range []string{
		"/found/", "//found", "/found/x", "/x/../found", "/./found", "/%66ound", "/found%2F", "/found%00", "/fo", "/" + strings.Repeat("a", 65),
		"/found.", "/fo+und", "/fo~und", "/f%C3%BCnf", "/.well-known/security.txt", "/index.html", "/%", "/found;v=1", "*",
	} {
		answers := h.raw("GET " + path + " HTTP/1.1\r\nHost: s.example\r\nConnection: close\r\n\r\n")
		if len(answers) != 1 || answers[0].StatusCode != 404 && answers[0].StatusCode != 400 {
			t.Errorf("%s: %v", path, answers)
			continue
		}
		if name := h.span(answers[0]).Name(); name != "GET" && name != "HTTP" {
			t.Errorf("%s: span %q", path, name)
		}
	}
	if n := h.store.reads.Load(); n != 0 {
		t.Errorf("%d look-ups", n)
	}
}

func TestNewRefuses(t *testing.T) {
	for key, change := range map[string]func(*door.Config, *door.Deps){
		"Door.HomeURL":   func(c *door.Config, _ *door.Deps) { c.HomeURL = "javascript:alert(1)" },
		"Door.TLS":       func(c *door.Config, _ *door.Deps) { c.TLS.CertFile = "cert.pem" },
		"TrustedProxies": func(_ *door.Config, d *door.Deps) { d.TrustedProxies = []string{"10.0.0.0/8", "proxy.local"} },
	} {
		var cfg door.Config
		var deps door.Deps
		change(&cfg, &deps)
		if _, err := door.New(cfg, deps); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("error = %v, want one that names %s", err, key)
		}
	}
}

// countries knows one network.
type countries struct{}

func (countries) Country(addr netip.Addr) string {
	if addr == netip.MustParseAddr("203.0.113.77") {
		return "CH"
	}
	return ""
}
