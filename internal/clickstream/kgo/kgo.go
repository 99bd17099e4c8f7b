// Package kgo is the default driver of the click stream, on franz-go: acknowledgements of all in-sync replicas, an
// idempotent producer, TLS, SASL, and offsets that are committed only after their records were handled.
package kgo

import (
	"cmp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	franz "github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/internal/clickstream"
)

// DefaultClientID is who we are in the brokers' logs and quotas.
const DefaultClientID = "linktrail"

// Options are what does not come from a file. Every field may be left out.
type Options struct {
	// Registerer takes the metrics; nil keeps them unseen.
	Registerer prometheus.Registerer
	// TracerProvider makes the spans; nil is OpenTelemetry's global one.
	TracerProvider trace.TracerProvider
	// ClientID replaces DefaultClientID.
	ClientID string
	// SessionTimeout replaces that of the configuration.
	SessionTimeout time.Duration
}

func (o Options) clientID() string {
	if o.ClientID == "" {
		return DefaultClientID
	}
	return o.ClientID
}

// sessionTimeout is after how long without heartbeats a consumer's partitions go to others.
func (o Options) sessionTimeout(c clickstream.Config) time.Duration {
	return cmp.Or(o.SessionTimeout, c.SessionTimeout, 45*time.Second)
}

// Dial makes a client that reaches the brokers as the configuration says. It waits for no broker; its error is that of
// a file or a value.
func Dial(c clickstream.Config, clientID string, options ...franz.Opt) (*franz.Client, error) {
	security, err := security(c)
	if err != nil {
		return nil, err
	}
	all := []franz.Opt{
		franz.SeedBrokers(c.Brokers...),
		franz.ClientID(clientID),
		franz.WithLogger(newLogger()),
		// How long after an outage the brokers are asked again, at most.
		franz.MetadataMinAge(time.Second),
		// Its last push at the end would take its time from a drain.
		franz.DisableClientMetrics(),
	}
	all = append(all, security...)
	return franz.NewClient(append(all, options...)...)
}
