package up

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/linktrail/linktrail/internal/clickstream"
)

const (
	// partitions is as many as a click stream has anywhere; see docs/scaling.md.
	partitions = 12
	// segmentBytes and retention bound what the log keeps of clicks that were written long ago.
	segmentBytes = "16777216"
	retention    = "604800000" // a week, in ms
	// writtenDeadline is how long a stop waits for the consumer to write what is in Kafka. What is left stays there.
	writtenDeadline = 5 * time.Second
	// expelDeadline is how long taking a dead consumer out of its group may take.
	expelDeadline = 5 * time.Second
)

// kafka is Kafka in this process. Every record is on disk before it is acknowledged, so that nothing acknowledged is lost
// to kill -9 or a power cut.
type kafka struct {
	addrs   []string
	cluster *kfake.Cluster
	client  *kgo.Client
	admin   *kadm.Client
	stream  clickstream.Config
}

// startKafka serves on the listener what lies in dir.
func startKafka(dir string, ln net.Listener) (*kafka, error) {
	cluster, err := kfake.NewCluster(
		kfake.ClusterID("linktrail"),
		kfake.NumBrokers(1),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return ln, nil }),
		kfake.DataDir(dir),
		kfake.SyncWrites(),
	)
	if err != nil {
		return nil, fmt.Errorf("Kafka in this process: %w", err)
	}
	k := &kafka{addrs: cluster.ListenAddrs(), cluster: cluster}
	client, err := kgo.NewClient(kgo.SeedBrokers(k.addrs...))
	if err != nil {
		k.close()
		return nil, fmt.Errorf("Kafka in this process: %w", err)
	}
	k.client, k.admin = client, kadm.NewClient(client)
	return k, nil
}

// makeTopics makes the topics of the click stream that are not there yet.
func (k *kafka) makeTopics(ctx context.Context, stream clickstream.Config) error {
	k.stream = stream
	configs := map[string]*string{"retention.ms": new(retention), "segment.bytes": new(segmentBytes)}
	made, err := k.admin.CreateTopics(ctx, partitions, 1, configs, stream.Topic, stream.Topic+clickstream.DeadLetterSuffix)
	if err != nil {
		return fmt.Errorf("make the topics: %w", err)
	}
	for _, topic := range made {
		if topic.Err != nil && !errors.Is(topic.Err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("make the topic %s: %w", topic.Topic, topic.Err)
		}
	}
	return nil
}

// expel takes the members of a consumer that has died out of its group. Otherwise its successor would wait for them until
// their session ends, 45 seconds.
func (k *kafka) expel(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, expelDeadline)
	defer cancel()
	described, err := k.admin.DescribeGroups(ctx, k.stream.Group)
	if err != nil {
		return err
	}
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Group = k.stream.Group
	for _, member := range described[k.stream.Group].Members {
		gone := kmsg.NewLeaveGroupRequestMember()
		gone.MemberID = member.MemberID
		leave.Members = append(leave.Members, gone)
	}
	if len(leave.Members) == 0 {
		return nil
	}
	_, err = leave.RequestWith(ctx, k.client)
	return err
}

// awaitWritten returns when the consumer has committed all that is in the topic, after writtenDeadline, or when quick
// has ended.
func (k *kafka) awaitWritten(quick context.Context) {
	ctx, cancel := context.WithTimeout(quick, writtenDeadline)
	defer cancel()
	for ctx.Err() == nil && k.stream.Topic != "" {
		lags, err := k.admin.Lag(ctx, k.stream.Group)
		if err == nil && lags.Error() == nil && lags[k.stream.Group].Lag.Total() == 0 {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (k *kafka) close() {
	if k.admin != nil {
		k.admin.Close()
	}
	k.cluster.Close()
}
