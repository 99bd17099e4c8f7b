package door

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/linkcache"
)

// message is a request as a strict reader of RFC 9112 sees it: what it finds doubtful is not valid, and nothing behind it
// is a request. It is written without a look at fasthttp, so that the two can be held against each other.
type message struct {
	valid    bool
	method   string
	prefetch bool
	last     bool // nothing behind it is a request
}

// messages returns the requests in what one connection has sent; all but the last are valid.
func messages(raw string) (list []message) {
	for {
		// A server may skip empty lines before a request, and take a LF for the end of one (2.2).
		for strings.HasPrefix(raw, "\n") || strings.HasPrefix(raw, "\r\n") {
			raw = raw[strings.IndexByte(raw, '\n')+1:]
		}
		if raw == "" {
			return list
		}
		m, rest := readMessage(raw)
		list = append(list, m)
		if m.last || !m.valid {
			return list
		}
		raw = rest
	}
}

func readMessage(raw string) (m message, rest string) {
	line, rest, ok := strings.Cut(raw, "\n")
	if !ok {
		return m, ""
	}
	parts := strings.Split(strings.TrimSuffix(line, "\r"), " ")
	if len(parts) != 3 || !isToken(parts[0]) || parts[1] == "" || strings.ContainsFunc(parts[1], func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return m, ""
	}
	m.method = parts[0]
	version := parts[2]
	if len(version) != 8 || version[:7] != "HTTP/1." || version[7] < '0' || version[7] > '9' {
		return m, ""
	}
	old := version == "HTTP/1.0"
	if old && strings.HasPrefix(rest, "\n") {
		m.valid, m.last = true, true // no headers: a LF ends them too, and the connection ends as well
		return m, ""
	}
	var lines []string
	for {
		line, after, ok := strings.Cut(rest, "\r\n")
		if !ok {
			return m, ""
		}
		if rest = after; line == "" {
			break
		}
		lines = append(lines, line)
	}
	var hosts, lengths, codings int
	var body, keep, end bool
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isToken(name) || strings.ContainsAny(value, "\r\n\x00") {
			return m, ""
		}
		value = strings.Trim(value, " \t")
		switch strings.ToLower(name) {
		case "host":
			if hosts++; value == "" {
				return m, ""
			}
		case "content-length":
			lengths++
			if value == "" || strings.Trim(value, "0123456789") != "" {
				return m, ""
			}
			body = strings.Trim(value, "0") != ""
		case "transfer-encoding":
			codings++
			if body = true; !strings.EqualFold(value, "chunked") || old {
				return m, ""
			}
		case "connection":
			for option := range strings.SplitSeq(value, ",") {
				end = end || strings.EqualFold(strings.Trim(option, " \t"), "close")
				keep = keep || strings.EqualFold(strings.Trim(option, " \t"), "keep-alive")
			}
		case "sec-purpose", "purpose", "x-moz", "x-purpose":
			value = strings.ToLower(value)
			m.prefetch = m.prefetch || strings.HasPrefix(value, "prefetch") || value == "preview"
		}
	}
	if hosts > 1 || hosts == 0 && !old || lengths+codings > 1 {
		return m, ""
	}
	m.valid = true
	m.last = body || end || version != "HTTP/1.1" && !keep // a request with a body is the last that the door answers
	return m, rest
}

func isToken(s string) bool {
	return s != "" && strings.Trim(s, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

// wire is a connection whose caller sends what is in it, in pieces, and then ends its side.
type wire struct {
	in    []byte
	piece int
	out   bytes.Buffer
}

func (w *wire) Read(b []byte) (int, error) {
	if len(w.in) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), w.piece)], w.in)
	w.in = w.in[n:]
	return n, nil
}

func (w *wire) Write(b []byte) (int, error)      { return w.out.Write(b) }
func (w *wire) Close() error                     { return nil }
func (w *wire) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }
func (w *wire) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4711} }
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// known has one link; all other codes are unknown.
type known struct{}

func (known) LinkByCode(_ context.Context, code string) (link.Link, error) {
	if code != "found" {
		return link.Link{}, link.NotFound(code)
	}
	return link.Link{ID: 1, Code: code, URL: "https://example.org/a/page", RedirectStatus: 302}, nil
}

// ledger keeps what the door does beside answering.
type ledger struct {
	clicks int
	names  []string // of spans
}

func (l *ledger) Publish(context.Context, click.Click) { l.clicks++ }
func (l *ledger) Close(context.Context) error          { return nil }

func (l *ledger) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (l *ledger) OnEnd(s sdktrace.ReadOnlySpan)                   { l.names = append(l.names, s.Name()) }
func (l *ledger) Shutdown(context.Context) error                  { return nil }
func (l *ledger) ForceFlush(context.Context) error                { return nil }

var spanNames = []string{
	"GET /{code}", "HEAD /{code}", "GET /", "HEAD /", "GET /robots.txt", "HEAD /robots.txt", "GET /favicon.ico", "HEAD /favicon.ico",
	"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "HTTP",
}

// FuzzConnection sends anything on a connection. Whatever it is, the door has no fault; it answers no more requests than
// a strict reader finds, redirects none that such a reader doubts, and publishes a click for exactly the redirects of a
// GET that is no prefetch; each answer is well-formed and has its traceparent and span, whose name is not the caller's.
func FuzzConnection(f *testing.F) {
	l := new(ledger)
	links := linkcache.New(linkcache.Config{}, known{}, nil)
	f.Cleanup(links.Close)
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(l), sdktrace.WithSampler(sdktrace.AlwaysSample()))
	d, err := New(Config{}, Deps{Links: links, Clicks: l, Tracers: tracers})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte, piece uint16) {
		*l = ledger{}
		w := &wire{in: raw, piece: int(piece) + 1}
		_ = d.server.ServeConn(newConn(w, d)) // the error is for a log
		requests := messages(string(raw))
		in := bufio.NewReader(&w.out)
		clicks, answers := 0, 0
		for ; ; answers++ {
			status, err := in.Peek(len("HTTP/1.1 400"))
			if err != nil {
				if len(status) > 0 {
					t.Errorf("the answers end in %q", status)
				}
				break
			}
			if answers == len(requests) {
				rest, _ := io.ReadAll(in)
				t.Fatalf("%d requests, and then an answer: %q", len(requests), rest)
			}
			m := requests[answers]
			method := m.method
			refused := !m.valid || string(status) == "HTTP/1.1 400"
			if refused {
				method = "" // whether such an answer to HEAD has a body depends on how far the request could be read
			}
			res, err := http.ReadResponse(in, &http.Request{Method: method})
			if err != nil {
				t.Fatalf("answer %d: %v", answers+1, err)
			}
			_, err = io.ReadAll(res.Body)
			_ = res.Body.Close()
			if err != nil && (!refused || !res.Close || !errors.Is(err, io.ErrUnexpectedEOF)) {
				t.Fatalf("answer %d: %v", answers+1, err)
			}
			if p := res.Header.Values("traceparent"); len(p) != 1 || len(p[0]) != 55 {
				t.Errorf("traceparent %q", p)
			}
			switch res.StatusCode {
			case http.StatusFound:
				if !m.valid || m.method != "GET" && m.method != "HEAD" {
					t.Errorf("request %d was redirected: %+v", answers+1, m)
				}
				if m.method == "GET" && !m.prefetch {
					clicks++
				}
			case http.StatusOK, http.StatusNoContent, http.StatusNotFound:
				if !m.valid {
					t.Errorf("request %d was answered %d: %+v", answers+1, res.StatusCode, m)
				}
			case http.StatusMethodNotAllowed:
				if res.Header.Get("Allow") != "GET, HEAD" {
					t.Errorf("405 without Allow")
				}
			case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusRequestHeaderFieldsTooLarge, http.StatusHTTPVersionNotSupported:
				if !res.Close {
					t.Errorf("%d, and the connection goes on", res.StatusCode)
				}
			default:
				t.Errorf("status %d", res.StatusCode)
			}
		}
		if l.clicks != clicks {
			t.Errorf("%d clicks of %d redirects", l.clicks, clicks)
		}
		if len(l.names) != answers {
			t.Errorf("%d spans of %d answers", len(l.names), answers)
		}
		for _, name := range l.names {
			if !slices.Contains(spanNames, name) {
				t.Errorf("a span is named %q", name)
			}
		}
		if _, ok := plain(raw); ok && (len(requests) != 1 || !requests[0].valid || requests[0].method != http.MethodGet) {
			t.Errorf("shed as one GET: %+v", requests)
		}
		if n := d.inFlight.Load(); n != 0 {
			t.Errorf("%d requests are in flight", n)
		}
	})
}
