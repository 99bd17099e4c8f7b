package door

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/zeromicro/go-zero/core/logx"
)

const (
	// maxRefusing is how many connections beyond MaxConns are still read from, so that their request is answered 503;
	// what comes beyond those is closed at once.
	maxRefusing = 256
	// refusingTime is how long the request on such a connection may take to arrive.
	refusingTime = time.Second

	// lingerTime and lingerBytes are for how long, and how many bytes, the door goes on reading from a connection which
	// it has ended while the caller was still sending. Closing at once would make the kernel send a reset, and a reset
	// may overtake the answer (RFC 9112, 9.6).
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 256 << 10

	firstAcceptPause   = 5 * time.Millisecond
	longestAcceptPause = time.Second
)

// listener counts connections and outlives a shortage of file descriptors.
type listener struct {
	net.Listener
	door *Door
	told time.Time // when a shortage was last logged
}

// Accept returns the next connection. A shortage, which fasthttp would end the server for, is waited out: connections
// that end make room.
func (l *listener) Accept() (net.Conn, error) {
	d, pause := l.door, firstAcceptPause
	for {
		c, err := l.Listener.Accept()
		switch {
		case err == nil:
		case shortage(err):
			d.metrics.acceptFailures.Inc()
			if now := time.Now(); now.Sub(l.told) >= time.Minute {
				l.told = now
				logx.Errorf("the front door cannot accept a connection, it tries again: %v", err)
			}
			select {
			case <-d.stopping:
				return nil, net.ErrClosed
			case <-time.After(pause):
			}
			pause = min(2*pause, longestAcceptPause)
			continue
		default:
			return nil, err
		}
		open := d.conns.Add(1)
		if open <= int64(d.config.MaxConns) {
			return newConn(c, d), nil
		}
		d.metrics.connsRefused.Inc()
		if open <= int64(d.config.MaxConns)+maxRefusing {
			over := newConn(c, d)
			over.excess, over.until = true, time.Now().Add(refusingTime)
			return over, nil
		}
		_ = c.Close()
		d.conns.Add(-1)
	}
}

// shortage reports whether an error of Accept is about this connection or passes by itself.
func shortage(err error) bool {
	for _, errno := range []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
		syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EINTR, syscall.EPERM, syscall.EPROTO, syscall.ENOPROTOOPT,
		syscall.ENETDOWN, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.EHOSTUNREACH,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// conn is a connection of the door, under TLS where there is TLS.
type conn struct {
	net.Conn
	door *Door

	// excess is a connection beyond MaxConns: its request is answered 503, and until is when it must have arrived.
	excess bool
	until  time.Time

	late   bool        // the deadline has passed while bytes were awaited
	linger atomic.Bool // the caller may still be sending when this is closed
	closed atomic.Bool

	reading, writing deadline

	// begun says that bytes of a request were read which has not been answered.
	begun bool

	// tossed says that it has been decided, in refused, whether the next request is shed.
	tossed, refused bool
	// stayed is a caller that was turned away and did not end the connection with its request. If it does so with a later
	// one, nobody looks before IdleTimeout: to look each time would be one system call more for each refusal, of three.
	stayed bool

	raw    syscall.RawConn // nil where there is none
	fill   func(fd uintptr) bool
	ahead  *ahead // what has arrived and is not read; nil is nothing
	failed error  // of fill
}

// ahead is a buffer that a connection has only between the arrival of bytes and their being read.
type ahead struct {
	bytes [4 << 10]byte
	r, w  int
	shed  [2 << 10]byte // for an answer to one that is shed
}

func newConn(under net.Conn, d *Door) *conn {
	c := &conn{Conn: under, door: d}
	if sys, ok := under.(syscall.Conn); ok {
		if raw, err := sys.SyscallConn(); err == nil {
			c.raw, c.fill = raw, c.readAhead
		}
	}
	return c
}

// Read reads. An idle connection has no buffer: fasthttp has put its own away and asks for one byte, and that would be a
// system call a request. So what has arrived is read into a buffer that is taken once there is something. In the middle of
// a request, one byte is what fasthttp's buffer has room for, and what comes is no request.
func (c *conn) Read(b []byte) (int, error) {
	if c.ahead == nil {
		if err := c.reading.apply(c.Conn.SetReadDeadline); err != nil {
			return 0, err
		}
		if len(b) != 1 || c.raw == nil || c.begun {
			n, err := c.Conn.Read(b)
			c.begun = c.begun || n > 0
			c.late = err != nil && errors.Is(err, os.ErrDeadlineExceeded)
			return n, err
		}
		if err := c.raw.Read(c.fill); err != nil {
			return 0, err
		}
		if c.failed != nil {
			return 0, c.failed
		}
	}
	a := c.ahead
	n := copy(b, a.bytes[a.r:a.w])
	c.begun = true
	if a.r += n; a.r == a.w {
		c.ahead = nil
		c.door.aheads.Put(a)
	}
	return n, nil
}

// readAhead is called whenever there may be something to read, and reports whether there was.
func (c *conn) readAhead(fd uintptr) bool {
	a := c.door.aheads.Get().(*ahead)
	for {
		n, err := syscall.Read(int(fd), a.bytes[:])
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if n > 0 && n < len(a.bytes) && c.door.overload.share.Load() != 0 {
			answered, failed := c.turnAway(int(fd), a.bytes[:n], a.shed[:])
			if answered && failed == nil {
				if c.stayed {
					c.door.aheads.Put(a)
					return false // all was read, and what comes wakes this
				}
				c.stayed = true
				continue // the end of the connection may have come with it, and would wake nobody
			}
			if err = failed; err != nil {
				n = 0
			}
		}
		if n > 0 {
			a.r, a.w, c.ahead, c.failed = 0, n, a, nil
			return true
		}
		c.door.aheads.Put(a)
		if errors.Is(err, syscall.EAGAIN) {
			return false
		}
		if c.failed = os.NewSyscallError("read", err); err == nil {
			c.failed = io.EOF
		}
		return true
	}
}

// idle has the connection wait for its next request, as fasthttp does after its own answers.
func (c *conn) idle() error {
	if err := c.SetReadDeadline(time.Now().Add(c.door.config.IdleTimeout)); err != nil {
		return err
	}
	return c.reading.apply(c.Conn.SetReadDeadline)
}

// connOf returns the connection under fasthttp's; nil where there is none, as in tests of the handler alone.
func connOf(c net.Conn) *conn {
	switch c := c.(type) {
	case *conn:
		return c
	case *tls.Conn:
		under, _ := c.NetConn().(*conn)
		return under
	default:
		return nil
	}
}

// Write writes: fasthttp does so once for each answer, and an answer ends a request.
func (c *conn) Write(b []byte) (int, error) {
	c.begun = false
	if err := c.writing.apply(c.Conn.SetWriteDeadline); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// deadline is one that is set anew for each request and hardly ever passes. Setting it takes the runtime's lock of timers,
// so it is set when it is next needed, and one that is in force is kept while it comes but little too early.
type deadline struct {
	wanted, inForce time.Time
	early           time.Duration // how much sooner than wanted inForce may be
}

// deadlinePrecision is the part of a timeout by which it may come too early.
const deadlinePrecision = 32

// apply sets the deadline by set, where that is needed.
func (d *deadline) apply(set func(time.Time) error) error {
	if sooner := d.wanted.Sub(d.inForce); sooner == 0 || sooner > 0 && sooner <= d.early {
		return nil
	}
	d.inForce, d.early = d.wanted, 0
	if !d.wanted.IsZero() {
		d.early = time.Until(d.wanted) / deadlinePrecision
	}
	return set(d.wanted)
}

// SetReadDeadline keeps to until on a connection beyond MaxConns. The deadline is in force from the next Read on.
func (c *conn) SetReadDeadline(t time.Time) error {
	if c.excess && (t.IsZero() || t.After(c.until)) {
		t = c.until
	}
	if c.door.tls != nil { // which may set it while another goroutine reads
		return c.Conn.SetReadDeadline(t)
	}
	c.reading.wanted = t
	return nil
}

// SetWriteDeadline sets a deadline that is in force from the next Write on.
func (c *conn) SetWriteDeadline(t time.Time) error {
	if c.door.tls != nil {
		return c.Conn.SetWriteDeadline(t)
	}
	c.writing.wanted = t
	return nil
}

// Close closes the connection; where the caller may still be sending, a moment later and in the background. Until then
// it counts as open, so Shutdown waits for it.
func (c *conn) Close() error {
	if c.closed.Swap(true) {
		return net.ErrClosed
	}
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && c.linger.Load() && half.CloseWrite() == nil {
		go c.drain()
		return nil
	}
	defer c.door.conns.Add(-1)
	return c.Conn.Close()
}

func (c *conn) drain() {
	defer c.door.conns.Add(-1)
	defer func() { _ = c.Conn.Close() }()
	if c.Conn.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
	}
}
