package telemetry

import (
	"context"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/tracequery"
	"github.com/linktrail/linktrail/internal/tracequery/tracetest"
)

func TestJaeger(t *testing.T) {
	jaeger := testenv.Jaeger(t)
	reader := tracequery.Jaeger(jaeger.Query)
	configs := map[string]Config{
		BatcherOTLPGRPC: {Name: "url-api", Batcher: BatcherOTLPGRPC, Endpoint: jaeger.OTLPGRPC, Sampler: 1},
		BatcherOTLPHTTP: {Name: "url-api", Batcher: BatcherOTLPHTTP, Endpoint: jaeger.OTLPHTTP, Sampler: 1},
	}
	// click makes two spans and returns the id of their trace.
	click := func(p *Provider) string {
		tracer := p.TracerProvider().Tracer("test")
		ctx, server := tracer.Start(context.Background(), "GET /{code}", trace.WithSpanKind(trace.SpanKindServer),
			trace.WithAttributes(attribute.Int("http.response.status_code", 302)))
		_, send := tracer.Start(ctx, "send click-events", trace.WithSpanKind(trace.SpanKindProducer))
		send.End()
		server.End()
		return server.SpanContext().TraceID().String()
	}
	want := []tracetest.Expect{
		{Service: "url-api", Name: "GET /{code}", Kind: tracequery.KindServer, Times: 1, Attributes: map[string]any{"http.response.status_code": 302}},
		{Service: "url-api", Name: "send click-events", Kind: tracequery.KindProducer, Parent: "GET /{code}", Times: 1},
	}

	for name, cfg := range configs {
		t.Run(name, func(t *testing.T) {
			p, err := newProvider(cfg)
			if err != nil {
				t.Fatal(err)
			}
			id := click(p)
			if err := p.Shutdown(within(t, time.Minute)); err != nil {
				t.Fatal(err)
			}
			tracetest.WaitFor(t, reader, id, 20*time.Second, want...)
		})
	}
	t.Run("swap from one to the other", func(t *testing.T) {
		p, err := newProvider(configs[BatcherOTLPGRPC])
		if err != nil {
			t.Fatal(err)
		}
		ids := []string{click(p)}
		for _, batcher := range []string{BatcherOTLPHTTP, BatcherOTLPGRPC, BatcherOTLPHTTP} {
			if err := p.swap(inForce{cfg: configs[batcher]}); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, click(p))
		}
		if err := p.Shutdown(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			tracetest.WaitFor(t, reader, id, 20*time.Second, want...)
		}
	})
	t.Run("fixing a wrong endpoint", func(t *testing.T) {
		wrong := configs[BatcherOTLPGRPC]
		wrong.Endpoint = "127.0.0.1:1"
		p, err := newProvider(wrong)
		if err != nil {
			t.Fatal(err)
		}
		id := click(p)
		if err := p.swap(inForce{cfg: configs[BatcherOTLPGRPC]}); err != nil {
			t.Fatal(err)
		}
		if err := p.Shutdown(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
		tracetest.WaitFor(t, reader, id, 20*time.Second, want...)
	})
}
