package sink_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/hack/bench/sink"
)

func MustListen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestServe sends spans of two scopes with OpenTelemetry's exporter and asks how many have come.
func TestServe(t *testing.T) {
	spans, counts := MustListen(t), MustListen(t)
	ended := make(chan error, 1)
	go func() { ended <- sink.Serve(spans, counts) }()
	exporter, err := otlptracegrpc.New(t.Context(), otlptracegrpc.WithEndpoint(spans.Addr().String()), otlptracegrpc.WithInsecure())
	if err != nil {
		t.Fatal(err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter))
	for _, scope := range []string{"a", "b"} {
		for range 600 {
			_, span := provider.Tracer(scope).Start(t.Context(), "name", trace.WithAttributes(attribute.String("k", "v")))
			span.End()
		}
	}
	if err := provider.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	res, err := http.Get("http://" + counts.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil || strings.TrimSpace(string(body)) != "1200" {
		t.Errorf("%v, counted %q, want 1200", err, body)
	}
	_ = counts.Close()
	if err := <-ended; err == nil {
		t.Error("Serve ended without an error")
	}
}
