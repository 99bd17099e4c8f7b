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
	config  clickstream.Config
	client  *franz.Client
	kill    context.CancelFunc // ends the client whatever it waits for
	drain   time.Duration
	metrics *clickstream.ConsumerMetrics
	watch   *group.Watch
	joined  atomic.Bool
	// wanted holds a token when the group wants to move partitions and waits for us.
	wanted chan struct{}
	// behind is set when the last commit failed. It is Run's alone.
	behind bool
}

// NewConsumer makes a Consumer, which joins the group at once. drain is how long the batch in hand may take once Run's
// context has ended. Run must be called: it ends the membership.
func NewConsumer(c clickstream.Config, drain time.Duration, o Options) (*Consumer, error) {
	consumer := &Consumer{config: c, drain: drain, wanted: make(chan struct{}, 1)}
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
		if fetches.NumRecords() > 0 {
			fetches = c.take(ctx, h, fetches)
		} else {
			c.metrics.Idle()
			if c.behind {
				c.commit(ctx)
			}
		}
		c.client.AllowRebalance()
		report(ctx, fetches)
	}
	if c.behind {
		c.commit(ctx)
	}
	return nil
}

// poll waits for records; for no more than a moment when there is something to commit, or to find out whether what could
// not be handled is still ours.
func (c *Consumer) poll(ctx context.Context) franz.Fetches {
	if c.behind || c.metrics.Stalled() > 0 {
		limited, cancel := context.WithTimeout(ctx, heartbeatInterval)
		defer cancel()
		ctx = limited
	}
	return c.client.PollRecords(ctx, c.config.MaxBatch)
}

// take hands what was fetched, and what comes within the batch's time, over until it is written, then commits it. What it
// has to let go is read again. It returns all that it fetched.
func (c *Consumer) take(ctx context.Context, h clickstream.Handler, fetches franz.Fetches) franz.Fetches {
	hand := c.hold(ctx)
	defer hand.close()
	fetches = c.fill(ctx, hand, fetches)
	records := fetches.Records()
	left := records
	for len(left) > 0 {
		n := c.batch(left)
		if !c.handle(hand, h, handedOver(left[:n])) {
			break
		}
		c.metrics.Consumed(n)
		left = left[n:]
	}
	if len(left) == 0 {
		c.commit(ctx)
		return fetches
	}
	c.commitSome(ctx, records[:len(records)-len(left)])
	c.rewind(left)
	c.client.AllowRebalance()
	// A cooperative rebalance has several steps, each of which a batch in hand would hold up again.
	select {
	case <-ctx.Done():
	case <-time.After(handOver):
	}
	return fetches
}

// fill fetches more until a batch is full or its time has passed, or somebody waits for it to end.
func (c *Consumer) fill(ctx context.Context, hand *hand, fetches franz.Fetches) franz.Fetches {
	if c.config.BatchMillis == 0 {
		return fetches
	}
	limited, cancel := context.WithTimeout(ctx, c.config.BatchWait())
	defer cancel()
	defer context.AfterFunc(hand.moving, cancel)()
	records, bytes := size(fetches)
	for records < c.config.MaxBatch && bytes < c.config.MaxBatchBytes {
		more := c.client.PollRecords(limited, c.config.MaxBatch-records)
		fetches = append(fetches, more...)
		if more.NumRecords() == 0 {
			break // time has passed, or a partition cannot be read, which report tells
		}
		n, b := size(more)
		records, bytes = records+n, bytes+b
	}
	return fetches
}

// size is how many records were fetched, and the bytes of their values.
func size(fetches franz.Fetches) (records, bytes int) {
	fetches.EachRecord(func(r *franz.Record) {
		records++
		bytes += len(r.Value)
	})
	return records, bytes
}

// batch is how many of the records, at least one, make a batch.
func (c *Consumer) batch(records []*franz.Record) int {
	var n, bytes int
	for n < min(len(records), c.config.MaxBatch) {
		bytes += len(records[n].Value)
		if n > 0 && bytes > c.config.MaxBatchBytes {
			break
		}
		n++
	}
	return n
}

// handedOver is a batch as the handler gets it.
func handedOver(records []*franz.Record) []clickstream.Record {
	var count int
	for _, r := range records {
		count += len(r.Headers)
	}
	headers := make([]clickstream.Header, 0, count)
	batch := make([]clickstream.Record, len(records))
	for i, r := range records {
		begin := len(headers)
		for _, h := range r.Headers {
			headers = append(headers, clickstream.Header(h))
		}
		batch[i] = clickstream.Record{
			Value: r.Value, Headers: headers[begin:len(headers):len(headers)], Producer: producer(r.Headers),
			Topic: r.Topic, Partition: r.Partition, Offset: r.Offset,
		}
	}
	return batch
}

// commit commits all that was handled so far: whatever was polled is, or was rewound. The group takes no commits while it
// moves partitions, which lasts as long as the session of a member that died. Meanwhile batches are handled all the
// same: only the first commit that fails is waited for, and what it held is in the next.
func (c *Consumer) commit(ctx context.Context) {
	limited, cancel := c.commitTime(ctx)
	defer cancel()
	err := c.client.CommitUncommittedOffsets(limited)
	c.committed(err)
	c.behind = err != nil
}

// commitSome commits records of what was polled, before the rest is rewound.
func (c *Consumer) commitSome(ctx context.Context, records []*franz.Record) {
	if len(records) == 0 {
		return
	}
	limited, cancel := c.commitTime(ctx)
	defer cancel()
	err := c.client.CommitRecords(limited, records...)
	c.committed(err)
	c.behind = c.behind || err != nil
}

func (c *Consumer) commitTime(ctx context.Context) (context.Context, context.CancelFunc) {
	timeout := commitTimeout
	if c.behind {
		timeout = behindTimeout
	}
	return context.WithTimeout(context.WithoutCancel(ctx), timeout)
}

// committed tells of a commit that failed, once until one does not.
func (c *Consumer) committed(err error) {
	if err == nil {
		return
	}
	c.metrics.CommitFailed()
	if !c.behind {
		logx.Errorw("commit of offsets failed; what was read since the last may be delivered again", logx.Field("error", err))
	}
}

// hand is what has been fetched and is not yet handled or let go. Meanwhile the group waits with moving partitions.
type hand struct {
	// held ends when the batch must be let go: drain after the stop, or letGo after the group wanted to move partitions.
	held context.Context
	// moving ends as soon as the group wants to.
	moving  context.Context
	release context.CancelFunc
	watch   sync.WaitGroup
}

// hold begins a hand, which must be closed. Its contexts outlive ctx, whose end is the stop.
func (c *Consumer) hold(ctx context.Context) *hand {
	held, release := context.WithCancel(context.WithoutCancel(ctx))
	moving, move := context.WithCancel(held)
	h := &hand{held: held, moving: moving, release: release}
	h.watch.Go(func() {
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
				move()
				late = time.After(letGo)
			case <-drained:
				release()
			case <-late:
				release()
			}
		}
	})
	return h
}

func (h *hand) close() {
	h.release()
	h.watch.Wait()
}

// handle calls h until it returns nil, and reports whether it did before the batch had to be let go.
func (c *Consumer) handle(hand *hand, h clickstream.Handler, batch []clickstream.Record) bool {
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		if hand.held.Err() != nil {
			return false
		}
		c.metrics.Took()
		err := h(hand.held, batch)
		if err == nil {
			return true
		}
		c.metrics.HandlerFailed()
		logx.Errorw("a batch could not be handled and will be tried again", logx.Field("records", len(batch)), logx.Field("error", err))
		select {
		case <-hand.moving.Done(): // which ends with held too
			return false
		case <-time.After(pause):
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
