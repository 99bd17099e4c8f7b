// Package kq is the driver of the click stream on go-queue's kq, which is what a go-zero team has today. Its topic,
// values and headers are those of package kgo. It promises less, which streamtest shows: its pusher asks for no
// acknowledgement and drops what it cannot write, and knows neither TLS nor SASL.
//
// kq carries trace context through OpenTelemetry's global propagator, which internal/telemetry installs, and logs
// through logx.
package kq

import (
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
)

// Options are what does not come from a file. Every field may be left out.
type Options struct {
	// Registerer takes the metrics; nil keeps them unseen.
	Registerer prometheus.Registerer
	// TracerProvider makes the spans; nil is OpenTelemetry's global one.
	TracerProvider trace.TracerProvider
}
