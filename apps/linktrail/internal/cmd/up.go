package cmd

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/zeromicro/go-zero/core/proc"
	"sigs.k8s.io/yaml"

	"github.com/linktrail/linktrail/apps/linktrail/internal/up"
	"github.com/linktrail/linktrail/internal/clickstream"
)

func (a *app) upCommand() *cobra.Command {
	var (
		o         up.Options
		file      string
		noExample bool
	)
	c := &cobra.Command{
		Use:   "up",
		Short: "Run everything on this machine",
		Long: `Run everything on this machine: url-api, analytics-rpc and analytics-consumer, each as a process of its own, on SQLite,
an in-process Redis and an in-process Kafka that keep what they have in --data, or on the servers that are given.

The start ends with an example: a short link, a click on it, and that click's trace. It prints the address of the console,
a page in the browser that shows the same; the local API key is in it. Ctrl-C stops everything in order, a second Ctrl-C at
once. The next start finds the data. A service that dies is started again.

While it runs, DATA/run.json tells scripts the addresses, the API key and the services' pids; DATA/log has their logs.

--config is a YAML file with the names of these flags as keys, and under "services" keys of the services' own YAML:

  postgres: postgres://linktrail:secret@localhost:5432/linktrail
  kafka: broker-1:9093,broker-2:9093
  services:
    url-api:
      ClickStream: {TLS: {Enabled: true}}

In the container image this is what a call without arguments does, and the addresses are 0.0.0.0:8080 and 0.0.0.0:8081.`,
		Example: `  linktrail up
  linktrail up --data /var/lib/linktrail --addr 0.0.0.0:80 --public-url https://go.example.com
  linktrail up --addr 127.0.0.1:0 --api-addr 127.0.0.1:0
  linktrail up --postgres postgres://linktrail:secret@localhost:5432/linktrail --redis localhost:6379 \
    --kafka localhost:9092 --otlp localhost:4317 --jaeger http://localhost:16686`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o.Data, o.Example, o.Out, o.Err = a.data, !noExample, a.out, a.err
			for _, file := range []string{inImage(), file} { // the later one wins
				if file == "" {
					continue
				}
				if err := readUpFile(file, &o, c.Flags().Changed); err != nil {
					return err
				}
			}
			return runUp(o)
		},
	}
	flags := c.Flags()
	flags.StringVar(&o.Addr, "addr", "", "host:port of the front door, port 0 for any (default 127.0.0.1:8080, or a free port)")
	flags.StringVar(&o.APIAddr, "api-addr", "", "host:port of the API, port 0 for any (default 127.0.0.1:8081, or a free port)")
	flags.StringVar(&o.PublicURL, "public-url", "", "what short addresses begin with (default the front door's address)")
	flags.StringVar(&o.Postgres, "postgres", "", "DSN of a PostgreSQL, postgres://… (default SQLite)")
	flags.StringVar(&o.Redis, "redis", "", "host:port of a Redis, or redis://… (default in this process)")
	flags.StringVar(&o.Kafka, "kafka", "", "host:port of Kafka brokers, with commas between (default in this process)")
	flags.StringVar(&o.OTLP, "otlp", "", "where spans go: host:port of a collector's OTLP/gRPC, or an http(s) URL (default files in --data)")
	flags.StringVar(&o.Jaeger, "jaeger", "", "URL of Jaeger's query service, where traces can be seen; goes with --otlp")
	flags.StringVar(&o.Driver, "driver", "kgo", "the click stream's Kafka driver, kgo or kq")
	completes(c, "driver", clickstream.DriverKgo, clickstream.DriverKq)
	flags.StringVar(&file, "config", "", "YAML file with the names of these flags as keys")
	flags.BoolVar(&noExample, "no-example", false, "do not end the start with an example")
	return c
}

// readUpFile fills in what no flag says: the flags' names, and below services keys of the services' own YAML.
func readUpFile(file string, o *up.Options, isFlag func(string) bool) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return usageError{err}
	}
	var document map[string]json.RawMessage
	if err := yaml.UnmarshalStrict(content, &document); err != nil {
		return usagef("%s: not YAML with the names of flags as keys: %s", file, yamlFault(err))
	}
	texts := map[string]*string{
		"data": &o.Data, "addr": &o.Addr, "api-addr": &o.APIAddr, "public-url": &o.PublicURL, "postgres": &o.Postgres,
		"redis": &o.Redis, "kafka": &o.Kafka, "otlp": &o.OTLP, "jaeger": &o.Jaeger, "driver": &o.Driver,
	}
	for _, key := range slices.Sorted(maps.Keys(document)) {
		value := document[key]
		text, isText := texts[key]
		switch {
		case !isText && key != "no-example" && key != "services":
			known := append(slices.Sorted(maps.Keys(texts)), "no-example", "services")
			return usagef("%s: unknown key %q; the keys are %s", file, key, strings.Join(known, ", "))
		case string(value) == "null" || isFlag(key):
		case isText:
			if json.Unmarshal(value, text) != nil {
				return usagef("%s: %s: %s is no text; put it in quotes", file, key, value)
			}
		case key == "no-example":
			var no bool
			if json.Unmarshal(value, &no) != nil {
				return usagef("%s: %s: %s is not true or false", file, key, value)
			}
			o.Example = !no
		default:
			if json.Unmarshal(value, &o.Services) != nil {
				return usagef("%s: %s: these are not keys below the name of a service, such as url-api: {Console: {Enabled: false}}", file, key)
			}
		}
	}
	return nil
}

// yamlFault is the reason without the names of who found it.
func yamlFault(err error) string {
	text := err.Error()
	for _, prefix := range []string{"error converting YAML to JSON: ", "error unmarshaling JSON: ", "while decoding JSON: ", "yaml: ", "json: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return text
}

// runUp stops in order at the first signal and at once at the second.
func runUp(o up.Options) error {
	// go-zero, which is linked in, would end the process 5.5 s after a signal.
	proc.Setup(proc.ShutdownConf{WrapUpTime: time.Hour, WaitTime: 2 * time.Hour})
	// Ctrl-C may end whatever reads our output, such as tee, before we have stopped everything.
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)

	ctx, stop := context.WithCancel(context.Background())
	quick, stopNow := context.WithCancel(context.Background())
	done, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		for _, end := range []context.CancelFunc{stop, stopNow} {
			select {
			case <-signals:
				end()
			case <-done:
				return
			}
		}
	}()
	defer func() {
		close(done)
		<-watched
		stop()
		stopNow()
	}()
	o.Quick = quick
	return up.Run(ctx, o)
}
