//go:build linux

package load_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/linktrail/linktrail/hack/bench/load"
)

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func requests(n int) []load.Request {
	list := make([]load.Request, n)
	for i := range list {
		path := fmt.Sprintf("/%d", i)
		list[i] = load.Request{Send: load.Get("s.example", path), Status: 302, Location: "https://example.org" + path}
	}
	return list
}

func MustRun(t *testing.T, p load.Plan) *load.Result {
	t.Helper()
	r, err := load.Run(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if r.Sent != r.Right+r.Wrong+r.Refused+r.Failed {
		t.Errorf("sent %d, but right %d, wrong %d, refused %d, failed %d", r.Sent, r.Right, r.Wrong, r.Refused, r.Failed)
	}
	return r
}

func TestRun(t *testing.T) {
	redirect := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "https://example.org"+r.URL.Path)
		w.WriteHeader(http.StatusFound)
	}

	t.Run("OK closed loop", func(t *testing.T) {
		var asked atomic.Int64
		addr := serve(t, func(w http.ResponseWriter, r *http.Request) { asked.Add(1); redirect(w, r) })
		r := MustRun(t, load.Plan{Addr: addr, Requests: requests(10), Connections: 4, Count: 500, Duration: time.Minute})
		if err := r.Check(); err != nil {
			t.Fatal(err)
		}
		if r.Right != 500 || asked.Load() != 500 || r.Latency.Count() != 500 || r.Statuses[302] != 500 || r.PerSecond() <= 0 {
			t.Errorf("right %d, asked %d, latencies %d, statuses %v", r.Right, asked.Load(), r.Latency.Count(), r.Statuses)
		}
	})

	t.Run("OK open loop counts from when a request was meant", func(t *testing.T) {
		const pause = 20 * time.Millisecond
		addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
			select { // one connection: each request waits for those before it
			case <-time.After(pause):
			case <-r.Context().Done():
			}
			redirect(w, r)
		})
		r := MustRun(t, load.Plan{Addr: addr, Requests: requests(3), Connections: 1, Rate: 200, Duration: 50 * time.Millisecond})
		if err := r.Check(); err != nil {
			t.Fatal(err)
		}
		// The tenth was meant to be made after 45 ms and is answered after 200 ms at the earliest.
		if r.Right != 10 || r.Latency.Max() < 10*pause-45*time.Millisecond || r.Service.Count() != 10 {
			t.Errorf("right %d, longest %v", r.Right, r.Latency.Max())
		}
	})

	t.Run("OK an answer in chunks", func(t *testing.T) {
		addr := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			for range 3 {
				fmt.Fprint(w, strings.Repeat("x", 5000))
				_ = http.NewResponseController(w).Flush()
			}
		})
		r := MustRun(t, load.Plan{Addr: addr, Requests: []load.Request{{Send: load.Get("s.example", "/")}}, Connections: 2, Count: 20, Duration: time.Minute})
		if err := r.Check(); err != nil || r.Right != 20 {
			t.Errorf("right %d: %v", r.Right, err)
		}
	})

	t.Run("OK an answer with a body in pieces, and a connection that ends", func(t *testing.T) {
		addr := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "20000")
			w.Header().Set("Connection", "close")
			for range 2 {
				fmt.Fprint(w, strings.Repeat("x", 10000))
				_ = http.NewResponseController(w).Flush()
			}
		})
		r := MustRun(t, load.Plan{Addr: addr, Requests: []load.Request{{Send: load.Get("s.example", "/")}}, Connections: 2, Count: 20, Duration: time.Minute})
		if err := r.Check(); err != nil || r.Right != 20 {
			t.Errorf("right %d: %v", r.Right, err)
		}
	})

	for name, test := range map[string]struct {
		handler http.HandlerFunc
		plan    load.Plan
		want    string
	}{
		"Err wrong Location": {func(w http.ResponseWriter, r *http.Request) {
			r.URL.Path = "/elsewhere"
			redirect(w, r)
		}, load.Plan{}, "https://example.org/elsewhere"},
		"Err refused":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, load.Plan{}, "answered 503"},
		"Err broken":    {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, load.Plan{}, "no answer"},
		"Err no answer": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, load.Plan{Timeout: 50 * time.Millisecond}, "no answer within"},
	} {
		t.Run(name, func(t *testing.T) {
			p := test.plan
			p.Addr, p.Requests, p.Connections, p.Count, p.Duration = serve(t, test.handler), requests(2), 2, 6, time.Minute
			r := MustRun(t, p)
			if r.Sent != 6 || r.Right != 0 {
				t.Errorf("sent %d, right %d", r.Sent, r.Right)
			}
			if err := r.Check(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Check: %v; want %q in it", err, test.want)
			}
		})
	}

	t.Run("Err ctx ends", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		addr := serve(t, func(w http.ResponseWriter, r *http.Request) { cancel(); redirect(w, r) })
		if _, err := load.Run(ctx, load.Plan{Addr: addr, Requests: requests(1), Duration: time.Minute}); !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
	})

	t.Run("Err not this machine", func(t *testing.T) {
		if _, err := load.Run(t.Context(), load.Plan{Addr: "192.0.2.1:80", Requests: requests(1), Duration: time.Second}); err == nil {
			t.Error("no error")
		}
	})
}

func TestHistogram(t *testing.T) {
	var h load.Histogram
	for i := 1; i <= 10000; i++ {
		h.Add(time.Duration(i) * time.Microsecond)
	}
	for q, want := range map[float64]time.Duration{0.5: 5 * time.Millisecond, 0.99: 9900 * time.Microsecond, 1: 10 * time.Millisecond} {
		if got := h.Quantile(q); got < want || got > want+want/100 {
			t.Errorf("Quantile(%v) is %v, want %v and at most one per cent more", q, got, want)
		}
	}
	if h.Count() != 10000 || h.Max() != 10*time.Millisecond || h.Mean() != 5000500*time.Nanosecond {
		t.Errorf("count %d, max %v, mean %v", h.Count(), h.Max(), h.Mean())
	}
	var all load.Histogram
	all.Merge(&h)
	all.Add(1 << 62)
	if all.Quantile(1) != 1<<62 || all.Quantile(0.5) != h.Quantile(0.5) {
		t.Errorf("merged: %v, %v", all.Quantile(1), all.Quantile(0.5))
	}
}

func TestZipf(t *testing.T) {
	order := load.Zipf(7, 1.1, 1000, 100000)
	counts := make([]int, 1000)
	for _, i := range order {
		counts[i]++
	}
	most, asked := 0, 0
	for _, n := range counts {
		most = max(most, n)
		if n > 0 {
			asked++
		}
	}
	// The weights of 1 to 1000 with s = 1.1 add up to 5.57.
	if share := float64(most) / float64(len(order)); share < 0.17 || share > 0.19 {
		t.Errorf("the most frequent has a share of %v, want about 0.18", share)
	}
	if asked < 990 {
		t.Errorf("%d of 1000 are asked for", asked)
	}
	again := load.Zipf(7, 1.1, 1000, 100000)
	for i := range order {
		if order[i] != again[i] {
			t.Fatal("the same seed gives another order")
		}
	}
}
