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
	keyFile     string
}

func (a *app) migrateCommand() *cobra.Command {
	var m migration
	c := &cobra.Command{
		Use:   "migrate",
		Short: "Bring a store to the newest schema, and make the Kafka topics",
		Long: `Bring a store to the newest schema. Any number may run at once, and the linktrail before this one keeps working on it.
With --kafka, or with --config of a service that has a ClickStream, the topics of the click stream are made too. Topics
that are there already stay as they are.`,
		Example: `  linktrail migrate --store postgres://linktrail:secret@localhost:5432/linktrail
  linktrail migrate --store postgres://… --kafka localhost:9092 --replication 3
  linktrail migrate --config etc/url-api.yaml --admin-key-file /run/secrets/api-key`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.migrate(c.Context(), m)
		},
	}
	m.store.add(c)
	flags := c.Flags()
	flags.StringVar(&m.kafka, "kafka", "", "host:port of Kafka brokers, with commas between: makes the topics")
	flags.StringVar(&m.topic, "topic", "", "the topic of clicks (default "+clickstream.DefaultTopic+")")
	flags.IntVar(&m.partitions, "partitions", 12, "partitions of the topic of clicks")
	flags.IntVar(&m.replication, "replication", -1, "replicas of each partition, -1 for the brokers' default")
	flags.StringVar(&m.keyFile, "admin-key-file", "", "file with a token lt_… to register as a key with all scopes")
	return c
}

func (a *app) migrate(ctx context.Context, m migration) error {
	c, err := m.store.read(a.data)
	if err != nil {
		return err
	}
	say := func(text string) { _, _ = fmt.Fprintln(a.out, text) }
	if err := store.Migrate(ctx, c.Store, say); err != nil {
		return err
	}
	if m.keyFile != "" {
		if err := registerKey(ctx, c.Store, m.keyFile, say); err != nil {
			return err
		}
	}
	return m.makeTopics(ctx, c.ClickStream, say)
}

func (m migration) makeTopics(ctx context.Context, stream clickstream.Config, say func(string)) error {
	if m.kafka != "" {
		stream.Brokers = nil
		for broker := range strings.SplitSeq(m.kafka, ",") {
			stream.Brokers = append(stream.Brokers, strings.TrimSpace(broker))
		}
	}
	if len(stream.Brokers) == 0 {
		return nil
	}
	if m.topic != "" {
		stream.Topic = m.topic
	}
	stream = stream.WithDefaults()
	ctx, cancel := context.WithTimeout(ctx, topicsDeadline)
	defer cancel()
	if err := driver.MakeTopics(ctx, stream, m.partitions, m.replication, say); err != nil {
		return err
	}
	return nil
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
