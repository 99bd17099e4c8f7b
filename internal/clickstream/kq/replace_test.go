package kq_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	franz "github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/kq"
)

// TestReaderGivenUp has a broker close connections for as long as it takes a reader to give up.
func TestReaderGivenUp(t *testing.T) {
	const topic = "clicks"
	const enough = 20 // a reader tells of the fourth; others ask too
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topic))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	closed := make(chan struct{}, 1000)
	cluster.ControlKey(int16(kmsg.ApiVersions), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if len(closed) == enough {
			return nil, nil, false
		}
		closed <- struct{}{}
		return nil, errors.New("the connection is closed"), true
	})

	c := clickstream.Config{Driver: clickstream.DriverKq, Brokers: cluster.ListenAddrs(), Topic: topic, Group: topic, Conns: 1}.WithDefaults()
	consumer, err := kq.NewConsumer(c, time.Second, kq.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	got, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- consumer.Run(ctx, func(_ context.Context, records []clickstream.Record) error {
			got <- string(records[0].Value)
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})

	client, err := franz.NewClient(franz.SeedBrokers(cluster.ListenAddrs()...), franz.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(t.Context(), franz.StringRecord("a click")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	select {
	case value := <-got:
		if value != "a click" || len(closed) != enough {
			t.Errorf("%q after %d closed connections", value, len(closed))
		}
	case <-time.After(2 * time.Minute):
		t.Fatalf("nothing is consumed, %d connections were closed", len(closed))
	}
}
