package telemetry

import (
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Spans end on many goroutines while the overlay leads from a collector over gRPC
// to one over HTTP and back: each arrives once, at one of them.
func TestSwapBetweenCollectorsLosesNothing(t *testing.T) {
	const workers, each, swaps = 16, 1500, 40
	var collectors [2]otlpCollector
	overlays := [2]overlay{
		{telemetry: fmt.Appendf(nil, "Telemetry: {Batcher: otlpgrpc, Endpoint: %q, Sampler: 1}", collectors[0].MustServeGRPC(t, nil))},
		{telemetry: fmt.Appendf(nil, "Telemetry: {Batcher: otlphttp, Endpoint: %q, Sampler: 1}", collectors[1].MustServeHTTP(t, nil))},
	}
	p, err := newProvider(ownBlock(), WithOverlay(t.TempDir()), WithQueueLimit(workers*each), WithBatchDelay(5*time.Millisecond))
	must(t, err)
	t.Cleanup(func() { _ = p.Shutdown(expired()) })
	swap := func(i int) {
		if !p.adopt(aim(p.base, p.dir, overlays[i%2])) {
			t.Errorf("swap %d: %+v", i, p.Status().Refused)
		}
	}
	swap(0)

	var ended atomic.Int64
	var running sync.WaitGroup
	for w := range workers {
		running.Go(func() {
			for i := range each {
				end(p, fmt.Sprintf("%d-%d", w, i))
				ended.Add(1)
				if i%50 == 49 {
					runtime.Gosched()
				}
			}
		})
	}
	running.Go(func() {
		for i := range swaps {
			// The swaps are spread over the load, and leave collectors that answer their time.
			for ended.Load() < int64(i*workers*each/swaps) || MustGather(t, p)["linktrail_telemetry_exporters_draining"] >= maxDrains {
				runtime.Gosched()
			}
			swap(i + 1)
		}
	})
	running.Wait()
	must(t, p.Shutdown(within(t, time.Minute)))

	seen := map[string]int{}
	for i := range collectors {
		if len(collectors[i].ids) == 0 {
			t.Errorf("collector %d has got nothing", i)
		}
		for id, n := range collectors[i].ids {
			seen[id] += n
		}
	}
	if len(seen) != workers*each {
		t.Errorf("%d spans arrived, want %d", len(seen), workers*each)
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("span %x arrived %d times", id, n)
		}
	}
	if got := p.counts.exported.Load(); got != workers*each || dropped(p) != 0 {
		t.Errorf("counted %d exported and %d dropped", got, dropped(p))
	}
}

// mustServeSilence listens and never says a word. It takes connections and reads
// what comes, or takes them and reads nothing, or leaves them to the system's queue.
func mustServeSilence(t *testing.T, takes, reads bool) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var serving sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	if takes {
		serving.Go(func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				mu.Lock()
				conns = append(conns, conn)
				mu.Unlock()
				if reads {
					serving.Go(func() { _, _ = io.Copy(io.Discard, conn) })
				}
			}
		})
	}
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		for _, conn := range conns {
			_ = conn.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return listener.Addr().String()
}

// A collector that takes connections and never answers holds up no request, no
// swap, and no stop beyond its deadline; what it held goes to its successor.
func TestSilentCollectorHoldsUpNothing(t *testing.T) {
	for name, tc := range map[string]struct{ takes, reads bool }{
		"reads": {true, true}, "does not read": {true, false}, "does not even accept": {false, false},
	} {
		for _, batcher := range []string{BatcherOTLPGRPC, BatcherOTLPHTTP, BatcherZipkin} {
			t.Run(name+"/"+batcher, func(t *testing.T) {
				silent := mustServeSilence(t, tc.takes, tc.reads)
				if batcher == BatcherZipkin {
					silent = "http://" + silent + "/api/v2/spans"
				}
				dir := t.TempDir()
				p := MustFollow(t, Config{Name: "url-api", Batcher: batcher, Endpoint: silent, Sampler: 1}, dir,
					func(s *settings) { s.swapDeadline = 500 * time.Millisecond })

				// More than one batch, so that something is on its way and something waits.
				const spans = 2000
				requests := make(chan struct{})
				go func() {
					defer close(requests)
					var running sync.WaitGroup
					for w := range 10 {
						running.Go(func() {
							for i := range spans / 10 {
								end(p, fmt.Sprint(w, "-", i))
							}
						})
					}
					running.Wait()
				}()
				select {
				case <-requests:
				case <-time.After(10 * time.Second):
					t.Fatal("requests wait for the collector")
				}

				// The way out of it by an overlay, and back into it.
				var good otlpCollector
				content := fmt.Sprintf("Telemetry: {Batcher: otlpgrpc, Endpoint: %q}", good.MustServeGRPC(t, nil))
				MustOverlay(t, dir, content)
				inForceSoon(t, p, content, "", 1)
				end(p, "after")
				eventually(t, "all spans are at the second collector", func() bool { return good.count() == spans+1 })
				if n := dropped(p); n != 0 {
					t.Errorf("%d spans were dropped", n)
				}
				content = fmt.Sprintf("Telemetry: {Batcher: %s, Endpoint: %q}", batcher, silent)
				MustOverlay(t, dir, content)
				inForceSoon(t, p, content, "", 1)
				end(p, "last")

				stopped := make(chan error, 1)
				go func() { stopped <- p.Shutdown(within(t, 300*time.Millisecond)) }()
				select {
				case err := <-stopped:
					if err == nil || dropped(p) != 1 {
						t.Errorf("Shutdown says %v, %d dropped; want that the last span is lost", err, dropped(p))
					}
				case <-time.After(10 * time.Second):
					t.Fatal("the stop waits for the collector")
				}
			})
		}
	}
}

// One overlay after the other leads to a collector that never answers: each is in
// force, and what they leave behind is bounded.
func TestManySwapsAmongDeadCollectors(t *testing.T) {
	silent := []string{mustServeSilence(t, true, true), mustServeSilence(t, true, false), mustServeSilence(t, false, false)}
	before := runtime.NumGoroutine()
	p, err := newProvider(ownBlock(), WithOverlay(t.TempDir()), WithBatchDelay(time.Millisecond))
	must(t, err)
	t.Cleanup(func() { _ = p.Shutdown(expired()) })
	const swaps = 30
	most := 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range swaps {
			o := overlay{telemetry: fmt.Appendf(nil, "Telemetry: {Endpoint: %q, Sampler: 1} # %d", silent[i%len(silent)], i)}
			if i%2 == 1 {
				o.telemetry = fmt.Appendf(nil, "Telemetry: {Batcher: otlphttp, Endpoint: %q, Sampler: 1} # %d", silent[i%len(silent)], i)
			}
			if !p.adopt(aim(p.base, p.dir, o)) || p.Status().Hash != o.hash() {
				t.Errorf("swap %d is not in force: %+v", i, p.Status())
			}
			for n := range 20 {
				end(p, fmt.Sprint(i, "-", n))
			}
			p.mu.Lock()
			most = max(most, len(p.draining))
			p.mu.Unlock()
		}
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("swaps wait for dead collectors")
	}
	if most > maxDrains+1 {
		t.Errorf("%d exporters were draining at a time, want %d at most", most, maxDrains)
	}
	// The way out: nothing was lost.
	var good otlpCollector
	o := overlay{telemetry: fmt.Appendf(nil, "Telemetry: {Endpoint: %q, Sampler: 1}", good.MustServeGRPC(t, nil))}
	if !p.adopt(aim(p.base, p.dir, o)) {
		t.Fatalf("%+v", p.Status())
	}
	p.hurryUp() // in place of ten seconds
	eventually(t, "every span has found its way", func() bool { return good.count() == swaps*20 })
	if n := dropped(p); n != 0 {
		t.Errorf("%d spans were dropped", n)
	}
	must(t, p.Shutdown(within(t, time.Minute)))
	eventually(t, "all goroutines have ended", func() bool { return runtime.NumGoroutine() <= before+8 })
}

// From nothing to a file, and back.
func TestSwapToNothing(t *testing.T) {
	dir := t.TempDir()
	p := MustFollow(t, ownBlock(), dir)
	end(p, "to nowhere")
	spans := filepath.Join(dir, "spans.jsonl")
	content := fmt.Sprintf("Telemetry: {Batcher: file, Endpoint: %q, Sampler: 1}", spans)
	MustOverlay(t, dir, content)
	inForceSoon(t, p, content, "", 1)
	end(p, "to the file")
	content = "Telemetry: {Disabled: true, Sampler: 1}"
	MustOverlay(t, dir, content)
	inForceSoon(t, p, content, "", 1)
	if s := p.Status(); s.Exporter != "none" || !s.Disabled {
		t.Errorf("got %+v", s)
	}
	_, span := p.TracerProvider().Tracer("test").Start(context.Background(), "disabled")
	if span.SpanContext().IsSampled() || !span.SpanContext().IsValid() {
		t.Error("a disabled provider samples, or makes no ids")
	}
	span.End()
	must(t, p.Shutdown(within(t, time.Minute)))
	if lines := MustLines(t, spans); len(lines) != 1 {
		t.Errorf("got %q, want one span", lines)
	}
}

// From a block that disables it to an overlay that does not.
func TestSwapFromDisabled(t *testing.T) {
	dir := t.TempDir()
	block := ownBlock()
	block.Disabled = true
	p := MustFollow(t, block, dir)
	end(p, "to nowhere")
	spans := filepath.Join(dir, "spans.jsonl")
	content := fmt.Sprintf("Telemetry: {Batcher: file, Disabled: false, Endpoint: %q, Sampler: 1}", spans)
	MustOverlay(t, dir, content)
	inForceSoon(t, p, content, "", 1)
	end(p, "to the file")
	must(t, p.Shutdown(within(t, time.Minute)))
	if lines := MustLines(t, spans); len(lines) != 1 {
		t.Errorf("got %q, want one span", lines)
	}
}
