package middleware

import (
	"encoding/binary"
	"math/rand/v2"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/trace"
)

// QuietPolls keeps requests that a page repeats each second out of the traces: those for the latest clicks of all links
// and for a trace. Each gets an id, for its answer and its log lines, but below a parent that is not sampled, so that
// neither url-api nor what it calls makes spans of it. A caller whose trace context has come so far is followed as
// always. It belongs within StripTraceContext and around go-zero's server.
func QuietPolls(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if polled(r) && r.Header.Get("Traceparent") == "" {
			r = r.WithContext(trace.ContextWithSpanContext(r.Context(), unsampled()))
		}
		next.ServeHTTP(w, r)
	})
}

func polled(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) &&
		(r.URL.Path == "/api/v1/clicks" || strings.HasPrefix(r.URL.Path, "/api/v1/traces/"))
}

// unsampled is a new span context that is not sampled. It is a local one: what is done about the sampled flag of remote
// parents makes no difference to it.
func unsampled() trace.SpanContext {
	var c trace.SpanContextConfig
	binary.BigEndian.PutUint64(c.TraceID[:8], rand.Uint64())
	binary.BigEndian.PutUint64(c.TraceID[8:], rand.Uint64()|1) // never all zero
	binary.BigEndian.PutUint64(c.SpanID[:], rand.Uint64()|1)
	return trace.NewSpanContext(c)
}
