package door

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"syscall"

	"github.com/valyala/fasthttp"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/problem"
)

// shedAnswer is the answer to a request that is shed: 503 by the shortest way, without a span, a line in the access log
// or a place in the histogram. It differs from one request to the next only in the trace that it names, which is
// recorded nowhere.
type shedAnswer struct{ problem, page shedText }

// shedText is a whole response, with the places of the ids in it.
type shedText struct {
	contentType string
	whole       []byte
	body        []byte // lies in whole
	parent      int    // of traceparent's value in whole
	trace       int    // of the trace id in body
}

const (
	noParent = "00-00000000000000000000000000000000-0000000000000000-00"
	noTrace  = "00000000000000000000000000000000"
)

func newShedAnswer(p pages) shedAnswer {
	details := problem.New(http.StatusServiceUnavailable, "More requests come than can be answered, please try again.")
	details.TraceID = noTrace
	return shedAnswer{
		problem: newShedText(problem.ContentType, string(details.AppendJSON(nil)), ""),
		page: newShedText("text/html; charset=utf-8", p.problem(http.StatusServiceUnavailable, noTrace),
			"Content-Security-Policy: "+p.policy+"\r\nReferrer-Policy: no-referrer\r\n"),
	}
}

func newShedText(contentType, body, headers string) shedText {
	head := "HTTP/1.1 503 Service Unavailable\r\nContent-Type: " + contentType + "\r\nContent-Length: " + strconv.Itoa(len(body)) +
		"\r\ntraceparent: " + noParent + "\r\n" + headers
	for _, h := range shedHeaders {
		head += string(h[0]) + ": " + string(h[1]) + "\r\n"
	}
	whole := []byte(head + "\r\n" + body)
	return shedText{
		contentType: contentType,
		whole:       whole,
		body:        whole[len(whole)-len(body):],
		parent:      strings.Index(head, noParent),
		trace:       strings.Index(body, noTrace),
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

// refused says whether this request is to be shed. Only well-formed ones for a code are, whose answer leaves the
// connection as it is; all others end their connection or cost less than they seem.
func (r *request) refused() bool {
	o := &r.door.overload
	if o.share.Load() == 0 {
		return false
	}
	c := connOf(r.rc.Conn())
	if r.route != routeCode || r.fault.status != 0 || c != nil && c.excess {
		return false
	}
	if n := r.rc.Request.Header.ContentLength(); n > 0 || n == -1 {
		return false
	}
	if c != nil && c.tossed {
		c.tossed = false
		return c.refused
	}
	return o.refuses()
}

// turnAway answers a request that is shed.
func (r *request) turnAway() {
	d, rc := r.door, r.rc
	h := &rc.Response.Header
	sc := identify(trace.SpanContext{})
	var parent [len(noParent)]byte
	h.SetBytesV("traceparent", appendTraceparent(parent[:0], sc))
	for i := range shedHeaders {
		h.SetCanonical(shedHeaders[i][0], shedHeaders[i][1])
	}
	t := &d.shedAnswer.problem
	if bytes.Contains(rc.Request.Header.Peek(fasthttp.HeaderAccept), textHTML) {
		t = &d.shedAnswer.page
		r.secureHTML()
	}
	h.SetContentType(t.contentType)
	rc.SetStatusCode(http.StatusServiceUnavailable)
	rc.Response.SetBody(t.body)
	traceID := sc.TraceID()
	hex.Encode(rc.Response.Body()[t.trace:], traceID[:])
	d.countShed()
}

func (d *Door) countShed() {
	d.metrics.shed[shedOverload].Inc()
	d.metrics.answered(http.StatusServiceUnavailable)
}

// turnAway is asked about bytes that have just arrived on an idle connection, all there are. If these are to be shed and
// are one whole request of the plainest kind, it answers and returns true; whatever else there is to it is left to
// fasthttp. The cheaper a refusal, the more load can be borne: it is written in room, which the core has at hand, since a
// thousand connections' stacks it has not.
func (c *conn) turnAway(fd int, in, room []byte) (answered bool, err error) {
	d := c.door
	c.tossed, c.refused = true, d.overload.refuses()
	if !c.refused || c.excess {
		return false, nil
	}
	t := &d.shedAnswer.problem
	html, ok := plain(in)
	if !ok {
		return false, nil
	}
	if html {
		t = &d.shedAnswer.page
	}
	d.inFlight.Add(1)
	defer d.inFlight.Add(-1)
	select {
	case <-d.stopping:
		return false, nil // fasthttp ends the connection after its answer
	default:
	}
	room = append(room[:0], t.whole...)
	sc := identify(trace.SpanContext{})
	appendTraceparent(room[t.parent:t.parent], sc)
	traceID := sc.TraceID()
	hex.Encode(room[len(room)-len(t.body)+t.trace:], traceID[:])
	d.overload.requests.Add(1)
	d.countShed()
	n, err := syscall.Write(fd, room)
	if errors.Is(err, syscall.EINTR) {
		n, err = syscall.Write(fd, room)
	}
	if err == nil && n < len(room) {
		err = fmt.Errorf("%d of %d bytes written", n, len(room))
	}
	if err != nil {
		return true, err
	}
	return true, c.idle()
}

// plain reports whether bytes are exactly one GET of a code over HTTP/1.1, without a body or anything that bears on the
// connection, and whether it would rather have HTML. It is stricter than fasthttp: what it takes leaves no doubt about
// where the request ends.
func plain(in []byte) (html, ok bool) {
	line, rest, ok := cutLine(in)
	if !ok || len(line) < len("GET / HTTP/1.1") || string(line[:5]) != "GET /" || string(line[len(line)-9:]) != " HTTP/1.1" {
		return false, false
	}
	target := line[5 : len(line)-9]
	for _, b := range target {
		if b <= ' ' || b >= 0x7f || b == '#' {
			return false, false
		}
	}
	code, _, _ := bytes.Cut(target, []byte{'?'})
	if !link.ValidCode(text(code)) {
		return false, false
	}
	for host := false; ; {
		if line, rest, ok = cutLine(rest); !ok {
			return false, false
		}
		if len(line) == 0 {
			return html, host && len(rest) == 0
		}
		name, value, ok := bytes.Cut(line, []byte{':'})
		if !ok || !plainName(name) {
			return false, false
		}
		switch name[0] | 0x20 {
		case 'h':
			if strings.EqualFold(text(name), "Host") {
				if value = bytes.Trim(value, " \t"); host || len(value) == 0 || !validHost(value) {
					return false, false
				}
				host = true
			}
		case 'a':
			if strings.EqualFold(text(name), "Accept") {
				html = html || bytes.Contains(value, textHTML)
			}
		case 'c':
			if len(name) > 8 && strings.EqualFold(text(name[:8]), "Content-") {
				return false, false
			}
			if strings.EqualFold(text(name), "Connection") && !strings.EqualFold(text(bytes.Trim(value, " \t")), "keep-alive") {
				return false, false
			}
		case 't', 'e', 'u':
			for _, special := range [...]string{"Transfer-Encoding", "Trailer", "TE", "Expect", "Upgrade"} {
				if strings.EqualFold(text(name), special) {
					return false, false
				}
			}
		}
	}
}

// cutLine cuts a line off that ends in CR LF and has no further control characters but tabs.
func cutLine(in []byte) (line, rest []byte, ok bool) {
	for i, b := range in {
		if b < ' ' && b != '\t' || b == 0x7f {
			return in[:i], in[min(i+2, len(in)):], b == '\r' && i+1 < len(in) && in[i+1] == '\n'
		}
	}
	return nil, nil, false
}

func plainName(name []byte) bool {
	for _, b := range name {
		if (b|0x20 < 'a' || b|0x20 > 'z') && (b < '0' || b > '9') && b != '-' {
			return false
		}
	}
	return len(name) > 0
}
