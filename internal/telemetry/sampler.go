package telemetry

import (
	"sync/atomic"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// sampler delegates to one that can be exchanged while spans are made.
type sampler struct {
	current atomic.Pointer[sdktrace.Sampler]
}

var _ sdktrace.Sampler = (*sampler)(nil)

func (s *sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	return (*s.current.Load()).ShouldSample(p)
}

func (s *sampler) Description() string { return (*s.current.Load()).Description() }

// set makes the sampler follow a configuration: a trace that begins here is
// sampled by the ratio, a span with a parent as its parent is.
func (s *sampler) set(c Config) {
	next := sdktrace.ParentBased(sdktrace.TraceIDRatioBased(c.Sampler))
	if c.Disabled {
		next = sdktrace.NeverSample()
	}
	s.current.Store(&next)
}
