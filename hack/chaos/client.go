//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linktrail/linktrail/hack/bench/load"
	"github.com/linktrail/linktrail/internal/link"
)

// answerWithin is how long a redirect may take until it counts as not answered.
const answerWithin = 5 * time.Second

// The phases of a trial.
const (
	warming int32 = iota // not counted
	before
	during
	after
	phases
)

// traceID is the click's: the response names it in its traceparent, and the store keeps it.
type traceID [16]byte

// entry is one line of the ledger: a redirect whose 302 was read whole.
type entry struct {
	trace traceID
	at    time.Duration // since the load began
}

// client asks for redirects, so many a second, over connections that are kept, and writes down those that it was given. It
// asks on when the service is away: what is not answered is counted.
type client struct {
	addr    string
	targets []target
	rate    float64
	begin   time.Time
	next    atomic.Int64
	count   atomic.Int64 // of those answered
	phase   atomic.Int32
	stop    context.CancelFunc
	ended   sync.WaitGroup
	workers []*worker
}

type target struct {
	request  []byte
	location string
}

// worker is one connection.
type worker struct {
	*client
	conn     net.Conn
	reader   *bufio.Reader
	answered []entry
	tallies  [phases]tally
	wrong    string // the first answer that is no redirect
	failure  string // the first that did not come
}

// tally counts attempts.
type tally struct {
	attempts int
	answered int
	failed   int // no answer
	refused  int // any other answer than the redirect
	latency  load.Histogram
}

func (t *tally) add(o *tally) {
	t.attempts += o.attempts
	t.answered += o.answered
	t.failed += o.failed
	t.refused += o.refused
	t.latency.Merge(&o.latency)
}

// newClient makes a client of a front door, with so many connections.
func newClient(door string, links []link.Link, rate float64, connections int) *client {
	c := &client{addr: door, rate: rate}
	for _, l := range links {
		c.targets = append(c.targets, target{load.Get(door, "/"+l.Code), l.URL})
	}
	for range connections {
		c.workers = append(c.workers, &worker{client: c})
	}
	return c
}

// start begins to ask; end must be called.
func (c *client) start(ctx context.Context) {
	ctx, c.stop = context.WithCancel(ctx)
	c.begin = time.Now()
	for _, w := range c.workers {
		c.ended.Go(func() { w.run(ctx) })
	}
}

// end stops asking, when what was asked is answered.
func (c *client) end() {
	c.stop()
	c.ended.Wait()
}

// enter begins a phase.
func (c *client) enter(phase int32) { c.phase.Store(phase) }

// tally adds up a phase, once the load has ended.
func (c *client) tally(phase int32) *tally {
	var sum tally
	for _, w := range c.workers {
		sum.add(&w.tallies[phase])
	}
	return &sum
}

// ledger is all that was answered, once the load has ended.
func (c *client) ledger() map[traceID]time.Duration {
	all := make(map[traceID]time.Duration)
	for _, w := range c.workers {
		for _, e := range w.answered {
			all[e.trace] = e.at
		}
	}
	return all
}

// complaint is the first thing that went wrong.
func (c *client) complaint() string {
	for _, w := range c.workers {
		if w.wrong != "" {
			return w.wrong
		}
	}
	for _, w := range c.workers {
		if w.failure != "" {
			return w.failure
		}
	}
	return ""
}

func (w *worker) run(ctx context.Context) {
	defer w.hangUp()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		n := w.next.Add(1) - 1
		due := w.begin.Add(time.Duration(float64(n) / w.rate * float64(time.Second)))
		if wait := time.Until(due); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return
			}
		}
		if ctx.Err() != nil {
			return
		}
		w.ask(&w.targets[n%int64(len(w.targets))], due)
	}
}

// ask makes one attempt and writes down what became of it.
func (w *worker) ask(t *target, due time.Time) {
	tally := &w.tallies[w.phase.Load()]
	tally.attempts++
	trace, redirected, err := w.exchange(t)
	switch {
	case err != nil:
		tally.failed++
		w.hangUp()
		if w.failure == "" {
			w.failure = err.Error()
		}
	case redirected:
		tally.answered++
		w.count.Add(1)
		tally.latency.Add(time.Since(due))
		w.answered = append(w.answered, entry{trace, time.Since(w.begin)})
	default:
		tally.refused++
	}
}

// exchange sends a request and reads its answer whole.
func (w *worker) exchange(t *target) (trace traceID, redirected bool, err error) {
	if w.conn == nil {
		if w.conn, err = net.DialTimeout("tcp", w.addr, answerWithin); err != nil {
			return trace, false, err
		}
		w.reader = bufio.NewReader(w.conn)
	}
	if err := w.conn.SetDeadline(time.Now().Add(answerWithin)); err != nil {
		return trace, false, err
	}
	if _, err := w.conn.Write(t.request); err != nil {
		return trace, false, err
	}
	res, err := http.ReadResponse(w.reader, nil)
	if err != nil {
		return trace, false, err
	}
	_, err = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	if err != nil {
		return trace, false, err
	}
	if res.Close {
		w.hangUp()
	}
	if res.StatusCode != http.StatusFound || res.Header.Get("Location") != t.location {
		if w.wrong == "" {
			w.wrong = fmt.Sprintf("status %d with Location %q", res.StatusCode, res.Header.Get("Location"))
		}
		return trace, false, nil
	}
	trace, err = traceOf(res.Header.Get("Traceparent"))
	return trace, err == nil, err
}

func (w *worker) hangUp() {
	if w.conn != nil {
		_ = w.conn.Close()
		w.conn = nil
	}
}

// traceOf reads the trace's id out of a traceparent.
func traceOf(parent string) (id traceID, err error) {
	parts := strings.Split(parent, "-")
	if len(parts) != 4 || len(parts[1]) != 32 {
		return id, fmt.Errorf("traceparent %q", parent)
	}
	_, err = hex.Decode(id[:], []byte(parts[1]))
	return id, err
}
