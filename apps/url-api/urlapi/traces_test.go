package urlapi_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linktrail/linktrail/apps/url-api/internal/svc"
	"github.com/linktrail/linktrail/internal/tracequery"
)

// mustTraceVisit asks the front door for a code and returns the id of the click's trace.
func (s *server) mustTraceVisit(t *testing.T, code string) string {
	t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Get(s.door + "/" + code)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusFound {
		t.Fatalf("the door answers %s", resp.Status)
	}
	return traceOf(t, resp.Header)
}

func traceOf(t *testing.T, h http.Header) string {
	t.Helper()
	parts := strings.Split(h.Get("Traceparent"), "-")
	if len(parts) != 4 {
		t.Fatalf("traceparent = %q", h.Get("Traceparent"))
	}
	return parts[1]
}

// spanLine is a line of a span file.
func spanLine(service, traceID string, n int, attributes string) string {
	return fmt.Sprintf(`{"Name":"x","SpanContext":{"TraceID":%q,"SpanID":"%016x"},"SpanKind":2,"StartTime":"2026-01-02T03:04:05Z",`+
		`"EndTime":"2026-01-02T03:04:06Z","Attributes":[%s],"Resource":[{"Key":"service.name","Value":{"Type":"STRING","Value":%q}}]}`+"\n",
		traceID, n, attributes, service)
}

func TestTraces(t *testing.T) {
	s := mustServe(t, "TraceQuery: {Files: {spans}}\n")
	s.mustCall(t, http.StatusCreated, http.MethodPost, "/api/v1/links", `{"url":"http://a.example","slug":"traced"}`)
	id := s.mustTraceVisit(t, "traced")

	t.Run("OKLikeTheCommand", func(t *testing.T) {
		var a answer
		eventually(t, "the trace of a click", func() error {
			if a = s.call(t, http.MethodGet, "/api/v1/traces/"+id, ""); a.status != http.StatusOK {
				return fmt.Errorf("status %d: %s", a.status, a.body)
			}
			var got tracequery.Trace
			a.decode(t, &got)
			if !slices.ContainsFunc(got.Spans, func(s tracequery.Span) bool { return s.Name == "GET /{code}" }) {
				return errors.New("the server span is not there yet")
			}
			return nil
		})
		found, err := tracequery.Files(s.spans).Trace(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(found)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(bytes.TrimSpace(a.body), want) {
			t.Errorf("the API shows\n%s\nthe command\n%s", a.body, want)
		}
	})
	// Traces that url-api had no part in, that it had, and that are too large.
	const theirs, odd, large = "11111111111111111111111111111111", "22222222222222222222222222222222", "33333333333333333333333333333333"
	var lines strings.Builder
	lines.WriteString(spanLine("else", theirs, 1, ""))
	lines.WriteString(spanLine("else", odd, 1, `{"Key":"list","Value":{"Type":"INT64SLICE","Value":[1,2]}},{"Key":"yes","Value":{"Type":"BOOL","Value":true}}`))
	lines.WriteString(spanLine("url-api", odd, 2, ""))
	for n := range svc.MaxTraceSpans + 1 {
		lines.WriteString(spanLine("url-api", large, n+1, ""))
	}
	mustWrite(t, filepath.Join(s.spans, "more.jsonl"), lines.String())

	t.Run("OKAttributesAsTheyAre", func(t *testing.T) {
		a := s.mustCall(t, http.StatusOK, http.MethodGet, "/api/v1/traces/"+odd, "")
		if !strings.Contains(string(a.body), `"attributes":{"list":[1,2],"yes":true}`) {
			t.Errorf("body = %s", a.body)
		}
	})
	for name, tt := range map[string]struct {
		id     string
		status int
		field  string
	}{
		"ErrUnknown":  {"44444444444444444444444444444444", http.StatusNotFound, ""},
		"ErrTheirs":   {theirs, http.StatusNotFound, ""},
		"ErrTooLarge": {large, http.StatusUnprocessableEntity, ""},
		"ErrZero":     {strings.Repeat("0", 32), http.StatusBadRequest, "trace_id"},
		"ErrCapitals": {strings.Repeat("A", 32), http.StatusBadRequest, "trace_id"},
		"ErrShort":    {"1234", http.StatusBadRequest, "trace_id"},
		"ErrBlank":    {"%20" + id, http.StatusBadRequest, "trace_id"},
		"ErrDots":     {"..%2f..%2fetc", http.StatusNotFound, ""}, // another address
	} {
		t.Run(name, func(t *testing.T) {
			checkProblem(t, s.call(t, http.MethodGet, "/api/v1/traces/"+tt.id, ""), tt.status, tt.field)
		})
	}
	t.Run("ErrScope", func(t *testing.T) {
		for _, path := range []string{"/api/v1/clicks", "/api/v1/traces/" + id} {
			checkProblem(t, s.call(t, http.MethodGet, path, "", "Authorization: Bearer "+s.tokens["reader"]), http.StatusForbidden, "")
			checkProblem(t, s.call(t, http.MethodGet, path, "", "Authorization: "), http.StatusUnauthorized, "")
		}
	})
	t.Run("OKPollsMakeNoTrace", func(t *testing.T) { testQuietPolls(t, s, id) })
}

// testQuietPolls polls as the console does, and asks as a caller does who wants the trace.
func testQuietPolls(t *testing.T, s *server, id string) {
	polls := map[string]bool{}
	for range 10 {
		for _, path := range []string{"/api/v1/clicks", "/api/v1/traces/" + id} {
			a := s.mustCall(t, http.StatusOK, http.MethodGet, path, "")
			polls[traceOf(t, a.header)] = true
			if !strings.HasSuffix(a.header.Get("Traceparent"), "-00") {
				t.Errorf("%s: traceparent = %q, want one that is not sampled", path, a.header.Get("Traceparent"))
			}
		}
	}
	if len(polls) != 20 {
		t.Errorf("%d trace ids for 20 requests", len(polls))
	}
	const caller = "4bf92f3577b34da6a3ce929d0e0e4737"
	s.mustCall(t, http.StatusOK, http.MethodGet, "/api/v1/clicks", "", "Traceparent: 00-"+caller+"-00f067aa0ba902b7-01")
	eventually(t, "the trace of a caller who wants one", func() error {
		found, err := tracequery.Files(s.spans).Trace(t.Context(), caller)
		if err == nil && !slices.Contains(found.Services(), "analytics-rpc") {
			err = fmt.Errorf("only %v", found.Services())
		}
		return err
	})
	for poll := range polls {
		if found, err := tracequery.Files(s.spans).Trace(t.Context(), poll); !errors.Is(err, tracequery.ErrNotFound) {
			t.Errorf("a poll made %v, %v", found, err)
		}
	}
}

func TestAllClicks(t *testing.T) {
	s := mustServe(t, "")
	now := time.Now()
	for i, code := range []string{"first", "second", "third"} {
		s.mustCall(t, http.StatusCreated, http.MethodPost, "/api/v1/links", `{"url":"http://a.example","slug":"`+code+`"}`)
		at := now.Add(time.Duration(i) * time.Second)
		s.mustClick(t, code, at, at.Add(100*time.Millisecond))
	}
	s.mustCall(t, http.StatusNoContent, http.MethodDelete, "/api/v1/links/second", "")

	t.Run("OK", func(t *testing.T) {
		var codes []string
		next := ""
		for range 4 {
			var page struct {
				Clicks []struct {
					Code    string `json:"code"`
					TraceID string `json:"trace_id"`
				} `json:"clicks"`
				Next *string `json:"next"`
			}
			s.mustCall(t, http.StatusOK, http.MethodGet, "/api/v1/clicks?limit=2"+next, "").decode(t, &page)
			for _, c := range page.Clicks {
				codes = append(codes, c.Code)
			}
			if page.Next == nil {
				break
			}
			next = "&cursor=" + *page.Next
		}
		if want := "third,third,second,second,first,first"; strings.Join(codes, ",") != want {
			t.Errorf("codes = %v, want %s", codes, want)
		}
	})
	for name, tt := range map[string]struct{ query, field string }{
		"ErrLimit": {"limit=101", "limit"}, "ErrCursor": {"cursor=AAAA", "cursor"},
	} {
		t.Run(name, func(t *testing.T) {
			checkProblem(t, s.call(t, http.MethodGet, "/api/v1/clicks?"+tt.query, ""), http.StatusBadRequest, tt.field)
		})
	}
	t.Run("ErrTracesNotConfigured", func(t *testing.T) {
		a := s.call(t, http.MethodGet, "/api/v1/traces/11111111111111111111111111111111", "")
		if p := checkProblem(t, a, http.StatusNotFound, ""); !strings.Contains(p.Detail, "TraceQuery") {
			t.Errorf("detail = %q, want one that says why", p.Detail)
		}
	})
	t.Run("ErrAnalyticsAway", func(t *testing.T) {
		s.stopAnalytics(t)
		a := s.call(t, http.MethodGet, "/api/v1/clicks", "")
		checkProblem(t, a, http.StatusServiceUnavailable, "")
		if a.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	})
}

// TestJaegerAway reads traces from a Jaeger that is not there, and from one that never answers.
func TestJaegerAway(t *testing.T) {
	release := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-release:
		}
	}))
	defer hangs.Close()
	defer close(release)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Traceparent") != "" {
			t.Error("the question to Jaeger carries a trace of its own")
		}
		http.Error(w, "no Jaeger", http.StatusNotFound)
	}))
	defer other.Close()
	for name, url := range map[string]string{"ErrGone": gone.URL, "ErrHangs": hangs.URL, "ErrNoJaeger": other.URL} {
		t.Run(name, func(t *testing.T) {
			s := mustServe(t, "Timeout: 1500\nTraceQuery: {Jaeger: "+url+"}\n")
			a := s.call(t, http.MethodGet, "/api/v1/traces/11111111111111111111111111111111", "")
			p := checkProblem(t, a, http.StatusServiceUnavailable, "")
			// The API's own timeout would speak of the server.
			if !strings.Contains(p.Detail, "traces") || strings.Contains(p.Detail, "127.0.0.1") || a.header.Get("Retry-After") == "" {
				t.Errorf("problem = %+v, Retry-After = %q", p, a.header.Get("Retry-After"))
			}
		})
	}
}
