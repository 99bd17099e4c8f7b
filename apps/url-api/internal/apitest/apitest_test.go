package apitest_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/linktrail/linktrail/apps/url-api/internal/apitest"
)

const (
	trace  = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	link   = `"code":"abc","short_url":"http://a/abc","url":"http://b","title":"","tags":[],"created_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-01T00:00:00Z","expires_at":null,"redirect_status":302,"disabled":false`
	absent = `{"type":"about:blank","title":"Not Found","status":404,"detail":"x","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}`
)

// mustLoad returns the committed document and a client whose answers are what answer says.
func mustLoad(t *testing.T, answer http.HandlerFunc) (*apitest.Contract, string) {
	t.Helper()
	doc, err := os.ReadFile("../handler/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/openapi.json" {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(doc)
			return
		}
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	c, err := apitest.Load(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return c, server.URL
}

// TestContract gives answers that are not as documented: each must be told.
func TestContract(t *testing.T) {
	const jsonType, problemType = "Content-Type: application/json", "Content-Type: application/problem+json"
	for name, tt := range map[string]struct {
		method, path, sent string
		status             int
		headers            []string
		body               string
		tells              string // empty: nothing
	}{
		"OK":                {"GET", "/links/abc", "", 200, []string{jsonType, "Traceparent: " + trace}, "{" + link + "}", ""},
		"OKProblem":         {"GET", "/links/abc", "", 404, []string{problemType, "Traceparent: " + trace}, absent, ""},
		"OKOptions":         {"OPTIONS", "/links", "", 204, []string{"Allow: GET, HEAD, OPTIONS, POST"}, "", ""},
		"ErrStatus":         {"GET", "/links/abc", "", 202, []string{jsonType, "Traceparent: " + trace}, "{" + link + "}", "status"},
		"ErrMediaType":      {"GET", "/links/abc", "", 200, []string{"Content-Type: text/html", "Traceparent: " + trace}, "{" + link + "}", "Content-Type"},
		"ErrField":          {"GET", "/links/abc", "", 200, []string{jsonType, "Traceparent: " + trace}, `{"more":1,` + link + `}`, "more"},
		"ErrLacks":          {"GET", "/links/abc", "", 200, []string{jsonType, "Traceparent: " + trace}, `{"code":"abc"}`, "missing"},
		"ErrNull":           {"GET", "/links", "", 200, []string{jsonType, "Traceparent: " + trace}, `{"links":null,"next":null}`, "links"},
		"ErrTime":           {"GET", "/links/abc", "", 200, []string{jsonType, "Traceparent: " + trace}, "{" + strings.Replace(link, "2026-01-01T", "2026-01-01 ", 1) + "}", "created_at"},
		"ErrNoTrace":        {"GET", "/links/abc", "", 200, []string{jsonType}, "{" + link + "}", "traceparent"},
		"ErrNoLocation":     {"POST", "/links", `{"url":"http://b"}`, 201, []string{jsonType, "Traceparent: " + trace}, "{" + link + "}", "Location"},
		"ErrNoChallenge":    {"GET", "/links", "", 401, []string{problemType, "Traceparent: " + trace}, absent, "WWW-Authenticate"},
		"ErrNoRetryAfter":   {"GET", "/links", "", 503, []string{problemType, "Traceparent: " + trace}, absent, "Retry-After"},
		"ErrProblemIsJSON":  {"GET", "/links/abc", "", 404, []string{jsonType, "Traceparent: " + trace}, absent, "Content-Type"},
		"ErrProblemsStatus": {"GET", "/links/abc", "", 404, []string{problemType, "Traceparent: " + trace}, strings.Replace(absent, "404", "400", 1), "problem"},
		"ErrUnknownAddress": {"GET", "/links/", "", 200, []string{jsonType, "Traceparent: " + trace}, "{}", "want 404"},
		"ErrUnknownMethod":  {"PUT", "/links", "", 405, []string{problemType, "Allow: GET"}, absent, "Allow"},
		"ErrNotOffered":     {"POST", "/links", `{"url":1}`, 201, []string{jsonType, "Traceparent: " + trace, "Location: /api/v1/links/abc"}, "{" + link + "}", "not as documented"},
		"ErrNoKey":          {"HEAD", "/links", "", 200, []string{jsonType, "Traceparent: " + trace, "Key: none"}, "", "bearer"},
	} {
		t.Run(name, func(t *testing.T) {
			c, base := mustLoad(t, func(w http.ResponseWriter, _ *http.Request) {
				for _, h := range tt.headers {
					header, value, _ := strings.Cut(h, ": ")
					w.Header().Set(header, value)
				}
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			})
			var told error
			client := &http.Client{Transport: c.Transport(http.DefaultTransport, func(err error) { told = err })}
			req, err := http.NewRequest(tt.method, base+"/api/v1"+tt.path, strings.NewReader(tt.sent))
			if err != nil {
				t.Fatal(err)
			}
			if name != "ErrNoKey" {
				req.Header.Set("Authorization", "Bearer k")
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			switch {
			case tt.tells == "" && told != nil:
				t.Error(told)
			case tt.tells != "" && (told == nil || !strings.Contains(told.Error(), tt.tells)):
				t.Errorf("told %v, want one of %q", told, tt.tells)
			}
			if _, ok := errors.AsType[*apitest.NotOffered](told); ok != (name == "ErrNotOffered" || name == "ErrNoKey") {
				t.Errorf("%v is NotOffered: %v", told, ok)
			}
		})
	}
}

// TestGenerator makes the same requests of the same seed, of all operations.
func TestGenerator(t *testing.T) {
	c, _ := mustLoad(t, http.NotFound)
	one, two, other := apitest.NewGenerator(c, 1), apitest.NewGenerator(c, 1), apitest.NewGenerator(c, 2)
	seen, good, differ := map[string]bool{}, 0, false
	for range 500 {
		r := one.Next()
		if again := two.Next(); again.String() != r.String() {
			t.Fatalf("the same seed makes\n%v\n%v", r, again)
		}
		differ = differ || other.Next().String() != r.String()
		seen[r.Operation] = true
		if r.Broken == "" {
			good++
		}
	}
	if len(seen) != len(one.Operations()) || good < 150 || good > 350 || !differ {
		t.Errorf("%d of %d operations, %d good requests of 500, another seed differs: %v", len(seen), len(one.Operations()), good, differ)
	}
}
