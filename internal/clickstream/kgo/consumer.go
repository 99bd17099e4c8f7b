package kgo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	franz "github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/zeromicro/go-zero/core/logx"

	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/group"
)

// The times of a member of the group. Heartbeats go on in the background while a batch is handled, for however long.
const (
	// heartbeatInterval is also how soon a member learns that the group wants to move partitions.
	heartbeatInterval = time.Second
	// handOver is how long a member that let go of its batch takes no other.
	handOver = 3 * heartbeatInterval
	// rebalanceTimeout is how long the group waits for a member that still has a batch in hand.
	rebalanceTimeout = 60 * time.Second
	// letGo is how much of it a handler may take before its context ends.
	letGo = rebalanceTimeout / 2
	// commitTimeout is how long a commit, and the farewell to the group, may take; behindTimeout how long a commit may
	// after one that failed.
	commitTimeout = 5 * time.Second
	behindTimeout = 100 * time.Millisecond
	// fetchWait is how long a broker may hold an empty fetch. A partition that is assigned meanwhile waits for it too.
	fetchWait = 500 * time.Millisecond
)

// The pauses between two attempts at a batch, and after an error of a fetch.
const (
	minPause = 100 * time.Millisecond
	maxPause = 5 * time.Second
)

// Consumer is a clickstream.Consumer. While a batch is in hand the group waits with moving partitions; a handler that
// fails, or takes longer than half a minute, then lets go of its batch, and whoever has the partitions next reads it again.
type Consumer struct {
	config   clickstream.Config
	client   *franz.Client
	kill     context.CancelFunc // ends the client whatever it waits for
	maxBatch int
	drain    time.Duration
	metrics  *clickstream.ConsumerMetrics
	watch    *group.Watch
	joined   atomic.Bool
	// wanted holds a token when the group wants to move partitions and waits for us.
	wanted chan struct{}
	// behind is set when the last commit failed. It is Run's alone.
	behind bool
}

// NewConsumer makes a Consumer, which joins the group at once. drain is how long the batch in hand may take once Run's
// context has ended. Run must be called: it ends the membership.
func NewConsumer(c clickstream.Config, drain time.Duration, o Options) (*Consumer, error) {
	consumer := &Consumer{config: c, maxBatch: c.MaxBatch, drain: drain, wanted: make(chan struct{}, 1)}
	life, kill := context.WithCancel(context.Background())
	client, err := Dial(c, o.clientID(),
		franz.WithContext(life),
		franz.ConsumeTopics(c.Topic),
		franz.ConsumerGroup(c.Group),
		franz.Balancers(franz.CooperativeStickyBalancer()),
		franz.ConsumeResetOffset(franz.NewOffset().AtStart()),
		franz.SessionTimeout(o.sessionTimeout(c)),
		franz.HeartbeatInterval(heartbeatInterval),
		franz.RebalanceTimeout(rebalanceTimeout),
		franz.FetchMaxWait(fetchWait),
		franz.DisableAutoCommit(),
		franz.BlockRebalanceOnPoll(),
		franz.OnPartitionsCallbackBlocked(func(context.Context, *franz.Client) { consumer.want() }),
		franz.OnPartitionsAssigned(func(context.Context, *franz.Client, map[string][]int32) { consumer.joined.Store(true) }),
		franz.OnPartitionsLost(func(context.Context, *franz.Client, map[string][]int32) { consumer.joined.Store(false) }),
	)
	if err != nil {
		kill()
		return nil, err
	}
	consumer.client, consumer.kill = client, kill
	consumer.watch = group.NewWatch(group.Config{Client: client, Topic: c.Topic, Group: c.Group, Members: 1,
		Mine: func(m kadm.DescribedGroupMember) bool {
			id, _ := client.GroupMetadata()
			return m.MemberID == id
		}})
	if consumer.metrics, err = clickstream.NewConsumerMetrics(o.Registerer, consumer.watch.Lag); err != nil {
		kill()
		client.Close()
		return nil, err
	}
	return consumer, nil
}

// Ready is that of clickstream.Consumer. A member without partitions, in a group of more members than there are
// partitions, is ready too.
func (c *Consumer) Ready() error {
	if !c.joined.Load() {
		return errors.New("the consumer group is not yet joined")
	}
	return nil
}

// Run is that of clickstream.Consumer. It can be called once.
func (c *Consumer) Run(ctx context.Context, h clickstream.Handler) error {
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { c.watch.Run(watching) })
	defer wg.Wait()
	defer stop()
	defer c.leave()
	for ctx.Err() == nil {
		fetches := c.poll(ctx)
		if fetches.IsClientClosed() {
			return errors.New("the consumer is closed")
		}
		if records := fetches.Records(); len(records) > 0 {
			c.take(ctx, h, records)
		} else if c.behind {
			c.commit(ctx)
		}
		c.client.AllowRebalance()
		report(ctx, fetches)
	}
	if c.behind {
		c.commit(ctx)
	}
	return nil
}

// poll waits for records; for no more than a moment when there is something to commit.
func (c *Consumer) poll(ctx context.Context) franz.Fetches {
	if c.behind {
		limited, cancel := context.WithTimeout(ctx, heartbeatInterval)
		defer cancel()
		ctx = limited
	}
	return c.client.PollRecords(ctx, c.maxBatch)
}

// take hands a batch over until it is written, and commits it. A batch that it has to let go is read again.
func (c *Consumer) take(ctx context.Context, h clickstream.Handler, records []*franz.Record) {
	batch := make([]clickstream.Record, len(records))
	for i, r := range records {
		batch[i] = clickstream.Record{Value: r.Value, Producer: producer(r.Headers), Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}
	}
	if !c.handle(ctx, h, batch) {
		c.rewind(records)
		c.client.AllowRebalance()
		// A cooperative rebalance has several steps, each of which a batch in hand would hold up again.
		select {
		case <-ctx.Done():
		case <-time.After(handOver):
		}
		return
	}
	c.metrics.Consumed(len(batch))
	c.commit(ctx)
}

// commit commits all that was handled so far: whatever was polled is, or was rewound. The group takes no commits while it
// moves partitions, which lasts as long as the session of a member that died. Meanwhile batches are handled all the
// same: only the first commit that fails is waited for, and what it held is in the next.
func (c *Consumer) commit(ctx context.Context) {
	timeout := commitTimeout
	if c.behind {
		timeout = behindTimeout
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	err := c.client.CommitUncommittedOffsets(limited)
	if err != nil {
		c.metrics.CommitFailed()
	}
	if err != nil && !c.behind {
		logx.Errorw("commit of offsets failed; what was read since the last may be delivered again", logx.Field("error", err))
	}
	c.behind = err != nil
}

// handle calls h until it returns nil, and reports whether it did before the batch had to be let go.
func (c *Consumer) handle(ctx context.Context, h clickstream.Handler, batch []clickstream.Record) bool {
	held, release := context.WithCancel(context.WithoutCancel(ctx))
	moving := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { c.hold(ctx, held, release, moving) })
	defer wg.Wait()
	defer release()
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		err := h(held, batch)
		if err == nil {
			return true
		}
		c.metrics.HandlerFailed()
		logx.Errorw("a batch could not be handled and will be tried again", logx.Field("records", len(batch)), logx.Field("error", err))
		select {
		case <-held.Done():
			return false
		case <-moving:
			return false
		case <-time.After(pause):
		}
	}
}

// hold calls release when the batch must be let go: drain after ctx has ended, or letGo after the group wanted to move
// partitions. It closes moving as soon as the group does. It returns when held ends.
func (c *Consumer) hold(ctx, held context.Context, release context.CancelFunc, moving chan<- struct{}) {
	stopping, wanted := ctx.Done(), c.wanted
	var drained, late <-chan time.Time
	for {
		select {
		case <-held.Done():
			return
		case <-stopping:
			stopping = nil
			drained = time.After(c.drain)
		case <-wanted:
			wanted = nil
			close(moving)
			late = time.After(letGo)
		case <-drained:
			release()
		case <-late:
			release()
		}
	}
}

func (c *Consumer) want() {
	select {
	case c.wanted <- struct{}{}:
	default:
	}
}

// rewind makes the next poll begin with these records again, where the partitions are still ours.
func (c *Consumer) rewind(records []*franz.Record) {
	first := make(map[string]map[int32]franz.EpochOffset)
	for _, r := range records {
		partitions := first[r.Topic]
		if partitions == nil {
			partitions = make(map[int32]franz.EpochOffset)
			first[r.Topic] = partitions
		}
		if _, ok := partitions[r.Partition]; !ok {
			partitions[r.Partition] = franz.EpochOffset{Epoch: r.LeaderEpoch, Offset: r.Offset}
		}
	}
	c.client.SetOffsets(first)
}

// leave leaves the group, so that others have the partitions at once, and ends the client.
func (c *Consumer) leave() {
	c.joined.Store(false)
	defer c.joined.Store(false) // a rebalance may have ended meanwhile
	c.client.AllowRebalance()
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	err := c.client.LeaveGroupContext(ctx)
	if err == nil {
		c.client.Close()
		c.kill()
		return
	}
	// The client leaves only once it has joined, and the group may keep it waiting for a member that died.
	member, _ := c.client.GroupMetadata()
	c.kill()
	c.client.Close()
	if err = c.leaveAs(member); err != nil {
		logx.Errorw("could not leave the consumer group; its partitions move when the session times out", logx.Field("error", err))
	}
}

// leaveAs takes a member out of the group, with a client of its own.
func (c *Consumer) leaveAs(member string) error {
	client, err := Dial(c.config, DefaultClientID)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	request := kmsg.NewPtrLeaveGroupRequest()
	request.Group = c.config.Group
	leaving := kmsg.NewLeaveGroupRequestMember()
	leaving.MemberID = member
	request.Members = append(request.Members, leaving)
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(response.ErrorCode)
}

// report logs what fetches complain of. The client tries again by itself; a pause keeps it from doing so in a circle.
func report(ctx context.Context, fetches franz.Fetches) {
	var last error
	fetches.EachError(func(topic string, partition int32, err error) {
		if !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
			last = fmt.Errorf("%s/%d: %w", topic, partition, err)
		}
	})
	if last == nil {
		return
	}
	logx.Errorw("clicks cannot be read", logx.Field("error", last))
	select {
	case <-ctx.Done():
	case <-time.After(maxPause):
	}
}
