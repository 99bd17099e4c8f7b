package telemetry

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zeromicro/go-zero/rest/handler"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"

	"github.com/linktrail/linktrail/internal/buildinfo"
)

// MustStart starts a provider as the global one for the length of a test.
func MustStart(t *testing.T, cfg Config) *Provider {
	t.Helper()
	provider, propagator, errorHandler := otel.GetTracerProvider(), otel.GetTextMapPropagator(), otel.GetErrorHandler()
	p, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Shutdown(expired())
		otel.SetTracerProvider(provider)
		otel.SetTextMapPropagator(propagator)
		otel.SetErrorHandler(errorHandler)
	})
	return p
}

// go-zero's own packages set a propagator when they are imported and take their
// tracers from the global provider.
func TestStartBesideGoZero(t *testing.T) {
	p := MustStart(t, Default())
	out := newMemory()
	p.processor.current.Store(p.pipelineTo(out))

	if fields := otel.GetTextMapPropagator().Fields(); slices.Contains(fields, "baggage") || !slices.Contains(fields, "traceparent") {
		t.Errorf("the propagator carries %q, want trace context alone", fields)
	}
	traced := handler.TraceHandler("url-api", "/api/v1/links")(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	answer := httptest.NewRecorder()
	traced.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/api/v1/links", nil))
	if answer.Header().Get("traceparent") == "" {
		t.Error("go-zero's handler answers without traceparent")
	}
	if err := p.ForceFlush(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	if out.count() != 1 {
		t.Errorf("%d spans of go-zero's handler arrived, want 1", out.count())
	}
}

func TestStartRefuses(t *testing.T) {
	before := otel.GetTracerProvider()
	_, err := Start(Config{Batcher: "jaeger", Sampler: 1})
	if err == nil || !strings.Contains(err.Error(), `Telemetry.Batcher: "jaeger"`) {
		t.Errorf("got %v", err)
	}
	if otel.GetTracerProvider() != before {
		t.Error("the global provider was replaced all the same")
	}
}

func TestWithoutEndpoint(t *testing.T) {
	p := MustStart(t, Default())
	ctx, span := otel.Tracer("test").Start(context.Background(), "x")
	carrier := propagation.MapCarrier{}
	otel.GetTextMapPropagator().Inject(ctx, carrier)
	span.End()
	if carrier["traceparent"] == "" {
		t.Error("no traceparent without an endpoint")
	}
	if err := p.Shutdown(within(t, time.Second)); err != nil || dropped(p) != 0 {
		t.Errorf("Shutdown: %v, %d dropped; want nothing of either", err, dropped(p))
	}
}

func TestResource(t *testing.T) {
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=pod-1,deployment.environment.name=test,service.name=wrong")
	set := newResource("url-api").Set()
	for key, want := range map[attribute.Key]string{
		"service.name":                "url-api",
		"service.version":             buildinfo.Read().Version,
		"service.instance.id":         "pod-1",
		"deployment.environment.name": "test",
		"telemetry.sdk.language":      "go",
	} {
		if got, _ := set.Value(key); got.AsString() != want {
			t.Errorf("%s is %q, want %q", key, got.AsString(), want)
		}
	}
	for _, key := range []attribute.Key{"host.name", "process.pid", "telemetry.sdk.version"} {
		if !set.HasValue(key) {
			t.Errorf("no %s", key)
		}
	}
}

func TestErrorLog(t *testing.T) {
	now := time.Unix(1000, 0)
	type line struct {
		text    string
		leftOut int
	}
	var lines []line
	log := &errorLog{interval: time.Minute, now: func() time.Time { return now }, log: func(err error, leftOut int) {
		lines = append(lines, line{err.Error(), leftOut})
	}}
	for range 10 {
		log.Handle(errors.New("away"))
		now = now.Add(time.Second)
	}
	now = now.Add(time.Minute)
	log.Handle(errors.New("still away"))
	log.Handle(nil)
	if want := []line{{"away", 0}, {"still away", 9}}; !slices.Equal(lines, want) {
		t.Errorf("logged %v, want %v", lines, want)
	}
}
