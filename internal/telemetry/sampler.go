package telemetry

import (
	"sync/atomic"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// sampler delegates to one that can be exchanged while spans are made.
type sampler struct {
	ignoresRemote bool // the flag of a parent elsewhere does not count
	current       atomic.Pointer[sdktrace.Sampler]
}

var _ sdktrace.Sampler = (*sampler)(nil)

func (s *sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	return (*s.current.Load()).ShouldSample(p)
}

func (s *sampler) Description() string { return (*s.current.Load()).Description() }

// set makes the sampler follow a configuration: a trace that begins here is
// sampled by the ratio, a span with a parent as its parent is. One that ignores
// remote parents' flags applies the ratio to the ids of their traces too.
func (s *sampler) set(c Config) {
	ratio := sdktrace.TraceIDRatioBased(c.Sampler)
	var opts []sdktrace.ParentBasedSamplerOption
	if s.ignoresRemote {
		opts = append(opts, sdktrace.WithRemoteParentSampled(ratio), sdktrace.WithRemoteParentNotSampled(ratio))
	}
	next := sdktrace.ParentBased(ratio, opts...)
	if c.Disabled {
		next = sdktrace.NeverSample()
	}
	s.current.Store(&next)
}
