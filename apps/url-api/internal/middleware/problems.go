package middleware

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/internal/problem"
)

const tracerName = "github.com/linktrail/linktrail/apps/url-api/internal/middleware"

// Problems makes problem details of errors that are none: go-zero's middlewares and router answer with an empty body
// (405, 413, 503, 500 after a panic) or with text (a timeout). A 405 gets a whole Allow, and is a 204 to OPTIONS, which
// asks for nothing else. It belongs around the whole server.
func Problems(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := &timedBody{ReadCloser: r.Body}
		answer := &problemWriter{ResponseWriter: w, request: r, body: body}
		watched := *r
		watched.Body = body
		next.ServeHTTP(answer, &watched)
	})
}

// problemWriter replaces the answer when its status is an error's and its body no problem's.
type problemWriter struct {
	http.ResponseWriter
	request     *http.Request
	body        *timedBody
	wroteHeader bool
	replaced    bool
}

// timedBody is a request's body that remembers whether it came too late.
type timedBody struct {
	io.ReadCloser

	mu   sync.Mutex // held by a read
	late bool
}

// Read reads the body.
func (b *timedBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		b.late = true
	}
	return n, err
}

// cameLate reports whether a read has found the body too late. It waits for one that is about to say so.
func (b *timedBody) cameLate() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.late
}

// Unwrap is for http.ResponseController.
func (w *problemWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader writes the status, and the whole answer when it is replaced.
func (w *problemWriter) WriteHeader(status int) {
	if w.wroteHeader {
		return
	}
	w.wroteHeader = status >= 200
	if status == problem.StatusClientClosedRequest && w.body.cameLate() {
		// net/http ends the request's context just before the read returns, and go-zero takes that for a caller who has gone.
		status = http.StatusRequestTimeout
	}
	if status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", allowed(w.Header().Get("Allow")))
		if w.request.Method == http.MethodOptions {
			w.replaced = true
			w.ResponseWriter.WriteHeader(http.StatusNoContent)
			return
		}
	}
	if status < 400 || w.Header().Get("Content-Type") == problem.ContentType {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.replaced = true
	// The span is further in; what it left on the answer names the trace.
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.HeaderCarrier(w.Header()))
	if !trace.SpanContextFromContext(ctx).IsValid() {
		ctx = w.traceRefusal(status)
	}
	problem.Write(ctx, w.ResponseWriter, problem.New(status, detail(status)))
}

// allowed completes the methods that a route was made for by those that every address takes.
func allowed(methods string) string {
	all := append(strings.Split(methods, ", "), http.MethodOptions)
	if slices.Contains(all, http.MethodGet) {
		all = append(all, http.MethodHead)
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ", ")
}

// traceRefusal makes the span of a request that go-zero's router refused before any span was made (405), so that every
// answer carries a traceparent. Like that of an unknown address, its name says nothing that the caller chose.
func (w *problemWriter) traceRefusal(status int) context.Context {
	ctx := propagation.TraceContext{}.Extract(w.request.Context(), propagation.HeaderCarrier(w.request.Header))
	ctx, span := otel.Tracer(tracerName).Start(ctx, "not allowed", trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(semconv.HTTPResponseStatusCode(status)))
	defer span.End()
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(w.Header()))
	return ctx
}

// Write writes the body, unless the answer was replaced.
func (w *problemWriter) Write(body []byte) (int, error) {
	if !w.wroteHeader {
		w.WriteHeader(http.StatusOK)
	}
	if w.replaced {
		return len(body), nil
	}
	return w.ResponseWriter.Write(body)
}

// Flush sends what was written so far.
func (w *problemWriter) Flush() {
	// A writer that cannot flush has nothing to tell its caller.
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

func detail(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "The request could not be read."
	case http.StatusNotFound:
		return "There is nothing at this address."
	case http.StatusMethodNotAllowed:
		return "This address does not take that method; Allow names those it does."
	case http.StatusRequestTimeout:
		return "The body did not arrive in time."
	case http.StatusRequestEntityTooLarge:
		return "The body is larger than this server takes."
	case http.StatusServiceUnavailable:
		return "The server has too much to do or did not finish in time; try again later."
	case http.StatusInternalServerError:
		return "Something went wrong on our side."
	default:
		return "The request was not taken."
	}
}

// NotFound answers for addresses where there is nothing.
func NotFound(w http.ResponseWriter, r *http.Request) {
	problem.Write(r.Context(), w, problem.New(http.StatusNotFound, detail(http.StatusNotFound)))
}
