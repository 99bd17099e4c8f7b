package urlapi_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/linktrail/linktrail/internal/problem"
)

// TestConsole asks for the console's page through everything that stands around the API's handlers.
func TestConsole(t *testing.T) {
	type answer struct {
		status int
		header http.Header
		body   string
	}
	ask := func(t *testing.T, s *server, method, path, etag string) answer {
		t.Helper()
		request, err := http.NewRequest(method, s.api+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if etag != "" {
			request.Header.Set("If-None-Match", etag)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer{response.StatusCode, response.Header, string(body)}
	}
	wantProblem := func(t *testing.T, got answer, status int) {
		t.Helper()
		var p problem.Problem
		if got.status != status || got.header.Get("Content-Type") != problem.ContentType ||
			json.Unmarshal([]byte(got.body), &p) != nil || p.Status != status {
			t.Errorf("%d, %s: %s; want a problem of status %d", got.status, got.header.Get("Content-Type"), got.body, status)
		}
	}
	t.Run("OK", func(t *testing.T) {
		s := mustServe(t, "")
		for path, mediaType := range map[string]string{"/": "text/html; charset=utf-8", "/console.js": "text/javascript; charset=utf-8",
			"/console.css": "text/css; charset=utf-8", "/console.svg": "image/svg+xml", "/console/api.js": "text/javascript; charset=utf-8"} {
			got := ask(t, s, http.MethodGet, path, "")
			if got.status != http.StatusOK || got.header.Get("Content-Type") != mediaType || got.body == "" {
				t.Errorf("%s: %d, %s, %d bytes", path, got.status, got.header.Get("Content-Type"), len(got.body))
			}
			if policy := got.header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") {
				t.Errorf("%s: policy %q", path, policy)
			}
			if got.header.Get("Traceparent") == "" {
				t.Errorf("%s: no traceparent", path)
			}
			if again := ask(t, s, http.MethodGet, path, got.header.Get("ETag")); again.status != http.StatusNotModified || again.body != "" {
				t.Errorf("%s again: %d, %d bytes", path, again.status, len(again.body))
			}
			if head := ask(t, s, http.MethodHead, path, ""); head.status != http.StatusOK || head.body != "" {
				t.Errorf("HEAD %s: %d, %d bytes", path, head.status, len(head.body))
			}
		}
		post := ask(t, s, http.MethodPost, "/", "")
		wantProblem(t, post, http.StatusMethodNotAllowed)
		if allow := post.header.Get("Allow"); !strings.Contains(allow, http.MethodGet) || !strings.Contains(allow, http.MethodHead) {
			t.Errorf("Allow: %q", allow)
		}
		wantProblem(t, ask(t, s, http.MethodGet, "/console/none.js", ""), http.StatusNotFound)
	})
	t.Run("OK off", func(t *testing.T) {
		s := mustServe(t, "Console: {Enabled: false}")
		for _, path := range []string{"/", "/console.js"} {
			wantProblem(t, ask(t, s, http.MethodGet, path, ""), http.StatusNotFound)
		}
	})
}
