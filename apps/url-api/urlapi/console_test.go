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
	ask := func(t *testing.T, s *server, method, path, etag string) (*http.Response, string) {
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
		return response, string(body)
	}
	wantProblem := func(t *testing.T, response *http.Response, body string, status int) {
		t.Helper()
		var p problem.Problem
		if response.StatusCode != status || response.Header.Get("Content-Type") != problem.ContentType ||
			json.Unmarshal([]byte(body), &p) != nil || p.Status != status {
			t.Errorf("%s, %s: %s; want a problem of status %d", response.Status, response.Header.Get("Content-Type"), body, status)
		}
	}
	t.Run("OK", func(t *testing.T) {
		s := mustServe(t, "")
		for path, mediaType := range map[string]string{"/": "text/html; charset=utf-8", "/console.js": "text/javascript; charset=utf-8",
			"/console.css": "text/css; charset=utf-8", "/console.svg": "image/svg+xml", "/console/api.js": "text/javascript; charset=utf-8"} {
			response, body := ask(t, s, http.MethodGet, path, "")
			if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != mediaType || body == "" {
				t.Errorf("%s: %s, %s, %d bytes", path, response.Status, response.Header.Get("Content-Type"), len(body))
			}
			if policy := response.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") {
				t.Errorf("%s: policy %q", path, policy)
			}
			if response.Header.Get("Traceparent") == "" {
				t.Errorf("%s: no traceparent", path)
			}
			if again, rest := ask(t, s, http.MethodGet, path, response.Header.Get("ETag")); again.StatusCode != http.StatusNotModified || rest != "" {
				t.Errorf("%s again: %s, %d bytes", path, again.Status, len(rest))
			}
			if head, none := ask(t, s, http.MethodHead, path, ""); head.StatusCode != http.StatusOK || none != "" {
				t.Errorf("HEAD %s: %s, %d bytes", path, head.Status, len(none))
			}
		}
		response, body := ask(t, s, http.MethodPost, "/", "")
		wantProblem(t, response, body, http.StatusMethodNotAllowed)
		if allow := response.Header.Get("Allow"); !strings.Contains(allow, http.MethodGet) || !strings.Contains(allow, http.MethodHead) {
			t.Errorf("Allow: %q", allow)
		}
		response, body = ask(t, s, http.MethodGet, "/console/none.js", "")
		wantProblem(t, response, body, http.StatusNotFound)
	})
	t.Run("OK off", func(t *testing.T) {
		s := mustServe(t, "Console: {Enabled: false}")
		for _, path := range []string{"/", "/console.js"} {
			response, body := ask(t, s, http.MethodGet, path, "")
			wantProblem(t, response, body, http.StatusNotFound)
		}
	})
}
