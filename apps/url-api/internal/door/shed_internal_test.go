package door

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/linkcache"
)

func TestController(t *testing.T) {
	config := Shed{Target: 10 * time.Millisecond, Queue: 256}
	type window struct {
		delay     time.Duration
		perSecond float64
	}
	times := func(n int, windows ...window) (list []window) {
		for range n {
			list = append(list, windows...)
		}
		return list
	}
	for name, tt := range map[string]struct {
		windows  []window
		min, max float64 // of the share after the last window
	}{
		"nothing stands":                     {times(100, window{0, 30000}), 0, 0},
		"just below the target":              {times(100, window{9 * time.Millisecond, 30000}), 0, 0},
		"one bad window":                     {[]window{{time.Second, 30000}}, 0.05, 0.15},
		"one bad window in three":            {times(50, window{time.Second, 30000}, window{0, 30000}, window{0, 30000}), 0, 0.1},
		"twice the target for a second":      {times(20, window{20 * time.Millisecond, 30000}), 0.4, 0.5},
		"forever":                            {times(100, window{time.Minute, 30000}), maxShed, maxShed},
		"over for three seconds":             {append(times(100, window{time.Minute, 30000}), times(60, window{0, 30000})...), 0, 0},
		"at the target the share stays":      {append(times(20, window{20 * time.Millisecond, 30000}), times(50, window{10 * time.Millisecond, 30000})...), 0.25, 0.35},
		"256 busy connections, fast machine": {times(100, window{256 * time.Second / 40000, 40000}), 0, 0},
		"256 busy connections, slow machine": {times(100, window{256 * time.Second / 1000, 1000}), 0, 0.01},
		"2000 waiting on a slow machine":     {times(60, window{2 * time.Second, 1000}), maxShed, maxShed},
		"idle, and the machine is slow":      {times(100, window{50 * time.Millisecond, 10}), 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := controller{config: config}
			var share float64
			for _, w := range tt.windows {
				share = c.next(w.delay, w.perSecond)
			}
			if share < tt.min || share > tt.max {
				t.Errorf("share %.2f, want %v to %v", share, tt.min, tt.max)
			}
		})
	}
}

// TestControllerHolds lets the controller steer a server in a model: requests that stand, so many connections on each of
// which one can, and what a 503 costs relative to a redirect: half over plain HTTP, less where redirects cost more.
func TestControllerHolds(t *testing.T) {
	const bears = 30000.0 // answers a second
	for name, tt := range map[string]struct {
		load        float64 // in multiples of bears
		connections float64
		refusal     float64
		answered    [2]float64 // of bears, in the last five of ten seconds
		worst       time.Duration
	}{
		"half the load":                  {0.5, 2000, 0.5, [2]float64{0.49, 0.51}, 10 * time.Millisecond},
		"just less than can be borne":    {0.98, 2000, 0.5, [2]float64{0.97, 0.99}, 10 * time.Millisecond},
		"a quarter more":                 {1.25, 2000, 0.5, [2]float64{0.7, 0.8}, 25 * time.Millisecond},
		"half as much again":             {1.5, 2000, 0.5, [2]float64{0.45, 0.55}, 25 * time.Millisecond},
		"twice: refusals take all":       {2, 2000, 0.5, [2]float64{0.09, 0.11}, 45 * time.Millisecond},
		"twice, cheap refusals":          {2, 2000, 0.25, [2]float64{0.6, 0.7}, 25 * time.Millisecond},
		"twice, many more connections":   {2, 50000, 0.25, [2]float64{0.6, 0.7}, 25 * time.Millisecond},
		"three times, cheap refusals":    {3, 5000, 0.25, [2]float64{0.3, 0.4}, 25 * time.Millisecond},
		"flat out with 32 connections":   {100, 32, 0.5, [2]float64{0.99, 1.01}, 2 * time.Millisecond},
		"flat out with 256 connections":  {100, 256, 0.5, [2]float64{0.99, 1.01}, 10 * time.Millisecond},
		"flat out with 5000 connections": {100, 5000, 0.5, [2]float64{0, 1}, 150 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			c := controller{config: Shed{Target: 10 * time.Millisecond, Queue: 256}}
			const steps = 100 // a window
			dt := shedWindow.Seconds() / steps
			var standing, share, answered float64
			var worst time.Duration
			for w := range 200 {
				least, came := time.Hour, 0.0
				for range steps {
					cost := (1-share)/bears + share*tt.refusal/bears
					arrive := min(tt.load*bears*dt, tt.connections-standing+dt/cost)
					served := min(standing+arrive, dt/cost)
					standing += arrive - served
					came += arrive
					delay := time.Duration(standing * cost * float64(time.Second))
					least = min(least, delay)
					if w >= 100 {
						answered += served * (1 - share)
						worst = max(worst, delay)
					}
				}
				share = c.next(least, came/shedWindow.Seconds())
			}
			answered /= bears * 100 * shedWindow.Seconds()
			if answered < tt.answered[0] || answered > tt.answered[1] || worst > tt.worst {
				t.Errorf("%.2f of what can be borne is answered, requests stand up to %v; want %v, %v", answered, worst, tt.answered, tt.worst)
			}
		})
	}
}

// clickCounter counts clicks.
type clickCounter struct{ n atomic.Int64 }

func (c *clickCounter) Publish(context.Context, click.Click) { c.n.Add(1) }
func (c *clickCounter) Close(context.Context) error          { return nil }

// flooded is a door that sheds a fixed share.
type flooded struct {
	*Door
	t      *testing.T
	addr   string
	ln     *keeper
	clicks clickCounter
	spans  *tracetest.SpanRecorder
}

// keeper is a listener that keeps the connection which it has accepted last.
type keeper struct {
	net.Listener
	last atomic.Pointer[net.TCPConn]
}

func (k *keeper) Accept() (net.Conn, error) {
	c, err := k.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		k.last.Store(tcp)
	}
	return c, err
}

func openFlooded(t *testing.T, share float64) *flooded {
	t.Helper()
	return openFloodedWith(t, share, Config{})
}

func openFloodedWith(t *testing.T, share float64, config Config) *flooded {
	t.Helper()
	f := &flooded{t: t, spans: tracetest.NewSpanRecorder()}
	links := linkcache.New(linkcache.Config{TTL: time.Hour}, oneLink{}, nil)
	t.Cleanup(links.Close)
	var err error
	f.Door, err = New(config, Deps{
		Links: links, Clicks: &f.clicks, Registry: prometheus.NewRegistry(),
		Tracers: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(f.spans)),
	})
	if err != nil {
		t.Fatal(err)
	}
	f.overload.share.Store(math.Float64bits(share))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.addr, f.ln = ln.Addr().String(), &keeper{Listener: ln}
	served := make(chan error, 1)
	go func() { served <- f.Serve(f.ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := f.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return f
}

// reply is a response with its body read.
type reply struct {
	*http.Response
	body string
}

// dial opens a connection, which ends with the test.
func (f *flooded) dial() net.Conn {
	f.t.Helper()
	conn, err := net.Dial("tcp", f.addr)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	return conn
}

// ask sends each text once the one before has been answered, all on one connection, and returns the answers.
func (f *flooded) ask(texts ...string) (answers []reply) {
	f.t.Helper()
	conn := f.dial()
	in := bufio.NewReader(conn)
	for _, text := range texts {
		if _, err := io.WriteString(conn, text); err != nil {
			f.t.Fatal(err)
		}
		method, _, _ := strings.Cut(text, " ")
		answers = append(answers, f.read(in, method))
	}
	return answers
}

// read reads the answer to a request.
func (f *flooded) read(in *bufio.Reader, method string) reply {
	f.t.Helper()
	res, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return reply{res, string(body)}
}

const plainGet = "GET /abcdefg HTTP/1.1\r\nHost: s.example\r\n\r\n"

// TestShedAnswer has the answers of both ways: past fasthttp, and through it.
func TestShedAnswer(t *testing.T) {
	for name, text := range map[string]string{
		"past fasthttp":    plainGet,
		"through fasthttp": "GET /abcdefg HTTP/1.1\r\nHost: s.example\r\nTE: trailers\r\n\r\n",
	} {
		t.Run("OK "+name, func(t *testing.T) {
			f := openFlooded(t, 1)
			answers := f.ask(text, text, text)
			for _, a := range answers {
				got := []string{
					a.Status, a.Header.Get("Retry-After"), a.Header.Get("Content-Type"), a.Header.Get("Cache-Control"),
					a.Header.Get("Vary"), a.Header.Get("X-Content-Type-Options"), a.Header.Get("X-Robots-Tag"), a.Header.Get("Connection"),
				}
				want := []string{"503 Service Unavailable", "1", "application/problem+json", "no-store", "Accept", "nosniff", "noindex", ""}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("answer (-want +got):\n%s", diff)
				}
				var p struct {
					Status  int
					Detail  string
					TraceID string `json:"trace_id"`
				}
				if err := json.Unmarshal([]byte(a.body), &p); err != nil || p.Status != 503 || p.Detail == "" {
					t.Errorf("body %q: %v", a.body, err)
				}
				parent := strings.Split(a.Header.Get("Traceparent"), "-")
				if len(parent) != 4 || parent[0] != "00" || parent[1] != p.TraceID || p.TraceID == noTrace || len(parent[2]) != 16 || parent[3] != "00" {
					t.Errorf("traceparent %q, trace_id %q", a.Header.Get("Traceparent"), p.TraceID)
				}
			}
			if answers[0].body == answers[1].body {
				t.Error("two answers name one trace")
			}
			if n := testutil.ToFloat64(f.metrics.shed[shedOverload]); n != 3 {
				t.Errorf("%v requests counted as shed, want 3", n)
			}
			if n := testutil.ToFloat64(f.metrics.answers[503]); n != 3 {
				t.Errorf("%v answers counted as 503, want 3", n)
			}
			if n := f.clicks.n.Load(); n != 0 || len(f.spans.Ended()) != 0 {
				t.Errorf("%d clicks, %d spans; want none", n, len(f.spans.Ended()))
			}
		})
	}

	t.Run("OK a page for browsers", func(t *testing.T) {
		f := openFlooded(t, 1)
		const accept = "Accept: text/html,application/xhtml+xml\r\n"
		answers := f.ask(strings.Replace(plainGet, "\r\n\r\n", "\r\n"+accept+"\r\n", 1),
			strings.Replace(plainGet, "\r\n\r\n", "\r\n"+accept+"TE: trailers\r\n\r\n", 1))
		for _, a := range answers {
			parent := strings.Split(a.Header.Get("Traceparent")+"---", "-")
			if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Content-Type") != "text/html; charset=utf-8" || a.Header.Get("Content-Security-Policy") == "" ||
				!strings.Contains(a.body, parent[1]) || !strings.Contains(a.body, "try again") && !strings.Contains(a.body, "Try again") {
				t.Errorf("%s %v\n%s", a.Status, a.Header, a.body)
			}
		}
	})

	t.Run("OK HEAD has no body", func(t *testing.T) {
		answers := openFlooded(t, 1).ask("HEAD" + plainGet[3:])
		if answers[0].StatusCode != http.StatusServiceUnavailable || answers[0].body != "" || answers[0].ContentLength <= 0 {
			t.Errorf("%s %q", answers[0].Status, answers[0].body)
		}
	})

	t.Run("OK pages, errors and what ends a connection are answered as ever", func(t *testing.T) {
		for text, status := range map[string]int{
			"GET / HTTP/1.1\r\nHost: s.example\r\n\r\n":                              200,
			"GET /robots.txt HTTP/1.1\r\nHost: s.example\r\n\r\n":                    200,
			"GET /a/b HTTP/1.1\r\nHost: s.example\r\n\r\n":                           404,
			"GET /abcdefg HTTP/1.1\r\n\r\n":                                          400,
			"GET /abcdefg HTTP/1.1\r\nHost: a@b\r\n\r\n":                             400,
			"POST /abcdefg HTTP/1.1\r\nHost: s.example\r\nContent-Length: 0\r\n\r\n": 405,
			"GET /abcdefg HTTP/1.1\r\nHost: s.example\r\nX: a\r\n b\r\n\r\n":         400,
		} {
			answers := openFlooded(t, 1).ask(text)
			if answers[0].StatusCode != status {
				t.Errorf("%q: %d, want %d", text, answers[0].StatusCode, status)
			}
		}
	})

	t.Run("OK a share of them, and each of the others is a click", func(t *testing.T) {
		f := openFlooded(t, 0.5)
		f.deps.Links.Peek("abcdefg")
		if err := f.deps.Links.Forget(t.Context(), "abcdefg"); err != nil { // so that the code is known
			t.Fatal(err)
		}
		texts := make([]string, 400)
		for i := range texts {
			texts[i] = plainGet
		}
		answers := f.ask(texts...)
		count := make(map[int]int)
		for _, a := range answers {
			count[a.StatusCode]++
		}
		if count[302]+count[503] != 400 || count[503] < 120 || count[503] > 280 || f.clicks.n.Load() != int64(count[302]) {
			t.Errorf("answers by status %v, %d clicks", count, f.clicks.n.Load())
		}
	})

	t.Run("OK a connection closed by the caller after the answer does not stay", func(t *testing.T) {
		f := openFlooded(t, 1)
		conn := f.dial()
		if _, err := io.WriteString(conn, plainGet); err != nil {
			t.Fatal(err)
		}
		_ = conn.(*net.TCPConn).CloseWrite() // comes with the request
		if text, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 503 ") {
			t.Errorf("%q, %v", text, err)
		}
	})
}

// TestShedStays has a connection turned away again and again, for longer than one request may take to arrive.
func TestShedStays(t *testing.T) {
	f := openFloodedWith(t, 1, Config{ReadTimeout: 200 * time.Millisecond})
	conn := f.dial()
	in := bufio.NewReader(conn)
	for i := range 5 {
		if i > 0 {
			time.Sleep(2 * f.config.ReadTimeout)
		}
		if _, err := io.WriteString(conn, plainGet); err != nil {
			t.Fatalf("request %d: %v", i+1, err)
		}
		if res := f.read(in, http.MethodGet); res.StatusCode != http.StatusServiceUnavailable {
			t.Fatalf("request %d: %s", i+1, res.Status)
		}
	}
}

func TestPlain(t *testing.T) {
	const end = "Host: s.example\r\n\r\n"
	for text, want := range map[string]bool{
		plainGet: true,
		"GET /abcdefg?utm=1&x=%zz HTTP/1.1\r\n" + end:                    true,
		"GET /abcdefg HTTP/1.1\r\nConnection: Keep-Alive\r\n" + end:      true,
		"GET /abcdefg HTTP/1.1\r\nCookie: a=b\r\nX-1: \t\r\n" + end:      true,
		"GET /abcdefg HTTP/1.1\r\nConnection: close\r\n" + end:           false,
		"GET /abcdefg HTTP/1.1\r\nConnection: keep-alive, x\r\n" + end:   false,
		"GET /abcdefg HTTP/1.1\r\nContent-Length: 0\r\n" + end:           false,
		"GET /abcdefg HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + end:  false,
		"GET /abcdefg HTTP/1.1\r\nTransfer-Encoding : chunked\r\n" + end: false,
		"GET /abcdefg HTTP/1.1\r\nExpect: 100-continue\r\n" + end:        false,
		"GET /abcdefg HTTP/1.1\r\nUpgrade: h2c\r\n" + end:                false,
		"GET /abcdefg HTTP/1.0\r\n" + end:                                false,
		"GET /abcdefg  HTTP/1.1\r\n" + end:                               false,
		"GET  /abcdefg HTTP/1.1\r\n" + end:                               false,
		"GET /abc%64efg HTTP/1.1\r\n" + end:                              false,
		"GET /abcdefg/ HTTP/1.1\r\n" + end:                               false,
		"GET /abcdefg?#x HTTP/1.1\r\n" + end:                             false,
		"GET / HTTP/1.1\r\n" + end:                                       false,
		"GET http://s.example/abcdefg HTTP/1.1\r\n" + end:                false,
		"HEAD /abcdefg HTTP/1.1\r\n" + end:                               false,
		"GET /abcdefg HTTP/1.1\r\nHost: other\r\n" + end:                 false,
		"GET /abcdefg HTTP/1.1\r\n folded: x\r\n" + end:                  false,
		"GET /abcdefg HTTP/1.1\r\nX: a\r\n b\r\n" + end:                  false,
		"GET /abcdefg HTTP/1.1\r\nX: a\nY: b\r\n" + end:                  false,
		"GET /abcdefg HTTP/1.1\r\nX: a\rY: b\r\n" + end:                  false,
		"GET /abcdefg HTTP/1.1\r\nX: a\x00\r\n" + end:                    false,
		"GET /abcdefg HTTP/1.1\r\nno colon\r\n" + end:                    false,
		"GET /abcdefg HTTP/1.1\n" + end:                                  false,
		"GET /abcdefg HTTP/1.1\r\n\r\n":                                  false,
		"\r\n" + plainGet:                                                false,
		plainGet + plainGet:                                              false,
		plainGet + "x":                                                   false,
		plainGet[:len(plainGet)-1]:                                       false,
		plainGet[:len(plainGet)-2]:                                       false,
		plainGet[:10]:                                                    false,
		"":                                                               false,
		"GET /a HTTP/1.1\r\n" + end:                                      false,
		"GET /abcdefg\r\n" + end:                                         false,
		"GET /abcdefg HTTP/1.1 \r\n" + end:                               false,
	} {
		if _, got := plain([]byte(text)); got != want {
			t.Errorf("plain(%q) = %v", text, got)
		}
	}
}

// TestWatch sees that probes arrive and that a door on which nothing stands sheds nothing.
func TestWatch(t *testing.T) {
	var o overload
	o.config = Shed{Target: time.Hour, Queue: 1}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- o.watch(ctx) }()
	deadline := time.After(15 * time.Second)
	for tick := time.NewTicker(time.Millisecond); o.delay.Load() == 0; {
		select {
		case <-tick.C:
			o.requests.Add(1)
		case <-deadline:
			t.Fatal("no probe has arrived")
		}
	}
	if share := o.current(); share != 0 {
		t.Errorf("share %v, want 0", share)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
