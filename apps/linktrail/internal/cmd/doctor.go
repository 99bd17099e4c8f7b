package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/redis/go-redis/v9/logging"
	"github.com/spf13/cobra"

	"github.com/linktrail/linktrail/apps/linktrail/internal/doctor"
	"github.com/linktrail/linktrail/apps/linktrail/internal/up"
	"github.com/linktrail/linktrail/internal/store"
)

// doctorFlags say what to look at.
type doctorFlags struct {
	files                      []string
	store, redis, kafka, topic string
	otlp, jaeger               string
	timeout                    time.Duration
	json                       bool
}

func (a *app) doctorCommand() *cobra.Command {
	var f doctorFlags
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Find out which server cannot be reached, refuses us, or lacks something, and what to type",
		Long: `Look at the store, Redis, Kafka, the collector of spans and Jaeger: whether each can be reached from here, lets us in, and
has what linktrail needs. What is wrong is told with what to type.

Which servers these are is read from the services' YAML that --config names, as the services read it; without --config,
from what the "linktrail up" of --data wrote, and then what runs there is looked at too. A flag such as --redis names one
server instead; when there are only such flags, nothing else is looked at. TLS and SASL are configured in YAML alone, but for
rediss:// and https:// addresses.

Nothing is changed: a key in Redis goes by itself after a second, and the collector gets an empty batch of spans.

Exit codes: 0 when all is well, 1 when something is wrong, 2 when there is nothing to look at or a flag is wrong.`,
		Example: `  linktrail doctor
  linktrail doctor --config etc/url-api.yaml --config etc/analytics-consumer.yaml
  linktrail doctor --kafka broker-1:9092,broker-2:9092 --topic click-events
  linktrail doctor --store postgres://linktrail:secret@localhost:5432/linktrail --timeout 2s
  linktrail doctor --json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := exclusive(c, "kafka", "brokers"); err != nil {
				return err
			}
			return a.doctor(c.Context(), f)
		},
	}
	flags := c.Flags()
	flags.StringArrayVar(&f.files, "config", nil, "a service's YAML; may be given several times")
	flags.StringVar(&f.store, "store", "", "look at this store: postgres://… or sqlite:PATH")
	flags.StringVar(&f.redis, "redis", "", "look at this Redis: host:port, or redis[s]://user:password@host:port/db")
	flags.StringVar(&f.kafka, "kafka", "", "look at this Kafka: host:port of brokers, with commas between")
	flags.StringVar(&f.topic, "topic", "", "the topic of clicks that --kafka must have (default click-events)")
	flags.StringVar(&f.otlp, "otlp", "", "look at this collector: host:port of OTLP/gRPC, or an http(s) URL of OTLP/HTTP")
	flags.StringVar(&f.jaeger, "jaeger", "", "look at this Jaeger: URL of its query service")
	flags.DurationVar(&f.timeout, "timeout", 5*time.Second, "how long each server may take")
	flags.BoolVar(&f.json, "json", false, "the same as --output json")
	flags.StringVar(&f.kafka, "brokers", "", "the same as --kafka")
	_ = flags.MarkHidden("brokers")
	return c
}

// errUnwell is told by the exit code; the report has said what is wrong.
type errUnwell struct{ failed, all int }

func (e errUnwell) Error() string {
	return fmt.Sprintf("%d of %d checks found something wrong", e.failed, e.all)
}

func (a *app) doctor(ctx context.Context, f doctorFlags) error {
	if f.timeout <= 0 {
		return usagef("--timeout %v is not a positive duration, such as 5s", f.timeout)
	}
	if f.json {
		a.output = "json"
	}
	logging.Disable() // go-redis tells of each attempt on stderr
	system, err := a.system(f)
	if err != nil {
		return err
	}
	plan := system.Plan()
	if plan.Empty() {
		return usagef("there is nothing to look at: name a service's YAML with --config, a server such as with --redis, or the folder of `linktrail up` with --data (%s has none)", a.data)
	}
	report := plan.Run(ctx, f.timeout)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := a.print(report, func(w io.Writer) error { return doctorTable(w, report) }); err != nil {
		return err
	}
	if !report.OK {
		return errUnwell{report.Failed(), len(report.Checks)}
	}
	return nil
}

// system is what flags, files or a folder name.
func (a *app) system(f doctorFlags) (doctor.System, error) {
	var s doctor.System
	if err := f.named(&s); err != nil {
		return s, err
	}
	named := s.Store != nil || s.Redis != nil || s.Kafka != nil || s.Telemetry != nil || s.Jaeger != nil
	for _, file := range f.files {
		service, err := doctor.ReadService(file)
		if err != nil {
			return s, usageError{err}
		}
		s.Services = append(s.Services, service)
	}
	if named || len(f.files) > 0 {
		return s, nil
	}
	var err error
	if s.Services, err = doctor.ReadServices(a.data); err != nil {
		return s, err
	}
	run, err := up.ReadRunFile(a.data)
	switch {
	case err == nil:
		s.Run = &doctor.Run{Data: a.data, File: &run}
		if run.Jaeger != "" {
			s.Jaeger = &run.Jaeger
		}
	case !errors.Is(err, up.ErrNotRunning):
		return s, err
	case len(s.Services) > 0:
		s.Run = &doctor.Run{Data: a.data}
	}
	return s, nil
}

// named fills in the servers that flags name.
func (f doctorFlags) named(s *doctor.System) error {
	if f.store != "" {
		s.Store = &store.Config{DSN: f.store}
		if err := s.Store.Check(); err != nil {
			return usagef("--store: %s", strings.TrimPrefix(err.Error(), "Store."))
		}
	}
	if f.redis != "" {
		c, err := up.RedisOf(f.redis)
		if err != nil {
			return err
		}
		s.Redis = &c
	}
	if f.kafka != "" {
		c, err := up.BrokersOf(f.kafka)
		if err != nil {
			return err
		}
		if f.topic != "" {
			c.Topic = f.topic
		}
		if err := c.Validate(); err != nil {
			return usageError{err}
		}
		s.Kafka = &c
	} else if f.topic != "" {
		return usagef("--topic goes with --kafka; a service's YAML has ClickStream.Topic")
	}
	if f.otlp != "" {
		c, err := up.ExporterOf(f.otlp)
		if err != nil {
			return err
		}
		s.Telemetry = &c
	}
	if f.jaeger != "" {
		s.Jaeger = &f.jaeger
	}
	return nil
}

// doctorTable draws a report: a line a check, and below it what is wrong and what to type.
func doctorTable(w io.Writer, r doctor.Report) error {
	var status, name int
	for _, f := range r.Checks {
		status, name = max(status, len(shownStatus(f.Status))), max(name, len(f.Check))
	}
	indent := strings.Repeat(" ", status+2+name+2)
	for _, f := range r.Checks {
		line := fmt.Sprintf("%-*s  %-*s  %s", status, shownStatus(f.Status), name, f.Check, printable(f.Target))
		if f.Status == doctor.OK && f.Detail != "" {
			line += " — " + printable(f.Detail)
		}
		if len(f.Services) > 0 && len(f.Services) < 3 {
			line += " (" + printable(strings.Join(f.Services, ", ")) + ")"
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " ")); err != nil {
			return err
		}
		for i, p := range f.Problems {
			_, _ = fmt.Fprintln(w, indent+printable(p.Detail))
			if again := i+1 < len(f.Problems) && f.Problems[i+1].Try == p.Try; p.Try != "" && !again {
				_, _ = fmt.Fprintln(w, indent+"try: "+printable(p.Try))
			}
		}
	}
	for _, note := range r.Notes {
		_, _ = fmt.Fprintln(w, "note: "+printable(note))
	}
	return nil
}

// shownStatus has what is wrong stand out.
func shownStatus(s doctor.Status) string {
	if s == doctor.Failed {
		return "FAILED"
	}
	return string(s)
}
