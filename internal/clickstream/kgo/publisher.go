package kgo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	franz "github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/clickstream"
)

// Publisher is a clickstream.Shipper. A click is retried, in its place in the queue, for as long as the broker is
// away or the topic does not exist; what the broker refuses for good is dropped. What is shipped is never refused for good
// unless it is larger than any click.
type Publisher struct {
	client  *franz.Client
	sends   *clickstream.Sends
	metrics *clickstream.PublisherMetrics

	mu     sync.RWMutex // closed changes under Lock; Publish holds RLock
	closed bool
	taken  sync.WaitGroup // the clicks whose promise is not yet called
	left   atomic.Int64   // taken clicks that Close gave up
	again  atomic.Int64   // those of Ship that were refused and are to be sent again
	logger *logger

	sendings sync.Pool // of *sending
}

// NewPublisher makes a Publisher. It waits for no broker.
func NewPublisher(c clickstream.Config, o Options) (*Publisher, error) {
	client, err := Dial(c, o.clientID(),
		franz.DefaultProduceTopic(c.Topic),
		franz.RequiredAcks(franz.AllISRAcks()),
		franz.MaxBufferedRecords(c.Queue),
		franz.ProducerLinger(c.Linger()),
		franz.ProducerBatchMaxBytes(maxBatchBytes),
		// What kq's own pusher uses, so that whoever reads the one reads the other.
		franz.ProducerBatchCompression(franz.SnappyCompression()),
		// A topic may be made after us; the queue is the only bound.
		franz.UnknownTopicRetries(-1),
	)
	if err != nil {
		return nil, err
	}
	p := &Publisher{client: client, logger: newLogger(), sends: clickstream.NewSends(o.TracerProvider, c, o.clientID())}
	p.sendings.New = p.newSending
	// One that Ship waits with is counted by the client before there is room for it.
	depth := func() int { return min(int(client.BufferedProduceRecords()), c.Queue) }
	p.metrics, err = clickstream.NewPublisherMetrics(o.Registerer, c.Queue, depth)
	if err != nil {
		client.Close()
		return nil, err
	}
	return p, nil
}

// maxBatchBytes is the most that a batch has before it is compressed, of which a click with the longest headers may need most.
// A broker that refuses a batch as too large refuses all clicks in it, however small each is.
const maxBatchBytes = 2 * click.MaxWire

// sending is one click on its way; all that it needs is in one piece of memory, which is used again once the broker has
// acknowledged the click.
type sending struct {
	publisher *Publisher
	promise   func(*franz.Record, error) // done
	record    franz.Record
	span      clickstream.Send
	start     time.Time
	shipped   func() // of a message that was shipped
	headers   [2]franz.RecordHeader
	parent    [traceparentLength]byte
	value     [valueRoom]byte
}

// valueRoom is enough for most clicks' values; a longer one is put elsewhere.
const valueRoom = 512

func (p *Publisher) newSending() any {
	s := &sending{publisher: p}
	s.promise = s.done
	return s
}

// Publish is that of clickstream.Publisher.
func (p *Publisher) Publish(ctx context.Context, c click.Click) {
	s := p.sendings.Get().(*sending)
	p.mu.RLock()
	defer p.mu.RUnlock()
	span, sc := p.sends.Start(ctx, c.ID)
	s.begin(span, sc, time.Now())
	s.record.Value = c.AppendJSON(s.value[:0])
	if p.closed {
		s.closed()
		return
	}
	p.taken.Add(1)
	p.client.TryProduce(s.record.Context, &s.record, s.promise)
}

// Ship is that of clickstream.Shipper. While clicks are refused that are not at fault themselves, because a right is missing or
// the topic is not as it should be, it takes no others: those are tried again.
func (p *Publisher) Ship(ctx context.Context, m clickstream.Message) error {
	for p.again.Load() > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(refusedPause):
		}
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		return errClosed
	}
	s := p.sendings.Get().(*sending)
	span, sc := p.sends.StartAt(trace.ContextWithSpanContext(ctx, m.Parent), m.ID, m.Taken)
	s.begin(span, sc, m.Taken)
	s.record.Value, s.shipped = m.Value, m.Done
	p.taken.Add(1)
	p.client.Produce(ctx, &s.record, s.promise)
	return ctx.Err()
}

var errClosed = errors.New("the publisher is closed")

// begin makes the record of a click that carries the context of its span. The record's own context is nobody's: the caller's
// may end before.
func (s *sending) begin(span clickstream.Send, sc trace.SpanContext, taken time.Time) {
	s.span, s.start = span, taken
	s.record = franz.Record{
		Context: context.Background(), Headers: appendHeaders(s.headers[:0], s.parent[:0], sc), Timestamp: taken,
	}
}

// done is called once for each click, by one goroutine for all of them.
func (s *sending) done(r *franz.Record, err error) {
	p := s.publisher
	if err != nil && s.shipped != nil && passes(err, r.Value) {
		p.sendAgain(s, r, err)
		return
	}
	defer p.taken.Done()
	switch {
	case err == nil:
		p.metrics.Published(s.start)
		s.span.Sent(r.Partition, r.Offset)
		if s.shipped != nil {
			s.shipped()
		}
		// Nobody writes it any more. Of one that failed the client may still hold a request that is being written.
		s.record, s.span, s.headers, s.shipped = franz.Record{}, clickstream.Send{}, [2]franz.RecordHeader{}, nil
		p.sendings.Put(s)
	case errors.Is(err, franz.ErrMaxBuffered):
		p.metrics.Dropped(clickstream.DropQueueFull)
		s.span.Dropped(string(clickstream.DropQueueFull), "the queue is full")
	case errors.Is(err, franz.ErrClientClosed) || errors.Is(err, context.Canceled):
		if s.shipped == nil {
			p.left.Add(1)
		}
		s.closed()
	default:
		p.logger.Log(franz.LogLevelError, "clicks are refused for good, and lost", "err", err)
		p.metrics.Dropped(clickstream.DropRejected)
		s.span.Dropped(errorType(err), err.Error())
		if s.shipped != nil {
			s.shipped()
		}
	}
}

// refusedPause is how long a click that was refused waits until it is sent again.
const refusedPause = time.Second

// passes reports whether a value may be taken later: an error is that of a whole batch, and mostly of the topic or of who may
// write to it. What is kept in a journal can wait until somebody has mended that. Not so once the client is closed, nor for
// a value that is too large and no click.
func passes(err error, value []byte) bool {
	switch {
	case errors.Is(err, franz.ErrClientClosed) || errors.Is(err, context.Canceled):
		return false
	case errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.RecordListTooLarge):
		return len(value) <= click.MaxWire
	}
	return true
}

// sendAgain sends a click again in a while. Its span goes on.
func (p *Publisher) sendAgain(s *sending, r *franz.Record, err error) {
	p.again.Add(1)
	p.logger.Log(franz.LogLevelError, "clicks are refused, and sent again until they are not", "err", err)
	// The client may still hold the record that failed.
	record := &franz.Record{Context: context.Background(), Headers: r.Headers, Value: r.Value, Timestamp: r.Timestamp}
	time.AfterFunc(refusedPause, func() {
		if errors.Is(err, kerr.InvalidTimestamp) {
			record.Timestamp = time.Now() // the clock was wrong when the click was taken, or it has waited too long
		}
		p.again.Add(-1)
		p.client.TryProduce(record.Context, record, s.promise) // it has a place in the queue, or tries again
	})
}

// closed gives a click up, unless it is kept elsewhere: then its span is made by who ships it again.
func (s *sending) closed() {
	if s.shipped != nil {
		return
	}
	s.publisher.metrics.Dropped(clickstream.DropClosed)
	s.span.Dropped(string(clickstream.DropClosed), "the publisher was closed before the broker answered")
}

// errorType is a word of few values: the name of the broker's error where it is one.
func errorType(err error) string {
	if e, ok := errors.AsType[*kerr.Error](err); ok {
		return e.Message
	}
	return string(clickstream.DropRejected)
}

// Close is that of clickstream.Publisher. Called again it does nothing.
func (p *Publisher) Close(ctx context.Context) error {
	p.mu.Lock()
	closed := p.closed
	p.closed = true
	p.mu.Unlock()
	if closed {
		return nil
	}
	err := p.client.Flush(ctx)
	p.client.Close()
	p.taken.Wait()
	if n := p.left.Load(); n > 0 {
		return fmt.Errorf("%d clicks were not acknowledged in time and are lost: %w", n, err)
	}
	return nil
}
