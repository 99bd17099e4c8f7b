package journal

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/zeromicro/go-zero/core/logx"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/clickstream"
)

const (
	// pause is how long the shipper waits for clicks when there are none.
	pause = 10 * time.Millisecond
	// chunk is the most records that are shipped before the mark of what is done can move.
	chunk = 512
	// complaint is how often it is said that the journal is full.
	complaint = time.Minute
)

// Publisher is a clickstream.Publisher that keeps clicks in a journal until the one behind it has sent them. Safe for
// concurrent use.
type Publisher struct {
	journal *Journal
	shipper clickstream.Shipper
	values  sync.Pool // of *[]byte

	stop    context.CancelFunc
	shipped chan struct{} // closed when ship has ended
	closing sync.Once

	mu         sync.Mutex
	complained time.Time
}

// NewPublisher opens the journal and ships what is in it, and what comes. It owns the shipper. A nil registerer keeps the
// journal's metrics unseen.
func NewPublisher(c Config, shipper clickstream.Shipper, r prometheus.Registerer) (*Publisher, error) {
	j, err := Open(c)
	if err != nil {
		return nil, err
	}
	if err := j.register(r); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &Publisher{
		journal: j, shipper: shipper, stop: cancel, shipped: make(chan struct{}),
		values: sync.Pool{New: func() any { b := make([]byte, 0, valueRoom); return &b }},
	}
	go p.ship(ctx)
	return p, nil
}

// valueRoom is enough for most clicks' values.
const valueRoom = 512

// Publish is that of clickstream.Publisher: the click is in the journal when it returns. A click that finds the journal full
// is dropped and counted, or takes the place of the oldest ones, by configuration.
func (p *Publisher) Publish(ctx context.Context, c click.Click) {
	room := p.values.Get().(*[]byte)
	value := c.AppendJSON((*room)[:0])
	err := p.journal.Append(&Record{ID: c.ID, Appended: time.Now(), Parent: trace.SpanContextFromContext(ctx), Value: value})
	*room = value
	p.values.Put(room)
	if err != nil {
		p.complain(err)
	}
}

// complain says what is wrong, once in a while.
func (p *Publisher) complain(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.complained) < complaint {
		return
	}
	p.complained = time.Now()
	logx.Errorw("clicks are lost", logx.Field("reason", err.Error()), logx.Field("lost", p.journal.counts.dropped.Load()))
}

// ship sends records in order, for as long as the process lives.
func (p *Publisher) ship(ctx context.Context) {
	defer close(p.shipped)
	for ctx.Err() == nil {
		c := p.journal.Read(chunk)
		if c == nil {
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			continue
		}
		done := c.Done
		for i := range c.Records {
			r := &c.Records[i]
			if err := p.shipper.Ship(ctx, clickstream.Message{ID: r.ID, Value: r.Value, Parent: r.Parent, Taken: r.Appended, Done: done}); err != nil {
				return // the rest is for the next process
			}
		}
	}
}

// Close is that of clickstream.Publisher. What could not be sent in time is not lost: the next process sends it, and the
// error says how much that is.
func (p *Publisher) Close(ctx context.Context) error {
	var err error
	p.closing.Do(func() { err = p.close(ctx) })
	return err
}

func (p *Publisher) close(ctx context.Context) error {
	drained := p.drained(ctx)
	p.stop()
	<-p.shipped
	err := p.shipper.Close(ctx)
	if left := p.journal.Waiting(); left > 0 && drained == nil {
		drained = errLeft
	}
	if drained != nil {
		err = errors.Join(drained, err)
	}
	return errors.Join(err, p.journal.Close())
}

var errLeft = errors.New("clicks are left in the journal")

// drained waits until all that was appended is done, or ctx ends.
func (p *Publisher) drained(ctx context.Context) error {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for p.journal.Waiting() > 0 {
		select {
		case <-ctx.Done():
			return errLeft
		case <-tick.C:
		}
	}
	return nil
}
