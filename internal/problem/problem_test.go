package problem_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/problem"
)

func TestFromError(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want problem.Problem
	}{
		{"Invalid", link.Invalid("url", "must have a host"), problem.Problem{
			Type: "about:blank", Title: "Bad Request", Status: 400, Detail: "url must have a host.", Field: "url"}},
		{"NotFound", link.NotFound("abc"), problem.Problem{
			Type: "about:blank", Title: "Not Found", Status: 404, Detail: `no link has the code "abc".`}},
		{"Conflict", fmt.Errorf("create: %w", link.Taken("abc")), problem.Problem{
			Type: "about:blank", Title: "Conflict", Status: 409, Detail: `slug "abc" is taken.`, Field: "slug"}},
		{"Unauthorized", &link.Error{Kind: link.KindUnauthorized, Message: "no key"}, problem.Problem{
			Type: "about:blank", Title: "Unauthorized", Status: 401, Detail: "no key."}},
		{"Forbidden", &link.Error{Kind: link.KindForbidden, Message: "no right"}, problem.Problem{
			Type: "about:blank", Title: "Forbidden", Status: 403, Detail: "no right."}},
		{"Unavailable", &link.Error{Kind: link.KindUnavailable, Message: "the store is away"}, problem.Problem{
			Type: "about:blank", Title: "Service Unavailable", Status: 503, Detail: "the store is away."}},
		{"Internal", &link.Error{Kind: link.KindInternal, Message: "secret"}, internal()},
		{"Other", errors.New("dial tcp 10.0.0.1: secret"), internal()},
		{"Outage", fmt.Errorf("select secret: %w", context.DeadlineExceeded), problem.Problem{
			Type: "about:blank", Title: "Service Unavailable", Status: 503,
			Detail: "Something that linktrail needs cannot be reached at the moment; try again later."}},
		{"Cancelled", fmt.Errorf("select secret: %w", context.Canceled), problem.Problem{
			Type: "about:blank", Title: "Client Closed Request", Status: 499, Detail: "The caller gave the request up."}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, problem.FromError(tt.err)); diff != "" {
				t.Errorf("problem (-want +got):\n%s", diff)
			}
		})
	}
}

func internal() problem.Problem {
	return problem.Problem{
		Type: "about:blank", Title: "Internal Server Error", Status: 500, Detail: "Something went wrong on our side."}
}

func TestWrite(t *testing.T) {
	ctx := trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2},
	}))
	tests := []struct {
		status         int
		header, wanted string
	}{
		{http.StatusUnauthorized, "WWW-Authenticate", `Bearer realm="linktrail"`},
		{http.StatusServiceUnavailable, "Retry-After", "1"},
		{http.StatusNotFound, "Content-Type", "application/problem+json"},
	}
	for _, tt := range tests {
		t.Run(http.StatusText(tt.status), func(t *testing.T) {
			w := httptest.NewRecorder()
			problem.Write(ctx, w, problem.New(tt.status, "a <b> & c"))
			if w.Code != tt.status {
				t.Errorf("status = %d, want %d", w.Code, tt.status)
			}
			if got := w.Header().Get(tt.header); got != tt.wanted {
				t.Errorf("%s = %q, want %q", tt.header, got, tt.wanted)
			}
			var got problem.Problem
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			want := problem.New(tt.status, "a <b> & c")
			want.TraceID = "01000000000000000000000000000000"
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
}
