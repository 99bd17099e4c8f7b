package telemetry

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/trace"
)

// What a process says of traces, by which the effect of a ratio can be told, outlives
// a swap.
func TestTracesBeganAndContinued(t *testing.T) {
	elsewhere := trace.ContextWithRemoteSpanContext(context.Background(),
		trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, Remote: true}))
	for name, tc := range map[string]struct {
		opts             []Option
		parent           context.Context
		began, continued bool
	}{
		"a trace that begins":              {nil, context.Background(), true, false},
		"a trace from elsewhere":           {nil, elsewhere, false, true},
		"a trace from elsewhere, by ratio": {[]Option{IgnoreRemoteFlags()}, elsewhere, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			for kind, provider := range map[string]func(*Provider) trace.TracerProvider{
				"SDK": (*Provider).TracerProvider, "light": (*Provider).Light,
			} {
				p := MustProvider(t, nil, tc.opts...)
				if s := p.Status(); s.Began || s.Continued {
					t.Errorf("%s: at the start %+v", kind, s)
				}
				tracer := provider(p).Tracer("test")
				ctx, span := tracer.Start(tc.parent, "server")
				_, child := tracer.Start(ctx, "child")
				child.End()
				span.End()
				cfg := Default()
				cfg.Sampler = 0
				must(t, p.swap(inForce{cfg: cfg}))
				if s := p.Status(); s.Began != tc.began || s.Continued != tc.continued {
					t.Errorf("%s: began %t, continued %t, want %t, %t", kind, s.Began, s.Continued, tc.began, tc.continued)
				}
			}
		})
	}
}
