package door

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zeromicro/go-zero/core/logx"
)

// Shed says when the door refuses requests because more come than the machine can bear. Each window of 50 ms the door
// learns how long a request that arrives stands before it is looked at: the least of several probes, so that a burst
// that is worked off does not count. Beyond Target it answers a share of the requests 503 with Retry-After at once; the
// share grows for as long as the delay does, and shrinks when it falls below.
type Shed struct {
	// Target is the delay beyond which requests are shed, and about the one that is left once they are; 0 is never. The
	// default is that of DAGOR (Zhou et al., Overload Control for Scaling WeChat Microservices, 2018).
	Target time.Duration `json:",default=20ms"`
	// Queue is how many requests may stand however long that takes: so many connections that are kept busy are no
	// overload.
	Queue int `json:",default=256,range=[1:1000000]"`
}

const (
	shedWindow = 50 * time.Millisecond
	shedProbes = 4 // a window
	// maxShed leaves one in twenty to be answered, whatever the delay: a process whose cores are taken by others is slow
	// however much it refuses. maxUnknown is the same for unknown codes.
	maxShed    = 0.95
	maxUnknown = 0.98
	// toldShare is the share from which on the log tells, and toldCalm how many windows without any end it.
	toldShare = 0.05
	toldCalm  = 200
	// unknownWeight is how much likelier a request for a code is refused of which the process has never seen that there is
	// a link. Those of known codes that must be looked up again are as good as any: they are what keeps others short.
	unknownWeight = 4
)

// controller finds the share of requests to refuse from the delay in one window after the other. It is a
// proportional-integral one, as PIE (RFC 8033) has it, on the delay relative to its target. How far beyond the target a
// delay is does not count once it is twice that: a window in which the machine did something else then weighs as much as
// one in which all was well, and the share grows only when more windows are bad than good.
type controller struct {
	config Shed
	share  float64
	error  float64 // of the window before, from -1 to 1
}

// The controller's gains a window: the share goes from nothing to all in two and a half seconds, and back. The second is so
// large beside the first that the delay does not swing about its target.
const (
	gainIntegral     = 0.015
	gainProportional = 0.12
)

// next takes the delay in a window, and how many requests a second there were, and returns the share to refuse.
func (c *controller) next(delay time.Duration, perSecond float64) float64 {
	target := c.config.Target.Seconds()
	if perSecond > 0 {
		target = max(target, float64(c.config.Queue)/perSecond)
	}
	e := min(delay.Seconds()/target-1, 1)
	c.share += gainIntegral*e + gainProportional*(e-c.error)
	c.error = e
	c.share = min(max(0, c.share), maxShed)
	return c.share
}

// overload watches the delay and says which requests to refuse.
type overload struct {
	config   Shed
	requests atomic.Uint64 // so far, with those refused
	share    atomic.Uint64 // of requests to refuse: the bits of a float64
	delay    atomic.Int64  // nanoseconds, in the last window

	began    time.Time
	sent     atomic.Int64 // when the probe under way was sent, since began; 0 is none
	shortest atomic.Int64 // delay of this window
	told     bool         // the log says that the door sheds
	calm     int          // windows since it last did
}

// refuses says whether to refuse a request.
func (o *overload) refuses() bool {
	share := o.share.Load()
	return share != 0 && rand.Float64() < math.Float64frombits(share)
}

// refusesUnknown says whether to refuse a request for an unknown code that refuses has let pass.
func (o *overload) refusesUnknown() bool {
	share := o.share.Load()
	return share != 0 && rand.Float64() < min(unknownWeight*math.Float64frombits(share), maxUnknown)
}

func (o *overload) current() float64 { return math.Float64frombits(o.share.Load()) }

// watch probes and sets the share, until ctx ends. A probe is a byte through a pipe: it is seen when a request that
// arrives at the same moment is, since it stands in the same queues, the kernel's of what is ready to be read and the
// scheduler's of what is ready to run.
func (o *overload) watch(ctx context.Context) error {
	out, in, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("Door.Shed: %w", err)
	}
	defer o.share.Store(0) // who no longer looks must not go on refusing
	o.began = time.Now()
	o.shortest.Store(math.MaxInt64)
	var reader sync.WaitGroup
	reader.Go(func() { o.receive(out) })
	defer reader.Wait()
	defer func() { _ = in.Close() }()

	tick := time.NewTicker(shedWindow / shedProbes)
	defer tick.Stop()
	c := controller{config: o.config}
	last, requests := time.Now(), o.requests.Load()
	probed := requests
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now, total := time.Now(), o.requests.Load()
		if since := now.Sub(last); since >= shedWindow {
			o.decide(&c, float64(total-requests)/since.Seconds())
			last, requests = now, total
		}
		idle := total == probed
		probed = total
		if !idle && o.sent.CompareAndSwap(0, int64(now.Sub(o.began))) {
			if _, err := in.Write([]byte{0}); err != nil {
				return fmt.Errorf("Door.Shed: %w", err)
			}
		}
	}
}

// receive takes the probes until the pipe is closed at its other end.
func (o *overload) receive(out *os.File) {
	defer func() { _ = out.Close() }()
	for b := make([]byte, 1); ; {
		if _, err := out.Read(b); err != nil {
			return
		}
		delay := int64(time.Since(o.began)) - o.sent.Load()
		for old := o.shortest.Load(); delay < old && !o.shortest.CompareAndSwap(old, delay); old = o.shortest.Load() {
		}
		o.sent.Store(0)
	}
}

// decide ends a window.
func (o *overload) decide(c *controller, perSecond float64) {
	delay := o.shortest.Swap(math.MaxInt64)
	if delay == math.MaxInt64 {
		// The probe that is under way has stood for so long already.
		delay = 0
		if sent := o.sent.Load(); sent != 0 {
			delay = int64(time.Since(o.began)) - sent
		}
	}
	o.delay.Store(delay)
	share := c.next(time.Duration(delay), perSecond)
	o.share.Store(math.Float64bits(share))
	if o.calm++; share > 0 {
		o.calm = 0
	}
	switch {
	case !o.told && share > toldShare:
		o.told = true
		logx.Infow("the front door sheds: more requests come than can be answered in time",
			logx.Field("delay_ms", time.Duration(delay).Milliseconds()), logx.Field("requests_per_second", int(perSecond)))
	case o.told && o.calm >= toldCalm:
		o.told = false
		logx.Infow("the front door sheds no more")
	}
}
