package ops_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/linktrail/linktrail/internal/ops"
)

// MustServe starts a server on a free port, stops it when the test ends, and
// returns its URL.
func MustServe(t *testing.T, s *ops.Server) string {
	t.Helper()
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return "http://" + s.Addr()
}

// MustGet returns status and body of a GET.
func MustGet(t *testing.T, url string) (int, string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

type readyz struct {
	Ready  bool
	Checks map[string]string
	Millis map[string]float64 `json:"duration_ms"`
}

// MustReady returns status and parsed body of /readyz.
func MustReady(t *testing.T, url string) (int, readyz) {
	t.Helper()
	status, body := MustGet(t, url)
	var got readyz
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatalf("%v in %q", err, body)
	}
	return status, got
}

func TestHandle(t *testing.T) {
	s := ops.New(ops.Config{Addr: "127.0.0.1:0"})
	s.Handle("GET /before", http.RedirectHandler("/livez", http.StatusFound))
	url := MustServe(t, s)
	s.Handle("GET /after", http.RedirectHandler("/livez", http.StatusFound))
	for _, path := range []string{"/before", "/after"} {
		if status, body := MustGet(t, url+path); status != http.StatusOK || body != "ok\n" {
			t.Errorf("%s answers %d %q", path, status, body)
		}
	}
	if status, _ := MustGet(t, url+"/neither"); status != http.StatusNotFound {
		t.Errorf("what nobody added answers %d", status)
	}
}

func TestLive(t *testing.T) {
	s := ops.New(ops.Config{Addr: "127.0.0.1:0"})
	s.Ready("never", func(context.Context) error { return errors.New("no") })
	url := MustServe(t, s)
	if status, body := MustGet(t, url+"/livez"); status != 200 || strings.TrimSpace(body) != "ok" {
		t.Errorf("got %d %q, want 200 ok although a readiness check fails", status, body)
	}
}

func TestReady(t *testing.T) {
	s := ops.New(ops.Config{Addr: "127.0.0.1:0"})
	var away atomic.Bool
	long := strings.Repeat("refused ", 100)
	s.Ready("store", func(context.Context) error {
		if away.Load() {
			return errors.New("connection\n\trefused: " + long)
		}
		return nil
	})
	s.Ready("stream", func(context.Context) error { return nil })
	url := MustServe(t, s)

	t.Run("OK", func(t *testing.T) {
		status, got := MustReady(t, url+"/readyz")
		if status != 200 || !got.Ready || got.Checks["store"] != "ok" || got.Checks["stream"] != "ok" {
			t.Errorf("got %d %+v, want 200 and both ok", status, got)
		}
	})
	t.Run("ErrCheck", func(t *testing.T) {
		away.Store(true)
		defer away.Store(false)
		status, got := MustReady(t, url+"/readyz")
		if status != 503 || got.Ready || got.Checks["stream"] != "ok" {
			t.Errorf("got %d %+v, want 503 for the store alone", status, got)
		}
		if text := got.Checks["store"]; !strings.HasPrefix(text, "connection refused: ") || len(text) > 150 {
			t.Errorf("store says %q, want one short line", text)
		}
		_, got = MustReady(t, url+"/readyz?verbose")
		if text := got.Checks["store"]; !strings.HasSuffix(text, "refused") || len(text) < 500 {
			t.Errorf("verbose says %q, want the whole error", text)
		}
		if _, ok := got.Millis["store"]; !ok {
			t.Errorf("verbose has no durations: %+v", got)
		}
	})
	t.Run("ErrPanic", func(t *testing.T) {
		s.Ready("panics", func(context.Context) error {
			if away.Load() {
				panic("boom")
			}
			return nil
		})
		away.Store(true)
		defer away.Store(false)
		if status, got := MustReady(t, url+"/readyz"); status != 503 || got.Checks["panics"] != "panic: boom" {
			t.Errorf("got %d %+v, want the panic as a failed check", status, got)
		}
	})
	t.Run("ErrDraining", func(t *testing.T) {
		s.Drain()
		if status, got := MustReady(t, url+"/readyz"); status != 503 || got.Checks["drain"] != "stopping" {
			t.Errorf("got %d %+v, want 503 while draining", status, got)
		}
		if status, _ := MustGet(t, url+"/livez"); status != 200 {
			t.Errorf("livez answers %d while draining, want 200", status)
		}
	})
}

func TestReadySlowCheck(t *testing.T) {
	s := ops.New(ops.Config{Addr: "127.0.0.1:0"})
	release := make(chan struct{})
	var runs atomic.Int32
	s.Ready("deaf", func(context.Context) error { // ignores its context
		runs.Add(1)
		<-release
		return nil
	})
	polite := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	s.Ready("polite", polite)
	for i := range 20 {
		s.Ready(fmt.Sprintf("polite-%d", i), polite)
	}
	url := MustServe(t, s)
	t.Cleanup(func() { close(release) }) // before the server's own clean-up, which waits for the check

	start := time.Now()
	status, got := MustReady(t, url+"/readyz")
	if took := time.Since(start); took > 15*ops.CheckDeadline {
		t.Errorf("took %v, want little more than %v: checks run together", took, ops.CheckDeadline)
	}
	if status != 503 || got.Checks["deaf"] != "no answer within 2s" || got.Checks["polite"] != "no answer within 2s" {
		t.Errorf("got %d %+v, want both as unanswered", status, got)
	}
	MustReady(t, url+"/readyz")
	if n := runs.Load(); n != 1 {
		t.Errorf("the check that hangs runs %d times at once, want 1", n)
	}
}

func TestMetrics(t *testing.T) {
	s := ops.New(ops.Config{Addr: "127.0.0.1:0"})
	clicks := prometheus.NewCounter(prometheus.CounterOpts{Name: "linktrail_test_total", Help: "A test's."})
	s.Registry().MustRegister(clicks)
	clicks.Add(3)
	url := MustServe(t, s)
	status, body := MustGet(t, url+"/metrics")
	if status != 200 {
		t.Fatalf("got %d: %s", status, body)
	}
	for _, want := range []string{
		"linktrail_test_total 3", "linktrail_build_info{", "go_goroutines ", "process_resident_memory_bytes ",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in\n%s", want, body)
		}
	}
}

func TestPprof(t *testing.T) {
	for name, tc := range map[string]struct {
		on   bool
		want int
	}{"on": {true, 200}, "off": {false, 404}} {
		t.Run(name, func(t *testing.T) {
			url := MustServe(t, ops.New(ops.Config{Addr: "127.0.0.1:0", Pprof: tc.on}))
			if status, _ := MustGet(t, url+"/debug/pprof/heap"); status != tc.want {
				t.Errorf("got %d, want %d", status, tc.want)
			}
		})
	}
}

func TestListen(t *testing.T) {
	t.Run("ErrTaken", func(t *testing.T) {
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = taken.Close() }()
		err = ops.New(ops.Config{Addr: taken.Addr().String()}).Listen()
		if err == nil || !strings.Contains(err.Error(), "Ops.Addr") || !strings.Contains(err.Error(), taken.Addr().String()) ||
			!strings.Contains(err.Error(), "in use") {
			t.Errorf("got %v, want key, address and that it is in use", err)
		}
	})
	t.Run("ErrAddress", func(t *testing.T) {
		err := ops.New(ops.Config{Addr: "6060"}).Listen()
		if err == nil || !strings.Contains(err.Error(), `Ops.Addr: cannot listen on "6060"`) {
			t.Errorf("got %v, want key and value", err)
		}
	})
	t.Run("ErrTwice", func(t *testing.T) {
		s := ops.New(ops.Config{Addr: "127.0.0.1:0"})
		MustServe(t, s)
		if err := s.Listen(); err == nil {
			t.Error("a second Listen succeeds")
		}
	})
}

func TestShutdownWithoutServe(t *testing.T) {
	s := ops.New(ops.Config{Addr: "127.0.0.1:0"})
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	addr := s.Addr()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	again, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatalf("the port is still held: %v", err)
	}
	_ = again.Close()
}

func TestNothingIsTraced(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	before := otel.GetTracerProvider()
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)))
	defer otel.SetTracerProvider(before)

	s := ops.New(ops.Config{Addr: "127.0.0.1:0"})
	url := MustServe(t, s)
	for _, path := range []string{"/livez", "/readyz", "/metrics", "/nothing"} {
		MustGet(t, url+path)
	}
	if spans := recorder.Started(); len(spans) > 0 {
		t.Errorf("%d spans were made, want none", len(spans))
	}
}
