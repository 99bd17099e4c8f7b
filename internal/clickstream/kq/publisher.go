package kq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
	goqueue "github.com/zeromicro/go-queue/kq"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/clickstream"
)

// Publisher is a clickstream.Shipper on kq.Pusher. The pusher can block for as long as one of its flushes does, so
// that clicks wait in a queue of our own, from which one goroutine hands them over. A click is published, and its span
// ends, when kq has it: kq asks the broker for no acknowledgement, and a chunk that it cannot write is lost and only
// logged, which no metric of ours can see.
type Publisher struct {
	pusher  *goqueue.Pusher
	writing *counter
	sends   *clickstream.Sends
	metrics *clickstream.PublisherMetrics

	queue   chan sending
	abandon chan struct{} // closed when what is left in the queue is to be dropped
	handed  chan struct{} // closed when the queue is empty and will stay so

	mu     sync.RWMutex // closed changes under Lock; Publish holds RLock
	closed bool
	// Read once handed is closed: how many clicks kq took, and how many were dropped because there was no time.
	took int64
	left int
}

// counter is the balancer that kq uses anyway, counting: a message that it was asked about is in the writer's hands,
// and the writer does not close before it is done with it.
type counter struct {
	kafka.Balancer
	messages atomic.Int64
}

// Balance is that of kafka.Balancer.
func (c *counter) Balance(m kafka.Message, partitions ...int) int {
	c.messages.Add(1)
	return c.Balancer.Balance(m, partitions...)
}

// sending is one click on its way.
type sending struct {
	value string
	span  clickstream.Send
	sc    trace.SpanContext
	start time.Time
	done  func() // of a message that is shipped
}

// minLinger is the least pause between two flushes: kq's executor runs a ticker of that length.
const minLinger = 10 * time.Millisecond

// NewPublisher makes a Publisher. It waits for no broker.
func NewPublisher(c clickstream.Config, o Options) (*Publisher, error) {
	p := &Publisher{
		sends:   clickstream.NewSends(o.TracerProvider, c, kafka.DefaultClientID),
		queue:   make(chan sending, c.Queue),
		abandon: make(chan struct{}),
		handed:  make(chan struct{}),
		writing: &counter{Balancer: &kafka.LeastBytes{}},
	}
	var err error
	if p.metrics, err = clickstream.NewPublisherMetrics(o.Registerer, c.Queue, func() int { return len(p.queue) }); err != nil {
		return nil, err
	}
	p.pusher = goqueue.NewPusher(c.Brokers, c.Topic, goqueue.WithFlushInterval(max(c.Linger(), minLinger)), goqueue.WithBalancer(p.writing))
	go p.handOver()
	return p, nil
}

// Publish is that of clickstream.Publisher.
func (p *Publisher) Publish(ctx context.Context, c click.Click) {
	start := time.Now()
	span, sc := p.sends.Start(ctx, c.ID)
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		p.drop(span, clickstream.DropClosed, "the publisher is closed")
		return
	}
	select {
	case p.queue <- sending{value: string(c.AppendJSON(make([]byte, 0, valueRoom))), span: span, sc: sc, start: start}:
	default:
		p.drop(span, clickstream.DropQueueFull, "the queue is full")
	}
}

// Ship is that of clickstream.Shipper.
func (p *Publisher) Ship(ctx context.Context, m clickstream.Message) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		return errClosed
	}
	span, sc := p.sends.StartAt(trace.ContextWithSpanContext(ctx, m.Parent), m.ID, m.Taken)
	select {
	case p.queue <- sending{value: string(m.Value), span: span, sc: sc, start: m.Taken, done: m.Done}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errClosed = errors.New("the publisher is closed")

// valueRoom is enough for most clicks' values.
const valueRoom = 512

func (p *Publisher) drop(span clickstream.Send, reason clickstream.DropReason, description string) {
	p.metrics.Dropped(reason)
	span.Dropped(string(reason), description)
}

// handOver gives the queue's clicks to kq until the queue is closed and empty.
func (p *Publisher) handOver() {
	defer close(p.handed)
	for s := range p.queue {
		select {
		case <-p.abandon:
			if s.done != nil { // it is kept elsewhere
				continue
			}
			p.left++
			p.drop(s.span, clickstream.DropClosed, "the publisher was closed before kq took the click")
			continue
		default:
		}
		// Nothing of the caller's context goes along but the span: kq injects all that the global propagator knows, and
		// baggage is not ours to send.
		ctx := trace.ContextWithSpanContext(context.Background(), s.sc)
		if err := p.pusher.PushWithKey(ctx, "", s.value); err != nil {
			p.drop(s.span, clickstream.DropRejected, err.Error())
		} else {
			p.took++
			p.metrics.Published(s.start)
			s.span.Sent(-1, -1)
		}
		if s.done != nil {
			s.done()
		}
	}
}

// settlement is how long settle waits; a chunk that kq could not even address is never in the writer's hands.
const settlement = 2 * time.Second

// settle waits until all that kq took is in the writer's hands. kq closes the writer while its own goroutine may still
// hold a chunk, which the closed writer would then refuse.
func (p *Publisher) settle() {
	deadline := time.NewTimer(settlement)
	defer deadline.Stop()
	tick := time.NewTicker(minLinger)
	defer tick.Stop()
	for p.writing.messages.Load() < p.took {
		select {
		case <-deadline.C:
			return
		case <-tick.C:
		}
	}
}

// Close is that of clickstream.Publisher, with this difference: it cannot tell how many of the clicks in kq's hands
// were lost. When ctx ends while kq is still writing, kq goes on until its own attempts are used up, in the background.
// Called again it does nothing.
func (p *Publisher) Close(ctx context.Context) error {
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.closed = true
		close(p.queue)
	}
	p.mu.Unlock()
	if closed {
		return nil
	}
	flushed := make(chan error, 1)
	go func() {
		<-p.handed
		p.settle()
		flushed <- p.pusher.Close()
	}()
	select {
	case err := <-flushed:
		return err
	case <-ctx.Done():
	}
	close(p.abandon)
	waiting := len(p.queue)
	select {
	case <-p.handed:
		waiting = p.left
	case <-time.After(minLinger):
		// kq holds the goroutine; it drops what is waiting once kq lets go.
	}
	return fmt.Errorf("%d clicks were not handed over in time and are lost, and so may be those in kq's hands: %w", waiting, ctx.Err())
}
