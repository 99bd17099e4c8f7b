package door_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/linktrail/linktrail/apps/url-api/internal/door"
	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/linkcache"
)

// store is a store of links in memory that can be held up, and be away.
type store struct {
	mu    sync.Mutex
	links map[string]link.Link
	away  bool
	gate  chan struct{}
	reads atomic.Int64
}

func (s *store) LinkByCode(ctx context.Context, code string) (link.Link, error) {
	s.reads.Add(1)
	s.mu.Lock()
	l, ok := s.links[code]
	away, gate := s.away, s.gate
	s.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return link.Link{}, ctx.Err()
		}
	}
	switch {
	case away:
		return link.Link{}, errors.New("dial tcp 10.9.8.7:5432: connection refused")
	case !ok:
		return link.Link{}, link.NotFound(code)
	}
	return l, nil
}

func (s *store) set(change func(*store)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// publisher keeps the clicks that it is given, with the span in their context.
type publisher struct {
	mu     sync.Mutex
	clicks []click.Click
	ctxs   []context.Context
	fault  bool
}

func (p *publisher) Publish(ctx context.Context, c click.Click) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fault {
		panic("a fault of the publisher")
	}
	p.clicks, p.ctxs = append(p.clicks, c), append(p.ctxs, ctx)
}

func (p *publisher) Close(context.Context) error { return nil }

func (p *publisher) all() []click.Click {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]click.Click(nil), p.clicks...)
}

// house is a door that serves on a real socket, and all that it works with.
type house struct {
	t        *testing.T
	door     *door.Door
	addr     string
	store    *store
	clicks   *publisher
	spans    *tracetest.SpanRecorder
	registry *prometheus.Registry
	now      atomic.Int64
	client   *http.Client
}

// start is when the tests' clock stands still.
var start = time.Date(2026, 7, 1, 12, 0, 0, 123456000, time.UTC)

func testLinks() map[string]link.Link {
	links := make(map[string]link.Link)
	add := func(code string, status int, change func(*link.Link)) {
		l := link.Link{ID: int64(len(links) + 1), Code: code, URL: "https://example.org/" + code, RedirectStatus: status}
		if change != nil {
			change(&l)
		}
		links[code] = l
	}
	add("found", 302, nil)
	add("moved", 301, nil)
	add("keep307", 307, nil)
	add("keep308", 308, nil)
	add("soon", 301, func(l *link.Link) { l.ExpiresAt = start.Add(10 * time.Second) })
	add("expired", 302, func(l *link.Link) { l.ExpiresAt = start })
	add("disabled", 302, func(l *link.Link) { l.Disabled = true })
	add("unicode", 302, func(l *link.Link) { l.URL = "https://xn--bcher-kva.example/%C3%BC?q=a%20b&r=%22#frag" })
	add("injected", 302, func(l *link.Link) { l.URL = "https://example.org/\r\nSet-Cookie: a=b" })
	return links
}

// open starts a door; change alters its configuration before.
func open(t *testing.T, change func(*door.Config, *door.Deps, *linkcache.Config)) *house {
	t.Helper()
	h := &house{
		t:        t,
		store:    &store{links: testLinks()},
		clicks:   new(publisher),
		spans:    tracetest.NewSpanRecorder(),
		registry: prometheus.NewRegistry(),
	}
	h.now.Store(start.UnixNano())
	now := func() time.Time { return time.Unix(0, h.now.Load()) }
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(h.spans))
	cfg := door.Config{}
	deps := door.Deps{Clicks: h.clicks, Registry: h.registry, Tracers: provider, Now: now}
	cache := linkcache.Config{}
	if change != nil {
		change(&cfg, &deps, &cache)
	}
	links := linkcache.New(cache, h.store, nil, linkcache.WithClock(now))
	deps.Links = links
	var err error
	if h.door, err = door.New(cfg, deps); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.addr = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- h.door.Serve(ln) }()
	h.client = &http.Client{
		Transport:     &http.Transport{DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       20 * time.Second,
	}
	t.Cleanup(func() {
		h.client.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := h.door.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		links.Close()
	})
	return h
}

// answer is a response with its body read.
type answer struct {
	*http.Response
	body string
}

// ask sends a request; headers are name, value, name, value.
func (h *house) ask(method, path string, headers ...string) answer {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), method, "http://"+h.addr+path, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	res, err := h.client.Do(req)
	if err != nil {
		h.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{Response: res, body: string(body)}
}

// raw sends bytes on a connection of its own and returns the connection's answers.
func (h *house) raw(text string) []answer {
	h.t.Helper()
	conn, err := net.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		h.t.Logf("write: %v", err) // the door may have closed already
	}
	_ = conn.(*net.TCPConn).CloseWrite()
	in := bufio.NewReader(conn)
	var answers []answer
	for {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			return answers
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil {
			h.t.Fatal(err)
		}
		answers = append(answers, answer{Response: res, body: string(body)})
	}
}

// span returns the span that a response names.
func (h *house) span(a answer) sdktrace.ReadOnlySpan {
	h.t.Helper()
	parts := strings.Split(a.Header.Get("Traceparent"), "-")
	if len(parts) != 4 {
		h.t.Fatalf("traceparent is %q", a.Header.Get("Traceparent"))
	}
	for _, s := range h.spans.Ended() {
		if s.SpanContext().SpanID().String() == parts[2] && s.SpanContext().TraceID().String() == parts[1] {
			return s
		}
	}
	h.t.Fatalf("no span %s", parts[2])
	return nil
}

// metric returns the value of a counter or gauge; status "" is the one without labels.
func (h *house) metric(name, status string) float64 {
	h.t.Helper()
	families, err := h.registry.Gather()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() != name || status != "" && m.GetLabel()[0].GetValue() != status {
				continue
			}
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	h.t.Fatalf("no metric %s %s", name, status)
	return 0
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// countries knows one network.
type countries struct{}

func (countries) Country(addr netip.Addr) string {
	if addr == netip.MustParseAddr("203.0.113.77") {
		return "CH"
	}
	return ""
}
