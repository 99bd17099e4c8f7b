package telemetry

import (
	"sync/atomic"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// sampler delegates to one that can be exchanged while spans are made.
type sampler struct {
	ignoresRemote bool // the flag of a parent elsewhere does not count
	current       atomic.Pointer[sdktrace.Sampler]
	traces        traces
}

// traces is what has happened to traces here since the process started, recorded or
// not. Each is set once, so that those who make spans only read.
type traces struct {
	began     atomic.Bool // the ratio has decided about one
	continued atomic.Bool // what a parent elsewhere had decided was followed
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
	ratio := noting{sdktrace.TraceIDRatioBased(c.Sampler), &s.traces.began}
	var sampled, notSampled sdktrace.Sampler = ratio, ratio
	if !s.ignoresRemote {
		sampled = noting{sdktrace.AlwaysSample(), &s.traces.continued}
		notSampled = noting{sdktrace.NeverSample(), &s.traces.continued}
	}
	next := sdktrace.ParentBased(ratio, sdktrace.WithRemoteParentSampled(sampled), sdktrace.WithRemoteParentNotSampled(notSampled))
	if c.Disabled {
		next = sdktrace.NeverSample()
	}
	s.current.Store(&next)
}

// noting is a sampler that notes its first use.
type noting struct {
	sdktrace.Sampler
	used *atomic.Bool
}

func (n noting) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	if !n.used.Load() {
		n.used.Store(true)
	}
	return n.Sampler.ShouldSample(p)
}
