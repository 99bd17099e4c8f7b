package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/linktrail/linktrail/internal/apikey"
	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/driver"
	"github.com/linktrail/linktrail/internal/store"
)

// topicsDeadline is how long making the topics may take.
const topicsDeadline = time.Minute

type migration struct {
	store       storeFlags
	kafka       string
	topic       string
	partitions  int
	replication int
	noTopics    bool
	keyFile     string
	wait        time.Duration
}

func (a *app) migrateCommand() *cobra.Command {
	var m migration
	c := &cobra.Command{
		Use:   "migrate",
		Short: "Bring a store to the newest schema, and make the Kafka topics",
		Long: `Bring a store to the newest schema. Any number may run at once, and the linktrail before this one keeps working on it.
With --kafka, or with --config of a service that has a ClickStream, the topics of the click stream are made too, unless
--no-topics leaves them to somebody else. Topics that are there already stay as they are.`,
		Example: `  linktrail migrate --store postgres://linktrail:secret@localhost:5432/linktrail
  linktrail migrate --store postgres://… --kafka localhost:9092 --replication 3
  linktrail migrate --config etc/url-api.yaml --admin-key-file /run/secrets/api-key --wait 5m`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := exclusive(c, "kafka", "no-topics"); err != nil {
				return err
			}
			if m.wait < 0 {
				return usagef("--wait: %v is negative; it is a duration such as 5m", m.wait)
			}
			return a.migrate(c.Context(), m)
		},
	}
	m.store.add(c)
	flags := c.Flags()
	flags.StringVar(&m.kafka, "kafka", "", "host:port of Kafka brokers, with commas between: makes the topics")
	flags.StringVar(&m.topic, "topic", "", "the topic of clicks (default "+clickstream.DefaultTopic+")")
	flags.IntVar(&m.partitions, "partitions", 12, "partitions of the topic of clicks")
	flags.IntVar(&m.replication, "replication", -1, "replicas of each partition, -1 for the brokers' default")
	flags.BoolVar(&m.noTopics, "no-topics", false, "make no topics, though --config has a ClickStream")
	flags.DurationVar(&m.wait, "wait", 0, "how long to try again while the store or Kafka cannot be reached")
	flags.StringVar(&m.keyFile, "admin-key-file", "", "file with a token lt_… to register as a key with all scopes")
	return c
}

func (a *app) migrate(ctx context.Context, m migration) error {
	c, err := m.store.read(a.data)
	if err != nil {
		return err
	}
	stream, err := m.stream(c.ClickStream)
	if err != nil {
		return err
	}
	say := func(text string) { _, _ = fmt.Fprintln(a.out, text) }
	p := patience{until: time.Now().Add(m.wait), tell: func(text string) { _, _ = fmt.Fprintln(a.err, text) }}
	err = p.try(ctx, "the store", func(ctx context.Context) error {
		if err := store.Migrate(ctx, c.Store, say); err != nil || m.keyFile == "" {
			return err
		}
		return registerKey(ctx, c.Store, m.keyFile, say)
	})
	if err != nil || len(stream.Brokers) == 0 {
		return err
	}
	return p.try(ctx, "Kafka", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, topicsDeadline)
		defer cancel()
		return driver.MakeTopics(ctx, stream, m.partitions, m.replication, say)
	})
}

// stream is where to make topics, from flags and a service's YAML; without Brokers nowhere.
func (m migration) stream(c clickstream.Config) (clickstream.Config, error) {
	if m.noTopics {
		return clickstream.Config{}, nil
	}
	if m.kafka != "" {
		c.Brokers = nil
		for broker := range strings.SplitSeq(m.kafka, ",") {
			c.Brokers = append(c.Brokers, strings.TrimSpace(broker))
		}
	}
	if len(c.Brokers) == 0 {
		return c, nil
	}
	if m.topic != "" {
		c.Topic = m.topic
	}
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		return c, usageError{err}
	}
	return c, nil
}

// registerKey lets an installation bring its first key along. It may run again and again.
func registerKey(ctx context.Context, c store.Config, file string, say func(string)) (err error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return usageError{err}
	}
	key, err := apikey.FromToken(strings.TrimSpace(string(content)), "admin", apikey.Scopes(), time.Now())
	if err != nil {
		return usagef("%s: %w", file, err)
	}
	s, err := store.Open(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.CreateKey(ctx, key); err != nil {
		return fmt.Errorf("register the key of %s: %w", file, err)
	}
	say(fmt.Sprintf("the key %s is registered", key.ID))
	return nil
}
