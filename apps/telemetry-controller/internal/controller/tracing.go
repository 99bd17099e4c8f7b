package controller

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

const tracerName = "github.com/linktrail/linktrail/apps/telemetry-controller/internal/controller"

// traced makes a span of each run of a reconciler that writes something or fails. Most do neither, and make none.
type traced struct {
	reconcile.Reconciler
	what string
}

func (t traced) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	run := &run{what: t.what, request: req, begin: time.Now(), ctx: ctx}
	result, err := t.Reconciler.Reconcile(context.WithValue(ctx, runKey{}, run), req)
	run.end(err)
	return result, err
}

// run is one of a reconciler. Its span begins, with hindsight, at its first write.
type run struct {
	what    string
	request ctrl.Request
	begin   time.Time
	ctx     context.Context

	mu     sync.Mutex
	span   trace.Span // nil before
	writes int
}

type runKey struct{}

// start is called with mu held.
func (r *run) start() {
	if r.span == nil {
		_, r.span = otel.Tracer(tracerName).Start(r.ctx, "reconcile "+r.what, trace.WithTimestamp(r.begin), trace.WithAttributes(
			semconv.K8SNamespaceName(r.request.Namespace), attribute.String("linktrail.object.name", r.request.Name)))
	}
}

// write returns the context in which to write.
func (r *run) write(ctx context.Context) context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.start()
	r.writes++
	return trace.ContextWithSpan(ctx, r.span)
}

func (r *run) end(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.span == nil && err == nil {
		return
	}
	r.start()
	r.span.SetAttributes(attribute.Int("linktrail.writes", r.writes))
	if err != nil {
		r.span.RecordError(err)
		r.span.SetStatus(codes.Error, err.Error())
	}
	r.span.End()
}

// TraceWrites makes a span of what reconcilers write to the API server, and of nothing else. It is for rest.Config.Wrap.
func TraceWrites(next http.RoundTripper) http.RoundTripper {
	traces := otelhttp.NewTransport(next, otelhttp.WithSpanNameFormatter(func(_ string, req *http.Request) string {
		return req.Method + " " + resourceOf(req.URL.Path)
	}))
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		run, ok := req.Context().Value(runKey{}).(*run)
		if !ok || req.Method == http.MethodGet {
			return next.RoundTrip(req)
		}
		return traces.RoundTrip(req.WithContext(run.write(req.Context())))
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// resourceOf returns the resource of an API path, such as configmaps or telemetries/status.
func resourceOf(path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	namespaces := slices.Index(parts, "namespaces")
	if namespaces < 0 || len(parts) <= namespaces+2 {
		return path
	}
	resource := parts[namespaces+2]
	if len(parts) > namespaces+4 {
		resource += "/" + parts[namespaces+4]
	}
	return resource
}
