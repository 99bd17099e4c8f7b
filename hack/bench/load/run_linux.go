package load

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Run carries out a plan and returns what became of it, or an error when it could not be begun or ctx ended before its
// end. A connection that ends is opened again.
func Run(ctx context.Context, p Plan) (*Result, error) {
	addr, err := p.check()
	if err != nil {
		return nil, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	g := &generator{plan: p, addr: addr, begin: time.Now(), result: &Result{Statuses: make(map[int]int)}}
	if g.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	defer g.close()
	g.conns = make([]conn, p.Connections)
	for i := range g.conns {
		c := &g.conns[i]
		c.index, c.fd = int32(i), -1
		c.in = make([]byte, 8<<10)
		if err := g.connect(c); err != nil {
			return nil, fmt.Errorf("load: connecting to %s: %w", p.Addr, err)
		}
	}
	err = g.run(ctx)
	g.result.Statuses = make(map[int]int)
	for status, n := range g.statuses {
		if n > 0 {
			g.result.Statuses[status] = n
		}
	}
	return g.result, err
}

// generator is one run. Times are nanoseconds since its begin.
type generator struct {
	plan  Plan
	addr  netip.AddrPort
	poll  int
	conns []conn
	idle  []int32 // connections without a request, of an open loop
	begin time.Time

	next     int // the number of the next request
	busy     int // requests under way
	limit    int // requests to make at most
	end      int64
	statuses [1000]int
	result   *Result
}

// conn is one connection.
type conn struct {
	index   int32
	fd      int
	busy    bool
	request int
	meant   int64 // when the request was meant to be made
	sent    int64
	in      []byte
	n       int // bytes of in that were read
}

func (g *generator) now() int64 { return int64(time.Since(g.begin)) }

// run makes the requests and reads the answers until all are made and answered.
func (g *generator) run(ctx context.Context) error {
	g.begin = time.Now()
	g.end = int64(g.plan.Duration)
	g.limit = g.plan.Count
	if g.limit == 0 {
		g.limit = 1 << 40
	}
	if g.plan.Rate > 0 {
		g.limit = min(g.limit, int(g.plan.Rate*g.plan.Duration.Seconds()))
		for i := range g.conns {
			g.idle = append(g.idle, int32(i))
		}
	} else {
		for i := range g.conns {
			g.send(&g.conns[i], g.now())
		}
	}
	events := make([]unix.EpollEvent, min(len(g.conns), 512))
	for checked := int64(0); ; {
		now := g.now()
		if g.plan.Rate > 0 {
			g.sendDue(now)
		}
		if g.busy == 0 && (g.next >= g.limit || now >= g.end) {
			break
		}
		if now-checked > int64(100*time.Millisecond) {
			checked = now
			if err := ctx.Err(); err != nil {
				return err
			}
			g.expire(now)
		}
		n, err := g.wait(events, now)
		if err != nil {
			return fmt.Errorf("load: epoll: %w", err)
		}
		for i := range n {
			g.receive(&g.conns[events[i].Fd])
		}
	}
	g.result.Elapsed = time.Since(g.begin)
	if g.plan.Rate > 0 {
		g.result.Late = g.limit - g.next
	}
	return nil
}

// due is when the n-th request of an open loop is meant to be made.
func (g *generator) due(n int) int64 { return int64(float64(n) / g.plan.Rate * 1e9) }

// sendDue makes the requests whose time has come, as far as connections are idle.
func (g *generator) sendDue(now int64) {
	late := g.end + int64(g.plan.Timeout)
	for g.next < g.limit && len(g.idle) > 0 && now < late {
		meant := g.due(g.next)
		if meant > now {
			return
		}
		c := &g.conns[g.idle[len(g.idle)-1]]
		g.idle = g.idle[:len(g.idle)-1]
		g.send(c, meant)
	}
}

// wait waits for answers, but no longer than until the next request of an open loop is due.
func (g *generator) wait(events []unix.EpollEvent, now int64) (int, error) {
	timeout := 100 * int64(time.Millisecond)
	if g.plan.Rate > 0 && len(g.idle) > 0 && g.next < g.limit {
		timeout = min(timeout, g.due(g.next)-now)
	}
	if timeout < int64(100*time.Millisecond) {
		// epoll_wait knows milliseconds only.
		spec := unix.NsecToTimespec(max(0, timeout))
		fds := [1]unix.PollFd{{Fd: int32(g.poll), Events: unix.POLLIN}}
		if n, err := unix.Ppoll(fds[:], &spec, nil); n == 0 || err != nil {
			return 0, ignoreInterrupt(err)
		}
		timeout = 0
	}
	n, err := unix.EpollWait(g.poll, events, int(timeout/int64(time.Millisecond)))
	return max(0, n), ignoreInterrupt(err)
}

func ignoreInterrupt(err error) error {
	if errors.Is(err, unix.EINTR) {
		return nil
	}
	return err
}

// send makes the next request on a connection that has none.
func (g *generator) send(c *conn, meant int64) {
	c.request = g.plan.pick(g.next)
	g.next++
	g.busy++
	g.result.Sent++
	c.busy, c.meant, c.sent = true, meant, g.now()
	text := g.plan.Requests[c.request].Send
	// A request is far smaller than a socket's buffer: it is written whole or the connection is gone.
	n, err := unix.Write(c.fd, text)
	if err == nil && n == len(text) {
		return
	}
	if err == nil {
		err = errors.New("the request could not be written whole")
	}
	g.fail(c, err)
}

// receive reads what has come on a connection and, when that is a whole answer, judges it and makes the next request.
func (g *generator) receive(c *conn) {
	if c.fd < 0 {
		return
	}
	n, err := unix.Read(c.fd, c.in[c.n:])
	switch {
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
		return
	case err == nil && n == 0:
		err = errors.New("the server has closed the connection")
	case err == nil && !c.busy:
		err = errors.New("an answer that nobody has asked for")
	}
	if err != nil {
		g.fail(c, err)
		return
	}
	c.n += n
	a, whole, err := parse(c.in[:c.n])
	switch {
	case err != nil:
		g.fail(c, err)
	case whole && c.n > a.length:
		g.fail(c, errors.New("more bytes than the answer's length"))
	case whole:
		g.judge(c, a)
		c.n = 0
		if a.last {
			g.renew(c)
		}
		g.free(c)
	case c.n == len(c.in):
		c.in = append(c.in, make([]byte, len(c.in))...)
	}
}

// judge counts an answer.
func (g *generator) judge(c *conn, a answer) {
	now := g.now()
	r := g.result
	counts := c.meant >= int64(g.plan.Lead)
	want := &g.plan.Requests[c.request]
	g.statuses[a.status%1000]++
	right := a.status == want.Status || want.Status == 0 && a.status >= 200 && a.status < 400
	switch {
	case right && (want.Location == "" || string(a.location) == want.Location):
		r.Right++
		if counts {
			r.Latency.Add(time.Duration(now - c.meant))
			r.Service.Add(time.Duration(now - c.sent))
		}
	case a.status == 503:
		r.Refused++
		if counts {
			r.RefusedLatency.Add(time.Duration(now - c.meant))
		}
	default:
		if r.Wrong++; r.Wrong == 1 {
			line := want.Send[:min(len(want.Send), 60)]
			r.FirstWrong = fmt.Sprintf("%q: status %d with Location %q in place of %d with %q", line, a.status, a.location, want.Status, want.Location)
		}
	}
}

// free ends a connection's request and gives it the next one.
func (g *generator) free(c *conn) {
	c.busy = false
	g.busy--
	switch {
	case c.fd < 0:
	case g.plan.Rate > 0:
		g.idle = append(g.idle, c.index)
	case g.next < g.limit:
		if now := g.now(); now < g.end {
			g.send(c, now)
		}
	}
}

// fail counts a request without an answer, if there is one, and opens the connection again.
func (g *generator) fail(c *conn, err error) {
	if c.busy {
		if g.result.Failed++; g.result.Failed == 1 {
			g.result.FirstFailure = err.Error()
		}
	}
	g.renew(c)
	if c.busy {
		g.free(c)
	}
}

// renew opens a connection again. What cannot be opened is left out from then on.
func (g *generator) renew(c *conn) {
	_ = unix.Close(c.fd)
	c.fd, c.n = -1, 0
	if err := g.connect(c); err != nil && g.result.FirstFailure == "" {
		g.result.FirstFailure = "connecting again: " + err.Error()
	}
}

// expire ends what has waited for too long.
func (g *generator) expire(now int64) {
	for i := range g.conns {
		if c := &g.conns[i]; c.busy && now-c.sent > int64(g.plan.Timeout) {
			g.fail(c, fmt.Errorf("no answer within %v", g.plan.Timeout))
		}
	}
}

// connect opens a connection and watches it. Connecting to loopback does not wait for the server.
func (g *generator) connect(c *conn) error {
	family, to := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: int(g.addr.Port()), Addr: g.addr.Addr().Unmap().As4()})
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err = unix.Connect(fd, to); err == nil {
		err = errors.Join(unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1), unix.SetNonblock(fd, true),
			unix.EpollCtl(g.poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: c.index}))
	}
	if err != nil {
		_ = unix.Close(fd)
		return err
	}
	c.fd = fd
	return nil
}

func (g *generator) close() {
	for i := range g.conns {
		if g.conns[i].fd >= 0 {
			_ = unix.Close(g.conns[i].fd)
		}
	}
	_ = unix.Close(g.poll)
}
