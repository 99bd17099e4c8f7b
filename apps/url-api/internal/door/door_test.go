package door_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/linktrail/linktrail/apps/url-api/internal/door"
	"github.com/linktrail/linktrail/internal/linkcache"
)

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
		if a.Header.Values("Set-Cookie") != nil || a.StatusCode != http.StatusFound {
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
		if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") != "1" || strings.Contains(a.body, "10.9.8.7") {
			t.Errorf("%d, Retry-After %q: %s", a.StatusCode, a.Header.Get("Retry-After"), a.body)
		}
		if got := h.span(a).Status().Code.String(); got != "Error" {
			t.Errorf("the span's status is %s", got)
		}
		h.now.Add(int64(time.Minute))
		if a := h.ask("GET", "/found"); a.StatusCode != http.StatusFound {
			t.Errorf("a link that is cached: %d", a.StatusCode)
		}
	})

	t.Run("Err other methods", func(t *testing.T) {
		h := open(t, nil)
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"} {
			a := h.ask(method, "/found")
			if a.StatusCode != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "GET, HEAD" {
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
		if a.StatusCode != http.StatusInternalServerError || a.Header.Get("Location") != "" || strings.Contains(a.body, "publisher") {
			t.Errorf("%d %v %s", a.StatusCode, a.Header, a.body)
		}
		if n := h.metric("linktrail_redirect_panics_total", ""); n != 1 {
			t.Errorf("linktrail_redirect_panics_total is %v", n)
		}
		if a := h.ask("HEAD", "/found"); a.StatusCode != http.StatusFound {
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
		if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") != "1" || h.metric("linktrail_redirects_shed_total", "lookups") != 1 {
			t.Errorf("%d, Retry-After %q", a.StatusCode, a.Header.Get("Retry-After"))
		}
		if a := h.ask("GET", "/found"); a.StatusCode != http.StatusFound {
			t.Errorf("a link that is known: %d", a.StatusCode)
		}
		close(gate)
		if a := <-waiting; a.StatusCode != http.StatusMovedPermanently {
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
	if a := h.ask("GET", "/"); a.StatusCode != http.StatusOK || !strings.Contains(a.body, "short links") ||
		!strings.HasPrefix(a.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("/: %d %v %s", a.StatusCode, a.Header, a.body)
	}
	if a := h.ask("GET", "/robots.txt"); a.StatusCode != http.StatusOK || a.body != "User-agent: *\nDisallow: /\n" ||
		a.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("/robots.txt: %d %v %s", a.StatusCode, a.Header, a.body)
	}
	if a := h.ask("GET", "/favicon.ico"); a.StatusCode != http.StatusNoContent || a.body != "" {
		t.Errorf("/favicon.ico: %d %s", a.StatusCode, a.body)
	}
	if n := h.store.reads.Load(); n != 0 || len(h.clicks.all()) != 0 {
		t.Errorf("%d look-ups, %d clicks", n, len(h.clicks.all()))
	}
	home := open(t, func(c *door.Config, _ *door.Deps, _ *linkcache.Config) { c.HomeURL = "https://example.org/about" })
	if a := home.ask("GET", "/"); a.StatusCode != http.StatusFound || a.Header.Get("Location") != "https://example.org/about" {
		t.Errorf("/ with HomeURL: %d %v", a.StatusCode, a.Header)
	}
}

func TestPathsThatAreNoCodes(t *testing.T) {
	h := open(t, nil)
	for _, path := range []string{
		"/found/", "//found", "/found/x", "/x/../found", "/./found", "/found%2F", "/found%00", "/fo", "/" + strings.Repeat("a", 65),
		"/found.", "/fo+und", "/fo~und", "/f%C3%BCnf", "/.well-known/security.txt", "/index.html", "/%", "/found;v=1", "*",
	} {
		answers := h.raw("GET " + path + " HTTP/1.1\r\nHost: s.example\r\nConnection: close\r\n\r\n")
		if len(answers) != 1 || answers[0].StatusCode != http.StatusNotFound && answers[0].StatusCode != http.StatusBadRequest {
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
