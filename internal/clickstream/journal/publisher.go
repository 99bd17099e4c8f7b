package journal

import (
	"context"
	"errors"
	"fmt"
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
	// look is how often it is looked whether clicks were lost, and complaint how often that is said.
	look      = time.Second
	complaint = time.Minute
)

// Publisher is a clickstream.Publisher that keeps clicks in a journal until the one behind it has sent them. Safe for
// concurrent use.
type Publisher struct {
	journal *Journal
	shipper clickstream.Shipper
	values  sync.Pool // of *[]byte

	stop    context.CancelFunc
	running sync.WaitGroup
	closing sync.Once
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
		journal: j, shipper: shipper, stop: cancel,
		values: sync.Pool{New: func() any { b := make([]byte, 0, valueRoom); return &b }},
	}
	p.running.Go(func() { p.ship(ctx) })
	p.running.Go(func() { p.watch(ctx) })
	return p, nil
}

// valueRoom is enough for most clicks' values.
const valueRoom = 512

// Publish is that of clickstream.Publisher: the click is in the journal when it returns. A click that finds the journal full
// is dropped and counted, or takes the place of the oldest ones, by configuration.
func (p *Publisher) Publish(ctx context.Context, c click.Click) {
	room := p.values.Get().(*[]byte)
	value := c.AppendJSON((*room)[:0])
	// What is wrong is counted, and watch says it.
	_ = p.journal.Append(&Record{ID: c.ID, Appended: time.Now(), Parent: trace.SpanContextFromContext(ctx), Value: value})
	*room = value
	p.values.Put(room)
}

// watch says once in a while that clicks are lost, or are less safe than they should be.
func (p *Publisher) watch(ctx context.Context) {
	counts := &p.journal.counts
	var said struct{ refused, overwritten, unsynced uint64 }
	var last time.Time
	for tick := time.NewTicker(look); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			tick.Stop()
			return
		}
		now := said
		now.refused, now.overwritten, now.unsynced = counts.refused.Load(), counts.overwritten.Load(), counts.unsynced.Load()
		if now == said || time.Since(last) < complaint {
			continue
		}
		logx.Errorw("the journal of clicks is full, or its disk fails: clicks are lost",
			logx.Field("refused", now.refused-said.refused), logx.Field("overwritten", now.overwritten-said.overwritten),
			logx.Field("not_synced", now.unsynced-said.unsynced), logx.Field("journal", p.journal.dir),
			logx.Field("bytes", p.journal.Bytes()), logx.Field("limit_bytes", p.journal.config.MaxBytes),
			logx.Field("records", p.journal.Waiting()))
		said, last = now, time.Now()
	}
}

// ship sends records for as long as the process lives. The shipper behind it waits while Kafka is away, and tries again as
// it does.
func (p *Publisher) ship(ctx context.Context) {
	for ctx.Err() == nil {
		// By turns, so that neither waits for the other: what an outage has left behind, and what comes meanwhile.
		backlog, fresh := p.journal.Read(chunk), p.journal.ReadFresh(chunk)
		if !p.send(ctx, backlog) || !p.send(ctx, fresh) {
			return // the rest is for the next process
		}
		if backlog == nil && fresh == nil {
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}
}

// send reports whether a chunk, which may be nil, was handed to the shipper.
func (p *Publisher) send(ctx context.Context, c *Chunk) bool {
	if c == nil {
		return true
	}
	done := c.Done
	for i := range c.Records {
		r := &c.Records[i]
		if err := p.shipper.Ship(ctx, clickstream.Message{ID: r.ID, Value: r.Value, Parent: r.Parent, Taken: r.Appended, Done: done}); err != nil {
			return false
		}
	}
	return true
}

// Waiting is how many clicks are in the journal that Kafka has not acknowledged.
func (p *Publisher) Waiting() uint64 { return p.journal.Waiting() }

// LeftError says how many clicks a Publisher has left in its journal. They are not lost: the next process sends them.
type LeftError struct {
	Dir    string
	Clicks uint64
}

func (e *LeftError) Error() string {
	return fmt.Sprintf("%d clicks are left in the journal %s; the next process that opens it sends them", e.Clicks, e.Dir)
}

// Close is that of clickstream.Publisher, but that clicks which could not be sent in time are not lost: then the error has a
// *LeftError.
func (p *Publisher) Close(ctx context.Context) error {
	var err error
	p.closing.Do(func() { err = p.close(ctx) })
	return err
}

func (p *Publisher) close(ctx context.Context) error {
	p.drain(ctx)
	p.stop()
	p.running.Wait()
	err := p.shipper.Close(ctx)
	if left := p.journal.Waiting(); left > 0 {
		err = errors.Join(&LeftError{Dir: p.journal.dir, Clicks: left}, err)
	}
	return errors.Join(err, p.journal.Close())
}

// drain waits until all that was appended is done, or ctx ends.
func (p *Publisher) drain(ctx context.Context) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for p.journal.Waiting() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
