package kgo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/linktrail/linktrail/internal/clickstream"
)

// deadLetterPartitions is enough for what should be empty.
const deadLetterPartitions = 1

// heardOf is the pause before a broker is asked again about a topic that it has not heard of.
const heardOf = 100 * time.Millisecond

// MakeTopics makes the topic of clicks and that of dead letters, which has one partition. What exists already stays as it
// is; progress, which may be nil, is told of each topic, and of a number of partitions that is another than wanted.
// replication -1 is the brokers' default.
func MakeTopics(ctx context.Context, c clickstream.Config, partitions, replication int, progress func(string)) error {
	if partitions < 1 || replication < 1 && replication != -1 {
		return fmt.Errorf("a topic cannot have %d partitions with %d replicas", partitions, replication)
	}
	if progress == nil {
		progress = func(string) {}
	}
	client, err := Dial(c, DefaultClientID)
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	for _, topic := range []struct {
		name       string
		partitions int
	}{
		{c.Topic, partitions}, {c.Topic + clickstream.DeadLetterSuffix, deadLetterPartitions},
	} {
		said, err := makeTopic(ctx, admin, topic.name, topic.partitions, replication)
		if err != nil {
			return fmt.Errorf("make topic %s: %w", topic.name, err)
		}
		progress(said)
	}
	return nil
}

func makeTopic(ctx context.Context, admin *kadm.Client, topic string, partitions, replication int) (string, error) {
	_, err := admin.CreateTopic(ctx, int32(partitions), int16(replication), nil, topic)
	if err == nil {
		return fmt.Sprintf("made topic %s with %d partitions", topic, partitions), nil
	}
	if !errors.Is(err, kerr.TopicAlreadyExists) {
		return "", err
	}
	has, err := countPartitions(ctx, admin, topic)
	if err != nil {
		return "", err
	}
	if has != partitions {
		return fmt.Sprintf("topic %s exists, with %d partitions instead of %d; it stays as it is", topic, has, partitions), nil
	}
	return fmt.Sprintf("topic %s exists", topic), nil
}

// countPartitions says how many partitions a topic has that exists. The controller knows of a topic before the other
// brokers do, so it asks until the one that answers has heard of it.
func countPartitions(ctx context.Context, admin *kadm.Client, topic string) (int, error) {
	for {
		described, err := admin.ListTopics(ctx, topic)
		if err != nil {
			return 0, err
		}
		err = described[topic].Err
		if err == nil {
			return len(described[topic].Partitions), nil
		}
		if !kerr.IsRetriable(err) {
			return 0, err
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(heardOf):
		}
	}
}
