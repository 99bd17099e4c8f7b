// Package driver makes the ends of the click stream with the driver that the configuration names.
package driver

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/journal"
	"github.com/linktrail/linktrail/internal/clickstream/kgo"
	"github.com/linktrail/linktrail/internal/clickstream/kq"
)

// Options are what does not come from a file. Every field may be left out.
type Options struct {
	// Registerer takes the metrics; nil keeps them unseen.
	Registerer prometheus.Registerer
	// TracerProvider makes the spans; nil is OpenTelemetry's global one.
	TracerProvider trace.TracerProvider
	// Journal keeps a publisher's clicks until Kafka has them; without a folder there is none.
	Journal journal.Config
}

// Publisher makes a Publisher. It waits for no broker; its error is that of a value, a file or a metric.
func Publisher(c clickstream.Config, o Options) (clickstream.Publisher, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	shipper, err := newShipper(c, o)
	if err != nil || o.Journal.Dir == "" {
		return shipper, err
	}
	p, err := journal.NewPublisher(o.Journal, shipper, o.Registerer)
	if err != nil {
		_ = shipper.Close(context.Background()) // it has taken nothing
		return nil, err
	}
	return p, nil
}

func newShipper(c clickstream.Config, o Options) (clickstream.Shipper, error) {
	if c.Driver == clickstream.DriverKq {
		return kq.NewPublisher(c, kq.Options{Registerer: o.Registerer, TracerProvider: o.TracerProvider})
	}
	return kgo.NewPublisher(c, kgo.Options{Registerer: o.Registerer, TracerProvider: o.TracerProvider})
}

// Consumer makes a Consumer, whose Run must be called. drain is how long the batch in hand may take once Run's context
// has ended. It waits for no broker.
func Consumer(c clickstream.Config, drain time.Duration, o Options) (clickstream.Consumer, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Driver == clickstream.DriverKq {
		return kq.NewConsumer(c, drain, kq.Options{Registerer: o.Registerer, TracerProvider: o.TracerProvider})
	}
	return kgo.NewConsumer(c, drain, kgo.Options{Registerer: o.Registerer, TracerProvider: o.TracerProvider})
}

// DeadLetterWriter writes records that can never be handled to the topic Config.Topic + clickstream.DeadLetterSuffix.
// Safe for concurrent use.
type DeadLetterWriter interface {
	// Send returns nil when the record is acknowledged. It tries until ctx ends; the record may then be written all the
	// same.
	Send(ctx context.Context, r clickstream.Record, reason string) error
	// Close waits for what Send left behind, until ctx ends.
	Close(ctx context.Context) error
}

// DeadLetters makes a DeadLetterWriter. Whatever the driver, it is franz-go that writes: a dead letter is only safe once
// it is acknowledged, which kq cannot tell.
func DeadLetters(c clickstream.Config) (DeadLetterWriter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return kgo.NewDeadLetters(c, kgo.Options{})
}

// MakeTopics makes the topic of clicks and that of dead letters where they do not exist. Each progress is told what was
// done, and when a topic has another number of partitions than wanted; it then stays as it is. replication -1 is the
// brokers' default.
func MakeTopics(ctx context.Context, c clickstream.Config, partitions, replication int, progress ...func(string)) error {
	if err := c.Validate(); err != nil {
		return err
	}
	return kgo.MakeTopics(ctx, c, partitions, replication, func(line string) {
		for _, tell := range progress {
			tell(line)
		}
	})
}
