package door_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linktrail/linktrail/apps/url-api/internal/door"
	"github.com/linktrail/linktrail/internal/linkcache"
)

// drip sends a text byte by byte, each half a twentieth of the time that brisk gives a request, until it is told of the
// connection's end.
func drip(conn io.Writer, text string) error {
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for i := range len(text) {
		<-tick.C
		if _, err := conn.Write([]byte{text[i]}); err != nil {
			return err
		}
	}
	return nil
}

// TestSlowCallers is about who takes too long, on purpose or not.
func TestSlowCallers(t *testing.T) {
	const slow = "GET /found HTTP/1.1\r\nHost: s\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n"
	for name, text := range map[string]string{
		"Err headers byte by byte": slow,
		"Err a body byte by byte":  "POST /found HTTP/1.1\r\nHost: s\r\nContent-Length: 1000\r\n\r\n" + strings.Repeat("a", 60),
		"Err chunks byte by byte":  "GET /found HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1\r\na\r\n", 20),
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t, brisk)
			conn := h.dial()
			began := time.Now()
			var sender sync.WaitGroup
			sender.Go(func() { _ = drip(conn, text) })
			a, err := readAnswer(bufio.NewReader(conn), "GET")
			took := time.Since(began)
			if err != nil || a.StatusCode != http.StatusRequestTimeout || !a.Close {
				t.Errorf("%v, %+v", err, a.Response)
			}
			if took < 400*time.Millisecond || took > 15*time.Second {
				t.Errorf("it took %v", took)
			}
			_ = conn.Close()
			sender.Wait()
			if n := len(h.clicks.all()); n != 0 {
				t.Errorf("%d clicks", n)
			}
		})
	}

	t.Run("OK slow, but in time", func(t *testing.T) {
		h := open(t, nil)
		conn := h.dial()
		if err := drip(conn, "GET /found HTTP/1.1\r\nHost: s\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if a, err := readAnswer(bufio.NewReader(conn), "GET"); err != nil || a.StatusCode != http.StatusFound {
			t.Errorf("%v, %+v", err, a.Response)
		}
	})

	t.Run("OK hundreds that drip hold up nobody", func(t *testing.T) {
		// Whoever had to wait for the drippers would wait for half a minute.
		h := open(t, func(c *door.Config, _ *door.Deps, _ *linkcache.Config) { c.ReadTimeout = 30 * time.Second })
		var drippers sync.WaitGroup
		var conns []io.Closer
		for range 300 {
			conn := h.dial()
			conns = append(conns, conn)
			drippers.Go(func() { _ = drip(conn, slow[:len(slow)-2]+"X: "+strings.Repeat("a", 1000)) })
		}
		eventually(t, "all are connected", func() bool { return h.metric("linktrail_door_connections", "") >= 300 })
		for range 200 {
			began := time.Now()
			if a := h.ask("GET", "/found"); a.StatusCode != http.StatusFound || time.Since(began) > 10*time.Second {
				t.Errorf("%d after %v", a.StatusCode, time.Since(began))
			}
		}
		for _, conn := range conns {
			_ = conn.Close()
		}
		drippers.Wait()
		if n := len(h.clicks.all()); n != 200 {
			t.Errorf("%d clicks, want 200", n)
		}
	})

	t.Run("OK who says nothing is told nothing", func(t *testing.T) {
		h := open(t, brisk)
		for name, end := range map[string]func(conn io.Closer){
			"until the door ends it": func(io.Closer) {}, "and goes": func(conn io.Closer) { _ = conn.Close() },
		} {
			conn := h.dial()
			end(conn)
			if got, err := io.ReadAll(conn); len(got) > 0 || name == "until the door ends it" && err != nil {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
		reset := h.dial()
		_ = reset.SetLinger(0)
		_ = reset.Close()
		eventually(t, "all are gone", func() bool { return h.metric("linktrail_door_connections", "") == 0 })
		if n := len(h.spans.Ended()); n != 0 {
			t.Errorf("%d spans of requests that were none", n)
		}
	})

	t.Run("OK who does not read is let go", func(t *testing.T) {
		h := open(t, func(c *door.Config, _ *door.Deps, _ *linkcache.Config) { c.WriteTimeout = 300 * time.Millisecond })
		conn := h.dial()
		refused := make(chan struct{})
		go func() {
			for {
				if _, err := io.WriteString(conn, strings.Repeat("GET /unknown HTTP/1.1\r\nHost: s\r\n\r\n", 100)); err != nil {
					close(refused)
					return
				}
			}
		}()
		select {
		case <-refused:
		case <-time.After(15 * time.Second):
			t.Error("it may send for ever")
			_ = conn.Close()
			<-refused
		}
		if a := h.ask("GET", "/found"); a.StatusCode != http.StatusFound {
			t.Errorf("another caller: %d", a.StatusCode)
		}
	})
}

// TestHalfClosed is about callers that end their side after the last request; they get all answers.
func TestHalfClosed(t *testing.T) {
	h := open(t, func(_ *door.Config, _ *door.Deps, cache *linkcache.Config) { cache.StoreTimeout = time.Minute })
	gate := make(chan struct{})
	h.store.set(func(s *store) { s.gate = gate })
	conn := h.dial()
	if _, err := io.WriteString(conn, strings.Repeat("GET /found HTTP/1.1\r\nHost: s\r\n\r\n", 3)+hidden); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first is with the store", func() bool { return h.store.reads.Load() == 1 })
	close(gate) // the door has had the time to see the end
	in := bufio.NewReader(conn)
	for i, want := range []int{302, 302, 302, 301} {
		if a, err := readAnswer(in, "GET"); err != nil || a.StatusCode != want {
			t.Errorf("answer %d: %v, %+v", i+1, err, a.Response)
		}
	}
	if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
		t.Errorf("after the answers: %q, %v", rest, err)
	}
	if n := len(h.clicks.all()); n != 4 {
		t.Errorf("%d clicks, want 4", n)
	}

	for name, x := range map[string]struct {
		send string
		want []int
	}{
		"Err within the headers": {"GET /found HTTP/1.1\r\nHost: s\r\n", []int{400}},
		"Err within a body":      {"GET /found HTTP/1.1\r\nHost: s\r\nContent-Length: 9\r\n\r\nhalf", []int{400}},
		"Err within a chunk":     {"GET /found HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf", []int{400}},
		"Err before the trailer": {"GET /found HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", []int{400}},
		"OK after one":           {"GET /found HTTP/1.1\r\nHost: s\r\n\r\nGET /mov", []int{302, 400}},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(h.clicks.all())
			var got []int
			for _, a := range h.raw(x.send) {
				got = append(got, a.StatusCode)
			}
			if fmt.Sprint(got) != fmt.Sprint(x.want) {
				t.Errorf("%v, want %v", got, x.want)
			}
			if n := len(h.clicks.all()) - before; n != len(x.want)-1 {
				t.Errorf("%d clicks", n)
			}
		})
	}
}
