package kq

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kadm"
	franz "github.com/twmb/franz-go/pkg/kgo"
	goqueue "github.com/zeromicro/go-queue/kq"
	"github.com/zeromicro/go-zero/core/logx"
	"github.com/zeromicro/go-zero/core/proc"
	"github.com/zeromicro/go-zero/core/queue"
	"github.com/zeromicro/go-zero/core/service"
	"github.com/zeromicro/go-zero/core/stat"
	"github.com/zeromicro/go-zero/core/trace"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/group"
	"github.com/linktrail/linktrail/internal/clickstream/kgo"
)

// The pauses between two attempts at a batch.
const (
	minPause = 100 * time.Millisecond
	maxPause = 5 * time.Second
)

// prefetch is how many records a reader holds that are still to be handed over. kq keeps what belongs to a reader, this room too,
// when the reader is replaced: so it is small, and readers are replaced ever more rarely while they keep giving up.
const (
	prefetch   = 100
	maxReplace = time.Minute // from one replacement to the next
)

// maxWait is how long a reader's fetch waits for records.
const maxWait = 250 * time.Millisecond

// Consumer is a clickstream.Consumer on kq's queues. Config.Conns of them, each with a reader that is a member of the group,
// hold one record at a time; those which are waiting are handed over together, so that a batch has at most Conns records. A
// record's offset is committed only after the handler returned nil, about a second later; so nothing is lost when the process
// is killed, and what is read again then was written already.
//
// A queue whose broker keeps closing connections takes that for its own end: it reads no more, and stays a member. It is
// replaced.
type Consumer struct {
	config  clickstream.Config
	drain   time.Duration
	metrics *clickstream.ConsumerMetrics
	watch   *group.Watch
	admin   *franz.Client

	mu      sync.Mutex
	queues  []queue.MessageQueue // one for each reader
	stats   *stat.Metrics        // of which kq writes a line a minute to the log
	started time.Time            // when the last one was

	waiting chan waiting
	// stop is closed when no further batch begins, gone when the readers have left: until then a reader that has a
	// record in hand keeps it, because one that gives up goes on to the next.
	stop, gone chan struct{}
}

// startTime is how long kq's Start has to get under way before Stop may be called. Start first fills the list that Stop
// works on, without a lock, then adds a listener in proc, then blocks: so some time passes until we may be sure of the
// first two, and by adding a listener of our own, under the same lock, we see the list as Start left it.
const startTime = time.Second

// waiting is a reader's record, and where the reader learns whether it was handled.
type waiting struct {
	record clickstream.Record
	done   chan error
}

var errStopped = errors.New("the consumer has stopped")

// NewConsumer makes a Consumer. drain is how long the batch in hand may take once Run's context has ended.
func NewConsumer(c clickstream.Config, drain time.Duration, o Options) (*Consumer, error) {
	admin, err := kgo.Dial(c, kgo.DefaultClientID)
	if err != nil {
		return nil, err
	}
	consumer := &Consumer{
		config:  c,
		drain:   drain,
		admin:   admin,
		waiting: make(chan waiting),
		stats:   stat.NewMetrics(c.Group),
		stop:    make(chan struct{}),
		gone:    make(chan struct{}),
		// kq does not say who its members are. They carry kafka-go's client id, which names program and host: two
		// processes of one program on one host are taken for each other.
		watch: group.NewWatch(group.Config{Client: admin, Topic: c.Topic, Group: c.Group, Members: c.Conns,
			Mine: func(m kadm.DescribedGroupMember) bool { return m.ClientID == kafka.DefaultClientID }}),
	}
	if consumer.metrics, err = clickstream.NewConsumerMetrics(o.Registerer, consumer.watch.Lag); err != nil {
		admin.Close()
		return nil, err
	}
	return consumer, nil
}

// Ready is that of clickstream.Consumer. kq has no hook for it, so the brokers are asked every few seconds: it is nil
// when the group is stable and all our readers are members.
func (c *Consumer) Ready() error { return c.watch.Ready() }

// Run is that of clickstream.Consumer. It can be called once.
func (c *Consumer) Run(ctx context.Context, h clickstream.Handler) error {
	defer c.admin.Close()
	for range c.config.Conns {
		queue, err := c.newQueue()
		if err != nil {
			return err
		}
		c.queues = append(c.queues, queue)
	}
	c.started = time.Now()
	watching, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var watch, readers sync.WaitGroup
	watch.Go(func() { c.watch.Run(watching) })
	for i := range c.queues {
		readers.Go(func() { c.read(i) })
	}

	c.collect(ctx, h)
	end()
	watch.Wait()
	c.leave()
	close(c.gone)
	readers.Wait()
	return nil
}

// newQueue makes a queue of one reader.
func (c *Consumer) newQueue() (queue queue.MessageQueue, err error) {
	keepLog(func() {
		queue, err = goqueue.NewQueue(c.conf(), goqueue.WithHandle(c.consume), goqueue.WithMaxWait(maxWait), goqueue.WithQueueCapacity(prefetch), goqueue.WithMetrics(c.stats),
			goqueue.WithErrorHandler(func(context.Context, kafka.Message, error) {})) // only ever errStopped
	})
	return queue, err
}

// read runs a queue, and another in its place when it has ended by itself, until the consumer stops.
func (c *Consumer) read(i int) {
	pause := startTime
	for queue := c.queues[i]; queue != nil; pause = min(2*pause, maxReplace) {
		began := time.Now()
		queue.Start()
		if time.Since(began) > maxReplace {
			pause = startTime
		}
		queue = c.replace(i, pause)
	}
}

// replace returns a new queue in place of one that has ended, after a pause; nil when the consumer stops.
func (c *Consumer) replace(i int, pause time.Duration) queue.MessageQueue {
	for {
		select {
		case <-c.stop:
			return nil
		case <-time.After(pause):
		}
		queue, err := c.tryReplace(i)
		if err == nil {
			return queue
		}
		logx.Errorw("a reader that has given up could not be replaced yet", logx.Field("error", err.Error()))
	}
}

func (c *Consumer) tryReplace(i int) (queue.MessageQueue, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.stop: // leave stops what has ended too
		return nil, nil
	default:
	}
	logx.Error("a reader of the click stream has given up, and is replaced")
	keepLog(c.queues[i].Stop)
	queue, err := c.newQueue()
	if err == nil {
		c.queues[i], c.started = queue, time.Now()
	}
	return queue, err
}

// leave has all readers leave the group. Call it once c.stop is closed.
func (c *Consumer) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	time.Sleep(time.Until(c.started.Add(startTime)))
	proc.AddShutdownListener(func() {})
	keepLog(func() {
		var all sync.WaitGroup
		for _, queue := range c.queues {
			all.Go(queue.Stop)
		}
		all.Wait()
	})
}

// keepLog puts the process's log away while f runs: kq sets it up when it begins, unless that was done before, and
// closes it when it ends. Lines in between go to the console.
func keepLog(f func()) {
	log := logx.Reset()
	f()
	if log != nil {
		logx.SetWriter(log)
	}
}

// conf is kq's configuration. NewQueue sets up a whole service by it: with the tracing agent off (ours is the
// provider) and without a server of its own.
func (c *Consumer) conf() goqueue.KqConf {
	return goqueue.KqConf{
		ServiceConf: service.ServiceConf{Name: c.config.Group, Telemetry: trace.Config{Disabled: true}},
		Brokers:     c.config.Brokers,
		Group:       c.config.Group,
		Topic:       c.config.Topic,
		Offset:      "first",
		// With more readers kq would not say which has ended, with more of the others it commits past records that are not
		// yet handled.
		Conns:      1,
		Consumers:  1,
		Processors: 1,
		MinBytes:   1,
		MaxBytes:   10 << 20,
		// What fails is not committed. It only fails when we stop, and then nothing later is committed either.
		ForceCommit: false,
	}
}

// consume is kq's handler. kq's context never ends; it carries the producer's span context.
func (c *Consumer) consume(ctx context.Context, _, value string) error {
	w := waiting{done: make(chan error, 1), record: clickstream.Record{
		Value:     []byte(value),
		Producer:  oteltrace.SpanContextFromContext(ctx),
		Topic:     c.config.Topic,
		Partition: -1,
		Offset:    -1,
	}}
	select {
	case c.waiting <- w:
	case <-c.stop:
		<-c.gone
		return errStopped
	}
	if err := <-w.done; err != nil {
		<-c.gone
		return err
	}
	return nil
}

// collect hands over whatever is waiting as one batch, until ctx ends. It is the only one to call h.
func (c *Consumer) collect(ctx context.Context, h clickstream.Handler) {
	defer close(c.stop)
	for {
		var batch []waiting
		select {
		case <-ctx.Done():
			return
		case w := <-c.waiting:
			batch = append(batch, w)
		}
	more:
		for len(batch) < c.config.MaxBatch {
			select {
			case w := <-c.waiting:
				batch = append(batch, w)
			default:
				break more
			}
		}
		err := c.handle(ctx, h, batch)
		for _, w := range batch {
			w.done <- err
		}
		if err != nil {
			return
		}
		c.metrics.Consumed(len(batch))
	}
}

// handle calls h until it returns nil or the drain deadline has passed.
func (c *Consumer) handle(ctx context.Context, h clickstream.Handler, batch []waiting) error {
	records := make([]clickstream.Record, len(batch))
	for i, w := range batch {
		records[i] = w.record
	}
	held, release := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-held.Done():
			return
		case <-ctx.Done():
		}
		select {
		case <-held.Done():
		case <-time.After(c.drain):
			release()
		}
	})
	defer wg.Wait()
	defer release()
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		c.metrics.Took()
		err := h(held, records)
		if err == nil {
			return nil
		}
		c.metrics.HandlerFailed()
		logx.Errorw("a batch could not be handled and will be tried again", logx.Field("records", len(batch)), logx.Field("error", err))
		select {
		case <-held.Done():
			return errStopped
		case <-time.After(pause):
		}
	}
}
