package door_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/linktrail/linktrail/apps/url-api/internal/door"
	"github.com/linktrail/linktrail/internal/linkcache"
)

// TestMaxConns is about connections beyond Door.MaxConns.
func TestMaxConns(t *testing.T) {
	const most = 3
	few := func(c *door.Config, _ *door.Deps, _ *linkcache.Config) {
		c.MaxConns, c.ReadTimeout = most, 10*time.Minute
	}
	fill := func(t *testing.T, h *house) *net.TCPConn {
		t.Helper()
		var last *net.TCPConn
		for range most {
			last = h.dial()
			if _, err := io.WriteString(last, "GET /robots.txt HTTP/1.1\r\nHost: s\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if _, err := readAnswer(bufio.NewReader(last), "GET"); err != nil {
				t.Fatal(err)
			}
		}
		return last
	}

	t.Run("Err further ones are answered 503, like any other request", func(t *testing.T) {
		h := open(t, few)
		last := fill(t, h)
		for range 20 {
			answers := exchange{"GET /found HTTP/1.1\r\nHost: s\r\n\r\n" + hidden, []int{503}, false, ""}.run(t, h)
			if got := answers[0].Header.Get("Retry-After"); got != "1" {
				t.Errorf("Retry-After is %q", got)
			}
		}
		page := h.ask("GET", "/found", "Accept", "text/html")
		if page.StatusCode != http.StatusServiceUnavailable || !strings.HasPrefix(page.Header.Get("Content-Type"), "text/html") || !page.Close {
			t.Errorf("a browser: %d, %s", page.StatusCode, page.Header.Get("Content-Type"))
		}
		large := exchange{"POST /found HTTP/1.1\r\nHost: s\r\nContent-Length: 1048576\r\n\r\n" + strings.Repeat("a", 1<<20), []int{405}, false, ""}
		large.run(t, h)
		if n := h.metric("linktrail_door_connections_refused_total", ""); n != 22 {
			t.Errorf("linktrail_door_connections_refused_total is %v, want 22", n)
		}
		_ = last.Close()
		eventually(t, "there is room again", func() bool { return h.metric("linktrail_door_connections", "") < most })
		exchange{"GET /found HTTP/1.1\r\nHost: s\r\n\r\n", []int{302}, true, "found"}.run(t, h)
	})

	t.Run("Err further ones that say nothing are ended soon", func(t *testing.T) {
		h := open(t, few)
		fill(t, h)
		began := time.Now()
		if got, err := io.ReadAll(h.dial()); len(got) > 0 || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		if took := time.Since(began); took < 500*time.Millisecond || took > time.Minute { // ReadTimeout is ten
			t.Errorf("it took %v", took)
		}
	})

	t.Run("Err a flood is not even answered, and who was there is", func(t *testing.T) {
		h := open(t, few)
		last := fill(t, h)
		var flood []*net.TCPConn
		for range 400 {
			flood = append(flood, h.dial())
		}
		ended := 0
		eventually(t, "those beyond what can be answered are closed", func() bool {
			return h.metric("linktrail_door_connections_refused_total", "") >= 400
		})
		if n := h.metric("linktrail_door_connections", ""); n > most+256 {
			t.Errorf("%v connections are open", n)
		}
		for _, c := range flood {
			if got, err := io.ReadAll(c); err == nil && len(got) == 0 {
				ended++
			}
		}
		if ended != len(flood) {
			t.Errorf("%d of %d ended", ended, len(flood))
		}
		if err := follow(last); err != nil {
			t.Errorf("who was there before: %v", err)
		}
	})

	t.Run("Err further ones are answered 503 over TLS", func(t *testing.T) {
		dir := t.TempDir()
		files := door.TLS{CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key")}
		root := writeCertificate(t, files)
		h := open(t, func(c *door.Config, _ *door.Deps, _ *linkcache.Config) { c.MaxConns, c.TLS = 1, files })
		trust := &tls.Config{RootCAs: root, ServerName: "localhost"}
		first := tls.Client(h.dial(), trust)
		if err := follow(first); err != nil {
			t.Fatal(err)
		}
		second := tls.Client(h.dial(), trust)
		if _, err := io.WriteString(second, "GET /found HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if a, err := readAnswer(bufio.NewReader(second), "GET"); err != nil || a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") != "1" {
			t.Errorf("%v, %+v", err, a.Response)
		}
		if err := follow(first); err != nil {
			t.Errorf("who was there before: %v", err)
		}
	})
}

// TestTLSCallers is about what callers may do at a door that speaks TLS.
func TestTLSCallers(t *testing.T) {
	dir := t.TempDir()
	files := door.TLS{CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key")}
	trust := &tls.Config{RootCAs: writeCertificate(t, files), ServerName: "localhost"}
	h := open(t, func(c *door.Config, _ *door.Deps, _ *linkcache.Config) {
		c.ReadTimeout, c.TLS = 500*time.Millisecond, files
	})

	t.Run("OK pipelined, then a refused one", func(t *testing.T) {
		conn := tls.Client(h.dial(), trust)
		if _, err := io.WriteString(conn, strings.Repeat("GET /found HTTP/1.1\r\nHost: s\r\n\r\n", 5)+"GET /found HTTP/1.1\r\nHost: s\r\nX: a\r\n b\r\n\r\n"+hidden); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(conn)
		for i, want := range []int{302, 302, 302, 302, 302, 400} {
			if a, err := readAnswer(in, "GET"); err != nil || a.StatusCode != want {
				t.Errorf("answer %d: %v, %+v", i+1, err, a.Response)
			}
		}
		if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
			t.Errorf("then %q, %v", rest, err)
		}
		if n := len(h.clicks.all()); n != 5 {
			t.Errorf("%d clicks, want 5", n)
		}
	})
	t.Run("OK a large body is answered before it is ended", func(t *testing.T) {
		conn := tls.Client(h.dial(), trust)
		_, _ = io.WriteString(conn, "POST /found HTTP/1.1\r\nHost: s\r\nContent-Length: 150000\r\n\r\n"+strings.Repeat("a", 150_000))
		if a, err := readAnswer(bufio.NewReader(conn), "POST"); err != nil || a.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%v, %+v", err, a.Response)
		}
	})
	for name, hello := range map[string]string{
		"Err a handshake that never comes": "", "Err half a handshake": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
	} {
		t.Run(name, func(t *testing.T) {
			conn := h.dial()
			if _, err := io.WriteString(conn, hello); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(conn); err != nil {
				t.Errorf("%v, want the connection's end", err)
			}
		})
	}
	t.Run("Err HTTP without TLS", func(t *testing.T) {
		conn := h.dial()
		if _, err := io.WriteString(conn, "GET /found HTTP/1.1\r\nHost: s\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if got, _ := io.ReadAll(conn); strings.Contains(string(got), "302") {
			t.Errorf("%q", got)
		}
	})
	t.Run("Err TLS 1.1", func(t *testing.T) {
		old := trust.Clone()
		old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		if err := tls.Client(h.dial(), old).HandshakeContext(t.Context()); err == nil {
			t.Error("it was spoken")
		}
	})
}

// starved is a listener that has no file descriptor left for the first connections.
type starved struct {
	net.Listener
	left atomic.Int64
}

func (s *starved) Accept() (net.Conn, error) {
	if s.left.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return s.Listener.Accept()
}

func TestShortageOfFiles(t *testing.T) {
	serve := func(t *testing.T, failures int64) (*door.Door, *starved, chan error, *prometheus.Registry) {
		t.Helper()
		links := linkcache.New(linkcache.Config{}, &store{links: testLinks()}, nil, linkcache.WithClock(func() time.Time { return start }))
		t.Cleanup(links.Close)
		registry := prometheus.NewRegistry()
		d, err := door.New(door.Config{}, door.Deps{Links: links, Clicks: discard{}, Registry: registry, Now: func() time.Time { return start }})
		if err != nil {
			t.Fatal(err)
		}
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := &starved{Listener: ln}
		s.left.Store(failures)
		served := make(chan error, 1)
		go func() { served <- d.Serve(s) }()
		return d, s, served, registry
	}
	stop := func(t *testing.T, d *door.Door, served chan error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := d.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
	t.Run("OK the door goes on when it has passed", func(t *testing.T) {
		d, ln, served, registry := serve(t, 5)
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if err := follow(conn); err != nil {
			t.Error(err)
		}
		_ = conn.Close()
		if n := (&house{t: t, registry: registry}).metric("linktrail_door_accept_failures_total", ""); n != 5 {
			t.Errorf("linktrail_door_accept_failures_total is %v, want 5", n)
		}
		stop(t, d, served)
	})
	t.Run("OK the door can be stopped meanwhile", func(t *testing.T) {
		d, ln, served, _ := serve(t, 1<<40)
		eventually(t, "it tries", func() bool { return ln.left.Load() < 1<<40-3 })
		stop(t, d, served)
	})
}
