package urlapi_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"

	"github.com/linktrail/linktrail/internal/problem"
)

func traceReuse(ctx context.Context, reused *bool) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { *reused = info.Reused },
	})
}

// checkProblem checks the shape that every error has.
func checkProblem(t *testing.T, a answer, status int, field string) problem.Problem {
	t.Helper()
	if a.status != status {
		t.Fatalf("status = %d, want %d: %s", a.status, status, a.body)
	}
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type = %q", got)
	}
	var p problem.Problem
	a.decode(t, &p)
	if p.Status != status || p.Title != http.StatusText(status) || p.Type != "about:blank" || p.Detail == "" {
		t.Errorf("problem = %+v", p)
	}
	if p.Field != field {
		t.Errorf("field = %q, want %q (%s)", p.Field, field, p.Detail)
	}
	return p
}

func testErrors(t *testing.T, s *server) {
	s.mustCall(t, http.StatusCreated, http.MethodPost, "/api/v1/links", `{"url":"http://a.example","slug":"taken"}`)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(z, `{"url":"http://a.example","title":"`+strings.Repeat("x", 1<<20)+`"}`)
	_ = z.Close()

	tests := []struct {
		name, method, path, body string
		status                   int
		field                    string
		headers                  []string
	}{
		{"Empty", http.MethodPost, "/links", ``, 400, "body", nil},
		{"NotJSON", http.MethodPost, "/links", `{"url":`, 400, "body", nil},
		{"TwoDocuments", http.MethodPost, "/links", `{"url":"http://a.example"}{}`, 400, "body", nil},
		{"NotUTF8", http.MethodPost, "/links", "{\"url\":\"http://a.example/\xff\"}", 400, "body", nil},
		{"List", http.MethodPost, "/links", `[]`, 400, "body", nil},
		{"Null", http.MethodPost, "/links", `null`, 400, "body", nil},
		{"NoURL", http.MethodPost, "/links", `{}`, 400, "url", nil},
		{"NullURL", http.MethodPost, "/links", `{"url":null}`, 400, "url", nil},
		{"EmptyURL", http.MethodPost, "/links", `{"url":""}`, 400, "url", nil},
		{"NumberURL", http.MethodPost, "/links", `{"url":1}`, 400, "url", nil},
		{"OtherScheme", http.MethodPost, "/links", `{"url":"javascript:alert(1)"}`, 400, "url", nil},
		{"OwnHost", http.MethodPost, "/links", `{"url":"https://GO.example./x"}`, 400, "url", nil},
		{"OtherOwnHost", http.MethodPost, "/links", `{"url":"http://other.example"}`, 400, "url", nil},
		{"UnknownField", http.MethodPost, "/links", `{"url":"http://a.example","ttl":1}`, 400, "ttl", nil},
		{"OtherCase", http.MethodPost, "/links", `{"URL":"http://a.example"}`, 400, "URL", nil},
		{"ShortSlug", http.MethodPost, "/links", `{"url":"http://a.example","slug":"x"}`, 400, "slug", nil},
		{"ReservedSlug", http.MethodPost, "/links", `{"url":"http://a.example","slug":"API"}`, 400, "slug", nil},
		{"TakenSlug", http.MethodPost, "/links", `{"url":"http://a.example","slug":"taken"}`, 409, "slug", nil},
		{"TagsText", http.MethodPost, "/links", `{"url":"http://a.example","tags":"a"}`, 400, "tags", nil},
		{"TagNumber", http.MethodPost, "/links", `{"url":"http://a.example","tags":[1]}`, 400, "tags", nil},
		{"LongTitle", http.MethodPost, "/links", `{"url":"http://a.example","title":"` + strings.Repeat("x", 201) + `"}`, 400, "title", nil},
		{"NoTime", http.MethodPost, "/links", `{"url":"http://a.example","expires_at":"tomorrow"}`, 400, "expires_at", nil},
		{"Past", http.MethodPost, "/links", `{"url":"http://a.example","expires_at":"2001-01-01T00:00:00Z"}`, 400, "expires_at", nil},
		{"Status", http.MethodPost, "/links", `{"url":"http://a.example","redirect_status":303}`, 400, "redirect_status", nil},
		{"StatusText", http.MethodPost, "/links", `{"url":"http://a.example","redirect_status":"302"}`, 400, "redirect_status", nil},
		{"TooLarge", http.MethodPost, "/links", `{"url":"http://a.example/` + strings.Repeat("x", 5000) + `"}`, 413, "", nil},
		{"TooLargeZipped", http.MethodPost, "/links", zipped.String(), 413, "body", []string{"Content-Encoding: gzip"}},
		{"Text", http.MethodPost, "/links", `{"url":"http://a.example"}`, 415, "body", []string{"Content-Type: text/plain"}},
		{"Form", http.MethodPost, "/links", `url=http://a.example`, 415, "body", []string{"Content-Type: application/x-www-form-urlencoded"}},
		{"MediaType", http.MethodPatch, "/links/taken", `{}`, 415, "body", []string{"Content-Type: json;;"}},
		{"Brotli", http.MethodPost, "/links", `{"url":"http://a.example"}`, 415, "body", []string{"Content-Encoding: br"}},
		{"TooLargeUnread", http.MethodGet, "/links", strings.Repeat("x", 5000), 413, "", nil},
		{"NotZipped", http.MethodPost, "/links", `{}`, 400, "", []string{"Content-Encoding: gzip"}},
		{"UpdateNullURL", http.MethodPatch, "/links/taken", `{"url":null}`, 400, "url", nil},
		{"UpdateSlug", http.MethodPatch, "/links/taken", `{"slug":"other"}`, 400, "slug", nil},
		{"UpdatePast", http.MethodPatch, "/links/taken", `{"expires_at":"2001-01-01T00:00:00Z"}`, 400, "expires_at", nil},
		{"UpdateDisabledText", http.MethodPatch, "/links/taken", `{"disabled":"no"}`, 400, "disabled", nil},
		{"UpdateUnknown", http.MethodPatch, "/links/unknown", `{"title":"x"}`, 404, "", nil},
		{"GetUnknown", http.MethodGet, "/links/unknown", ``, 404, "", nil},
		{"LimitText", http.MethodGet, "/links?limit=many", ``, 400, "limit", nil},
		{"LimitZero", http.MethodGet, "/links?limit=0", ``, 400, "limit", nil},
		{"LimitHigh", http.MethodGet, "/links?limit=101", ``, 400, "limit", nil},
		{"LimitTwice", http.MethodGet, "/links?limit=1&limit=1", ``, 400, "limit", nil},
		{"Cursor", http.MethodGet, "/links?cursor=AAAA", ``, 400, "cursor", nil},
		{"Query", http.MethodGet, "/links?limit=%zz", ``, 400, "query", nil},
		{"StatsUnknown", http.MethodGet, "/links/unknown/stats", ``, 404, "", nil},
		{"StatsFrom", http.MethodGet, "/links/taken/stats?from=x", ``, 400, "from", nil},
		{"StatsOrder", http.MethodGet, "/links/taken/stats?from=2026-01-02&to=2026-01-01", ``, 400, "to", nil},
		{"StatsInterval", http.MethodGet, "/links/taken/stats?interval=week", ``, 400, "interval", nil},
		{"StatsSteps", http.MethodGet, "/links/taken/stats?interval=hour&from=2020-01-01", ``, 400, "interval", nil},
		{"StatsZone", http.MethodGet, "/links/taken/stats?tz=Mars/Olympus", ``, 400, "tz", nil},
		{"StatsTop", http.MethodGet, "/links/taken/stats?top=201", ``, 400, "top", nil},
		{"ClicksUnknown", http.MethodGet, "/links/unknown/clicks", ``, 404, "", nil},
		{"ClicksCursor", http.MethodGet, "/links/taken/clicks?cursor=bDE", ``, 400, "cursor", nil},
		{"NoSuchAddress", http.MethodGet, "/nothing", ``, 404, "", nil},
		{"SlashAtTheEnd", http.MethodGet, "/links/", ``, 404, "", nil},
		{"SlashAtTheEndOfALink", http.MethodDelete, "/links/taken/", ``, 404, "", nil},
		{"TwoSlashes", http.MethodGet, "//links", ``, 404, "", nil},
		{"NoCode", http.MethodGet, "/links//stats", ``, 404, "", nil},
		{"NoTrace", http.MethodGet, "/traces/", ``, 404, "", nil},
		{"Dots", http.MethodGet, "/traces/../links", ``, 404, "", nil},
		{"EscapedDots", http.MethodGet, "/traces/%2e%2e/links", ``, 404, "", nil},
		{"EscapedSlash", http.MethodGet, "/links/taken%2Fstats", ``, 404, "", nil},
		{"NoSuchMethod", http.MethodPut, "/links/taken", `{}`, 405, "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := s.call(t, tt.method, "/api/v1"+tt.path, tt.body, tt.headers...)
			p := checkProblem(t, a, tt.status, tt.field)
			if traceparent := a.header.Get("Traceparent"); p.TraceID == "" || !strings.Contains(traceparent, p.TraceID) {
				t.Errorf("trace_id = %q, traceparent = %q", p.TraceID, traceparent)
			}
			if tt.status == 405 && !strings.Contains(a.header.Get("Allow"), http.MethodPatch) {
				t.Errorf("Allow = %q", a.header.Get("Allow"))
			}
		})
	}
}

// testKeys asks each route with each key.
func testKeys(t *testing.T, s *server) {
	s.mustCall(t, http.StatusCreated, http.MethodPost, "/api/v1/links", `{"url":"http://a.example","slug":"keys-test"}`)
	routes := []struct {
		method, path, body, scope string
		status                    int
	}{
		{http.MethodPost, "/links", `{"url":"http://a.example"}`, "links:write", 201},
		{http.MethodPatch, "/links/keys-test", `{}`, "links:write", 200},
		{http.MethodGet, "/links", ``, "links:read", 200},
		{http.MethodGet, "/links/keys-test", ``, "links:read", 200},
		{http.MethodGet, "/links/keys-test/stats", ``, "stats:read", 200},
		{http.MethodGet, "/links/keys-test/clicks", ``, "stats:read", 200},
		{http.MethodGet, "/clicks", ``, "stats:read", 200},
		{http.MethodGet, "/traces/4bf92f3577b34da6a3ce929d0e0e4736", ``, "stats:read", 404},
		{http.MethodDelete, "/links/keys-test", ``, "links:write", 204},
	}
	scopeOf := map[string]string{"reader": "links:read", "writer": "links:write", "analyst": "stats:read"}
	id, _, _ := strings.Cut(strings.TrimPrefix(s.tokens["all"], "lt_"), "_")
	noKey := map[string]string{
		"Without":     "Authorization: ",
		"Basic":       "Authorization: Basic dXNlcjpwYXNz",
		"Empty":       "Authorization: Bearer ",
		"Garbage":     "Authorization: Bearer garbage",
		"WrongSecret": "Authorization: Bearer lt_" + id + "_" + strings.Repeat("A", 43),
		"UnknownID":   "Authorization: Bearer lt_aaaaaaaaaaaa_" + strings.Repeat("A", 43),
		"Revoked":     "Authorization: Bearer " + s.tokens["revoked"],
	}
	for _, r := range routes {
		path := "/api/v1" + r.path
		t.Run(r.method+" "+r.path, func(t *testing.T) {
			for name, header := range noKey {
				t.Run("Err"+name, func(t *testing.T) {
					a := s.call(t, r.method, path, r.body, header)
					checkProblem(t, a, http.StatusUnauthorized, "")
					if got := a.header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Bearer ") {
						t.Errorf("WWW-Authenticate = %q", got)
					}
				})
			}
			for name, scope := range scopeOf {
				if scope == r.scope {
					continue
				}
				t.Run("Err"+name, func(t *testing.T) {
					a := s.call(t, r.method, path, r.body, "Authorization: Bearer "+s.tokens[name])
					p := checkProblem(t, a, http.StatusForbidden, "")
					if !strings.Contains(p.Detail, r.scope) || !strings.Contains(a.header.Get("WWW-Authenticate"), r.scope) {
						t.Errorf("the missing scope is not named: %q, %q", p.Detail, a.header.Get("WWW-Authenticate"))
					}
				})
			}
			for name, scope := range scopeOf {
				if scope == r.scope {
					t.Run("OK"+name, func(t *testing.T) {
						s.mustCall(t, r.status, r.method, path, r.body, "Authorization: bearer "+s.tokens[name])
					})
				}
			}
		})
	}
}

// testMethods asks addresses by the methods that all have.
func testMethods(t *testing.T, s *server) {
	s.mustCall(t, http.StatusCreated, http.MethodPost, "/api/v1/links", `{"url":"http://a.example","slug":"methods"}`)
	t.Run("OKHead", func(t *testing.T) {
		for _, path := range []string{"/api/v1/links/methods", "/api/v1/links", "/api/v1/clicks", "/openapi.json"} {
			get := s.mustCall(t, http.StatusOK, http.MethodGet, path, "")
			head := s.mustCall(t, http.StatusOK, http.MethodHead, path, "")
			for _, name := range []string{"Content-Type", "Content-Length"} {
				// A long answer is sent in chunks, without a length.
				if head.header.Get(name) != get.header.Get(name) || name == "Content-Type" && head.header.Get(name) == "" {
					t.Errorf("%s: %s is %q to HEAD and %q to GET", path, name, head.header.Get(name), get.header.Get(name))
				}
			}
		}
		a := s.mustCall(t, http.StatusNotFound, http.MethodHead, "/api/v1/links/nothing", "")
		if len(a.body) > 0 || a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%d bytes of %q", len(a.body), a.header.Get("Content-Type"))
		}
	})
	t.Run("OKOptions", func(t *testing.T) {
		for path, allow := range map[string]string{
			"/api/v1/links/methods": "DELETE, GET, HEAD, OPTIONS, PATCH", "/api/v1/links": "GET, HEAD, OPTIONS, POST",
		} {
			a := s.mustCall(t, http.StatusNoContent, http.MethodOptions, path, "", "Authorization: ")
			if got := a.header.Get("Allow"); got != allow {
				t.Errorf("%s: Allow = %q, want %q", path, got, allow)
			}
		}
		s.mustCall(t, http.StatusNotFound, http.MethodOptions, "/api/v1/nothing", "")
	})
	t.Run("ErrOthers", func(t *testing.T) {
		for _, method := range []string{http.MethodPut, http.MethodTrace, "LINKTRAIL"} {
			checkProblem(t, s.call(t, method, "/api/v1/links/methods", ""), http.StatusMethodNotAllowed, "")
		}
	})
	t.Run("OKWhateverAcceptSays", func(t *testing.T) {
		for _, accept := range []string{"text/html", "application/xml;q=1, */*;q=0", "text/event-stream", "garbage"} {
			s.mustCall(t, http.StatusOK, http.MethodGet, "/api/v1/links/methods", "", "Accept: "+accept)
		}
	})
	t.Run("OKMergePatch", func(t *testing.T) {
		s.mustCall(t, http.StatusOK, http.MethodPatch, "/api/v1/links/methods", `{"title":"x"}`, "Content-Type: application/merge-patch+json")
	})
}

// TestSlowBody sends half of a body and waits.
func TestSlowBody(t *testing.T) {
	s := mustServe(t, "Timeout: 500\n")
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.api, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	req, err := http.NewRequest(http.MethodPost, s.api+"/api/v1/links", nil)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /api/v1/links HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer %s\r\nContent-Length: 50\r\n\r\n{", s.tokens["all"])
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	checkProblem(t, answer{resp.StatusCode, resp.Header, body}, http.StatusRequestTimeout, "")
	if err := s.contract.Check(req, nil, resp, body); err != nil {
		t.Error(err)
	}
}
