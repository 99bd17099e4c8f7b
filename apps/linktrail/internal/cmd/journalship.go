package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"github.com/zeromicro/go-zero/core/conf"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/driver"
	"github.com/linktrail/linktrail/internal/clickstream/journal"
	"github.com/linktrail/linktrail/internal/clickstream/kgo"
	"github.com/linktrail/linktrail/internal/telemetry"
)

const (
	// reachDeadline is how long the brokers may take to answer at all.
	reachDeadline = 15 * time.Second
	// closeDeadline is how long what is on its way may take once there is no time left.
	closeDeadline = 5 * time.Second
	// shipLook is how often it is looked how far shipping is, shipTell how often that is told.
	shipLook = 50 * time.Millisecond
	shipTell = 2 * time.Second
)

// shipment is what `linktrail journal ship` was told.
type shipment struct {
	dir, config, kafka, topic string
	timeout                   time.Duration
}

// shipped is what became of a journal.
type shipped struct {
	Dir string `json:"dir"`
	// Found clicks waited; Sent ones are acknowledged, Refused ones the brokers do not take, Left ones wait on.
	Found   int `json:"found"`
	Sent    int `json:"sent"`
	Refused int `json:"refused"`
	Left    int `json:"left"`
	Damaged int `json:"damaged"`
}

func (a *app) journalShipCommand() *cobra.Command {
	var s shipment
	c := &cobra.Command{
		Use:   "ship DIR",
		Short: "Send the clicks of a journal that no url-api will open again",
		Long: `Send the clicks that wait in a journal to Kafka, with acknowledgements of all replicas in sync, and remove what is sent: a
url-api that opens the journal does the same. Clicks that were sent before are recognised by their ids and counted once. With
--config, the spans of what is sent go where that file says. franz-go sends, whatever ClickStream.Driver is.`,
		Example: `  linktrail journal ship /mnt/orphan/journal --config url-api.yaml
  linktrail journal ship ./data/journal --kafka broker-1:9092 --timeout 10m`,
		Args: oneArg("folder"),
		RunE: func(c *cobra.Command, args []string) error {
			s.dir = args[0]
			return a.shipJournal(c.Context(), s)
		},
	}
	flags := c.Flags()
	flags.StringVar(&s.config, "config", "", "url-api's YAML, whose ClickStream and Telemetry to use")
	flags.StringVar(&s.kafka, "kafka", "", "host:port of Kafka brokers, with commas between")
	flags.StringVar(&s.topic, "topic", "", "the topic of clicks (default "+clickstream.DefaultTopic+")")
	flags.DurationVar(&s.timeout, "timeout", 0, "how long it may take; 0 is as long as it takes")
	c.ValidArgsFunction = folders
	return c
}

// read returns where to send, and the folder of the telemetry overlay.
func (s shipment) read() (stream clickstream.Config, overlay string, err error) {
	var file struct {
		ClickStream      clickstream.Config `json:",optional"`
		TelemetryOverlay string             `json:",optional"`
	}
	if s.timeout < 0 {
		return stream, "", usagef("--timeout: %v is negative; it is a duration such as 10m", s.timeout)
	}
	if s.config != "" {
		if err := conf.Load(s.config, &file, conf.UseEnv()); err != nil {
			return stream, "", usagef("%s: %w", s.config, err)
		}
	}
	stream = file.ClickStream
	if s.kafka != "" {
		stream.Brokers = nil
		for broker := range strings.SplitSeq(s.kafka, ",") {
			stream.Brokers = append(stream.Brokers, strings.TrimSpace(broker))
		}
	}
	if len(stream.Brokers) == 0 {
		return stream, "", usagef("say where to send: --kafka host:port, or --config with a ClickStream")
	}
	if s.topic != "" {
		stream.Topic = s.topic
	}
	stream.Driver = clickstream.DriverKgo // kq cannot tell what has arrived, and nothing may be removed that has not
	stream = stream.WithDefaults()
	if err := stream.Validate(); err != nil {
		return stream, "", usageError{err}
	}
	return stream, file.TelemetryOverlay, nil
}

func (a *app) shipJournal(ctx context.Context, s shipment) error {
	stream, overlay, err := s.read()
	if err != nil {
		return err
	}
	state, err := journal.Inspect(s.dir, nil)
	if err != nil {
		return noJournal(s.dir, err)
	}
	result := shipped{Dir: s.dir, Found: state.Waiting(), Damaged: state.Damaged()}
	if state.Open {
		return fmt.Errorf("%s: %w; stop it, or let it send", s.dir, journal.ErrOpen)
	}
	if result.Found > 0 {
		if err := reach(ctx, stream); err != nil {
			return err
		}
		spans, flush, err := s.telemetry(overlay)
		if err != nil {
			return err
		}
		if err := errors.Join(a.ship(ctx, s, stream, spans, &result), flush()); err != nil {
			return err
		}
	}
	if err := a.print(result, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%d of %d clicks sent; nothing is left in %s\n", result.Sent, result.Found, s.dir)
		return err
	}); err != nil {
		return err
	}
	switch {
	case result.Refused > 0:
		return fmt.Errorf("the brokers have refused %d clicks for good", result.Refused)
	case result.Damaged > 0:
		return fmt.Errorf("%w in %d places; what was there is lost", errDamaged, result.Damaged)
	}
	return nil
}

// telemetry starts what sends spans, where the configuration says so.
func (s shipment) telemetry(overlay string) (spans trace.TracerProvider, flush func() error, err error) {
	if s.config == "" {
		return noop.NewTracerProvider(), func() error { return nil }, nil
	}
	c, err := telemetry.Load(s.config, telemetry.UseEnv())
	if err != nil {
		return nil, nil, usageError{err}
	}
	provider, err := telemetry.Start(c, telemetry.WithOverlay(overlay))
	if err != nil {
		return nil, nil, err
	}
	return provider.Light(), func() error {
		ctx, cancel := context.WithTimeout(context.Background(), closeDeadline)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			return fmt.Errorf("spans were lost: %w", err)
		}
		return nil
	}, nil
}

// reach returns an error when no broker answers, which the publisher would wait for.
func reach(ctx context.Context, stream clickstream.Config) error {
	client, err := kgo.Dial(stream, kgo.DefaultClientID)
	if err != nil {
		return err
	}
	defer client.Close()
	bounded, cancel := context.WithTimeout(ctx, reachDeadline)
	defer cancel()
	if err := client.Ping(bounded); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &unreached{fmt.Errorf("Kafka at %s: %w; `linktrail doctor --kafka %[1]s` says more", strings.Join(stream.Brokers, ","), err)}
	}
	return nil
}

// unreached is the error of brokers that do not answer, or do not take all in time.
type unreached struct{ error }

func (e *unreached) Unwrap() error { return e.error }

// ship sends all that waits, or what it can until time is up.
func (a *app) ship(ctx context.Context, s shipment, stream clickstream.Config, spans trace.TracerProvider, result *shipped) error {
	registry := prometheus.NewRegistry()
	p, err := driver.Publisher(stream, driver.Options{Registerer: registry, TracerProvider: spans, Journal: journal.Config{Dir: s.dir}})
	if err != nil {
		return err
	}
	publisher := p.(*journal.Publisher)
	var late <-chan time.Time
	if s.timeout > 0 {
		late = time.After(s.timeout)
	}
	told := time.Now()
	tick := time.NewTicker(shipLook)
	defer tick.Stop()
	for more := true; more && publisher.Waiting() > 0; {
		select {
		case <-tick.C:
			if time.Since(told) >= shipTell {
				told = time.Now()
				_, _ = fmt.Fprintf(a.err, "%d of %d clicks sent\n", max(0, result.Found-int(publisher.Waiting())), result.Found)
			}
		case <-late:
			more = false
		case <-ctx.Done():
			more = false
		}
	}
	done := publisher.Waiting() == 0
	ending, cancel := context.WithTimeout(context.Background(), closeDeadline)
	if !done {
		cancel() // what is on its way is not waited for: it stays in the journal
	}
	defer cancel()
	err = publisher.Close(ending)
	result.Sent, result.Refused = counted(registry, "linktrail_clicks_published_total"), counted(registry, "linktrail_clicks_dropped_total")
	if left, ok := errors.AsType[*journal.LeftError](err); ok {
		result.Left = int(left.Clicks)
		if err := ctx.Err(); err != nil {
			_, _ = fmt.Fprintf(a.err, "%d of %d clicks sent; %v\n", result.Sent, result.Found, left)
			return err
		}
		return &unreached{fmt.Errorf("after %v %d of %d clicks are sent: %w", s.timeout, result.Sent, result.Found, left)}
	}
	return err
}

// counted adds up a counter's values.
func counted(registry *prometheus.Registry, name string) int {
	families, _ := registry.Gather()
	var sum float64
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			sum += m.GetCounter().GetValue()
		}
	}
	return int(sum)
}
