package middleware_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/linktrail/linktrail/apps/url-api/internal/middleware"
	"github.com/linktrail/linktrail/internal/problem"
)

func TestProblems(t *testing.T) {
	const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	plain := func(status int, contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Traceparent", traceparent)
			w.Header().Set("Allow", "GET")
			if contentType != "" {
				w.Header().Set("Content-Type", contentType)
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	t.Run("ReplacesErrors", func(t *testing.T) {
		for name, h := range map[string]http.HandlerFunc{
			"Empty": plain(http.StatusServiceUnavailable, "", ""),
			"Text":  plain(http.StatusServiceUnavailable, "text/plain", "Request Timeout"),
			"JSON":  plain(http.StatusServiceUnavailable, "application/json", `{"secret":1}`),
		} {
			t.Run(name, func(t *testing.T) {
				w := httptest.NewRecorder()
				middleware.Problems(h).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
				var p problem.Problem
				if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
					t.Fatalf("body %q: %v", w.Body, err)
				}
				if w.Code != 503 || p.Status != 503 || p.TraceID != "4bf92f3577b34da6a3ce929d0e0e4736" || p.Detail == "" {
					t.Errorf("%d %+v", w.Code, p)
				}
				if got := w.Header().Get("Content-Type"); got != problem.ContentType {
					t.Errorf("Content-Type = %q", got)
				}
				if w.Header().Get("Retry-After") == "" || w.Header().Get("Allow") != "GET" {
					t.Errorf("headers = %v", w.Header())
				}
			})
		}
	})
	t.Run("LeavesTheRest", func(t *testing.T) {
		for name, h := range map[string]http.HandlerFunc{
			"OK":       plain(http.StatusOK, "text/plain", "body"),
			"Redirect": plain(http.StatusFound, "text/plain", "body"),
			"Problem":  plain(http.StatusConflict, problem.ContentType, "body"),
			"NoHeader": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "body") },
		} {
			t.Run(name, func(t *testing.T) {
				w := httptest.NewRecorder()
				middleware.Problems(h).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
				if w.Body.String() != "body" {
					t.Errorf("body = %q", w.Body)
				}
			})
		}
	})
}

func TestStripTraceContext(t *testing.T) {
	trusted := func(a netip.Addr) bool { return a == netip.MustParseAddr("192.0.2.1") }
	tests := []struct {
		remote string
		want   string
	}{
		{"192.0.2.1:1234", "Traceparent Tracestate"},
		{"[::ffff:192.0.2.1]:1234", "Traceparent Tracestate"},
		{"192.0.2.2:1234", ""},
		{"@", ""},
	}
	for _, tt := range tests {
		t.Run(tt.remote, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = tt.remote
			for _, h := range []string{"traceparent", "tracestate", "baggage"} {
				r.Header.Set(h, "x")
			}
			var left []string
			h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				for _, name := range []string{"Baggage", "Traceparent", "Tracestate"} {
					if r.Header.Get(name) != "" {
						left = append(left, name)
					}
				}
			})
			middleware.StripTraceContext(trusted, h).ServeHTTP(httptest.NewRecorder(), r)
			if diff := cmp.Diff(tt.want, strings.Join(left, " ")); diff != "" {
				t.Errorf("headers left (-want +got):\n%s", diff)
			}
		})
	}
}

// lateBody is a body that does not arrive in time: like net/http's, it ends the request's context just before its read
// returns.
type lateBody struct {
	cancel  context.CancelFunc
	written chan struct{} // closed once a status is written
}

func (b lateBody) Read([]byte) (int, error) {
	b.cancel()
	select { // what hurries has its time
	case <-b.written:
	case <-time.After(50 * time.Millisecond):
	}
	return 0, os.ErrDeadlineExceeded
}

func (lateBody) Close() error { return nil }

// statusRecorder tells when a status is written.
type statusRecorder struct {
	*httptest.ResponseRecorder
	written chan struct{}
}

func (r statusRecorder) WriteHeader(status int) {
	r.ResponseRecorder.WriteHeader(status)
	close(r.written)
}

// TestProblemsLateBody has go-zero's answer to a context that has ended overtake the read that has ended it.
func TestProblemsLateBody(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	recorder := statusRecorder{httptest.NewRecorder(), make(chan struct{})}
	req := httptest.NewRequest(http.MethodPost, "/api/v1/links", lateBody{cancel, recorder.written}).WithContext(ctx)
	middleware.Problems(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		read := make(chan struct{})
		go func() {
			defer close(read)
			_, _ = io.ReadAll(r.Body)
		}()
		<-r.Context().Done()
		w.WriteHeader(problem.StatusClientClosedRequest)
		<-read
	})).ServeHTTP(recorder, req)
	if recorder.Code != http.StatusRequestTimeout {
		t.Errorf("status is %d, want 408", recorder.Code)
	}
}
