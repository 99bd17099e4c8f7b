package door

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
	"github.com/zeromicro/go-zero/core/logx"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/internal/problem"
)

// Shed says when the door refuses requests because more come than the machine can bear. Each window of 100 ms the door
// learns how long a request that arrives stands before it is looked at: the least of several probes, so that a burst
// that is worked off does not count. Beyond Target it answers a share of the requests 503 with Retry-After at once; the
// share grows for as long as the delay does, and shrinks when it falls below.
type Shed struct {
	// Target is the delay beyond which requests are shed; 0 is never.
	Target time.Duration `json:",default=10ms"`
	// Queue is how many requests may stand however long that takes: so many connections that are kept busy are no
	// overload.
	Queue int `json:",default=256,range=[1:1000000]"`
}

const (
	shedWindow = 100 * time.Millisecond
	shedProbes = 5 // a window
	// maxShed leaves some to be answered, so that the door finds out what it can bear.
	maxShed = 0.98
	// unknownWeight is how much likelier a request for a code is refused of which the process has never seen that there is
	// a link. Those of known codes that must be looked up again are as good as any: they are what keeps others short.
	unknownWeight = 4
)

// controller finds the share of requests to refuse from the delay in one window after the other. It is a
// proportional-integral one, as PIE (RFC 8033) has it, on the delay relative to its target.
type controller struct {
	config Shed
	share  float64
	error  float64 // of the window before
}

// The controller's gains a window, and how far beyond the target a delay still counts as more.
const (
	gainIntegral     = 0.03
	gainProportional = 0.10
	maxError         = 4
)

// next takes the delay in a window, and how many requests a second there were, and returns the share to refuse.
func (c *controller) next(delay time.Duration, perSecond float64) float64 {
	target := c.config.Target.Seconds()
	if perSecond > 0 {
		target = max(target, float64(c.config.Queue)/perSecond)
	}
	e := min(delay.Seconds()/target-1, maxError)
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
}

// refuses says whether to refuse a request.
func (o *overload) refuses() bool {
	share := o.share.Load()
	return share != 0 && rand.Float64() < math.Float64frombits(share)
}

// refusesUnknown says whether to refuse a request for an unknown code that refuses has let pass.
func (o *overload) refusesUnknown() bool {
	share := o.share.Load()
	return share != 0 && rand.Float64() < min(unknownWeight*math.Float64frombits(share), maxShed)
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
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := time.Now()
		if since := now.Sub(last); since >= shedWindow {
			total := o.requests.Load()
			o.decide(&c, float64(total-requests)/since.Seconds())
			last, requests = now, total
		}
		if o.sent.CompareAndSwap(0, int64(now.Sub(o.began))) {
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
	before, share := c.share, c.next(time.Duration(delay), perSecond)
	o.share.Store(math.Float64bits(share))
	switch {
	case before == 0 && share > 0:
		logx.Infow("the front door sheds: more requests come than can be answered in time",
			logx.Field("delay_ms", time.Duration(delay).Milliseconds()), logx.Field("requests_per_second", int(perSecond)))
	case before > 0 && share == 0:
		logx.Infow("the front door sheds no more")
	}
}

// sheddable says whether a request may be shed: a well-formed one whose answer leaves the connection as it is. All others
// end their connection or cost less than they seem.
func (r *request) sheddable() bool {
	n := r.rc.Request.Header.ContentLength()
	c := connOf(r.rc.Conn())
	return r.route == routeCode && r.fault.status == 0 && n <= 0 && n != -1 && (c == nil || !c.excess)
}

// shedAnswer is the answer to a request that is shed, but for its trace id.
type shedAnswer struct{ problem, page [2][]byte }

func newShedAnswer(p pages) shedAnswer {
	cut := func(text, id string) (parts [2][]byte) {
		head, tail, _ := strings.Cut(text, id)
		return [2][]byte{[]byte(head), []byte(tail)}
	}
	const id = "00000000000000000000000000000000"
	details := problem.New(http.StatusServiceUnavailable, "More requests come than can be answered, please try again.")
	details.TraceID = id
	return shedAnswer{
		problem: cut(string(details.AppendJSON(nil)), id),
		page:    cut(p.problem(http.StatusServiceUnavailable, id), id),
	}
}

var (
	textHTML    = []byte("text/html")
	shedHeaders = [...][2][]byte{
		{[]byte("Retry-After"), []byte("1")},
		{[]byte("Cache-Control"), []byte("no-store")},
		{[]byte("Vary"), []byte("Accept")},
		{[]byte("X-Content-Type-Options"), []byte("nosniff")},
		{[]byte("X-Robots-Tag"), []byte("noindex")},
	}
)

// turnAway answers 503 by the shortest way: without a span, an entry in the access log, or a place in the histogram. The
// trace that the answer names is not recorded anywhere.
func (r *request) turnAway() {
	d, rc := r.door, r.rc
	h := &rc.Response.Header
	r.id = identify(trace.SpanContext{})
	var parent [55]byte
	h.SetBytesV("traceparent", appendTraceparent(parent[:0], r.id))
	for i := range shedHeaders {
		h.SetCanonical(shedHeaders[i][0], shedHeaders[i][1])
	}
	parts := &d.shedAnswer.problem
	if bytes.Contains(rc.Request.Header.Peek(fasthttp.HeaderAccept), textHTML) {
		parts = &d.shedAnswer.page
		r.secureHTML()
		h.SetContentType("text/html; charset=utf-8")
	} else {
		h.SetContentType(problem.ContentType)
	}
	rc.SetStatusCode(http.StatusServiceUnavailable)
	traceID := r.id.TraceID().String()
	rc.Response.AppendBody(parts[0])
	rc.Response.AppendBodyString(traceID)
	rc.Response.AppendBody(parts[1])
	d.metrics.shed[shedOverload].Inc()
	d.metrics.answered(http.StatusServiceUnavailable)
}
