package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/linktrail/linktrail/internal/telemetry"
)

// inForceWithin is how soon an overlay must be in force in every service: the bar that linktrail sets itself.
const inForceWithin = 2 * time.Second

// TestTelemetryOverlay leads the spans of all services from one collector to another and back while clicks and statistics
// requests come, by writing files. Every trace arrives whole across both, each span once, and no process ends.
func TestTelemetryOverlay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "telemetry")
	must(t, os.Mkdir(dir, 0o700))
	one, two := mustCollectGRPC(t), mustCollectHTTP(t)
	toOne := fmt.Sprintf("Telemetry:\n  Batcher: otlpgrpc\n  Endpoint: %s\n", one.address)
	toTwo := fmt.Sprintf("Telemetry:\n  Batcher: otlphttp\n  Endpoint: %s\n", two.address)
	mustOverlay(t, dir, toOne)

	s := startSystem(t, options{sampler: 1, overlay: dir})
	s.wantInForce(toOne, time.Now())
	began := s.processStarts()
	code := s.createLink("https://example.com/overlay")
	traffic := s.startTraffic(code)
	traffic.awaitMore(50, 5)
	for range 2 {
		for _, content := range []string{toTwo, toOne} {
			s.wantInForce(content, mustOverlay(t, dir, content))
			traffic.awaitMore(30, 3)
		}
	}
	s.wantInForce(toTwo, mustOverlay(t, dir, toTwo))
	clicks, statistics := traffic.awaitMore(30, 3)
	// What began after the swap is at the second collector alone.
	s.eventually("a click and a statistics request are at the second collector, of all three services", func() error {
		return firstErr(s.clickIsWhole(clicks, two.trace(clicks)), s.statisticsAreWhole(statistics, two.trace(statistics)))
	})

	// A bad overlay is refused with its reason, and spans go on to where they went.
	mustOverlay(t, dir, "Telemetry:\n  Batcher: jaeger\n  Endpoint: "+one.address+"\n")
	for service := range s.ops {
		s.eventually(service+" refuses a bad overlay", func() error {
			status := s.telemetry(service)
			if status.Refused == nil || !strings.Contains(status.Refused.Reason, `telemetry.yaml: Telemetry.Batcher: "jaeger" is not one of`) {
				return fmt.Errorf("it shows %+v", status)
			}
			if status.Hash != telemetry.OverlayHash([]byte(toTwo), nil) || status.Endpoint != two.address {
				t.Errorf("%s has %+v in force, want the last good one", service, status)
			}
			return nil
		})
	}
	clicks, statistics = traffic.awaitMore(30, 3)
	s.eventually("spans go on", func() error {
		return firstErr(s.clickIsWhole(clicks, two.trace(clicks)), s.statisticsAreWhole(statistics, two.trace(statistics)))
	})

	allClicks, allStatistics := traffic.stop()
	t.Logf("%d clicks and %d statistics requests", len(allClicks), len(allStatistics))
	both := func(id string) []collected { return append(one.trace(id), two.trace(id)...) }
	for _, id := range allClicks {
		s.eventually("every click's trace is whole", func() error { return s.clickIsWhole(id, both(id)) })
	}
	for _, id := range allStatistics {
		s.eventually("every statistics request's trace is whole", func() error { return s.statisticsAreWhole(id, both(id)) })
	}

	// The sampler alone.
	rare := toTwo + "  Sampler: 0.01\n"
	s.wantInForce(rare, mustOverlay(t, dir, rare))
	for service := range s.ops {
		if got := s.telemetry(service).Sampler; got != 0.01 {
			t.Errorf("%s samples %v", service, got)
		}
	}
	const asked = 300
	sampled := 0
	for range asked {
		res, err := s.click(code, http.Header{"User-Agent": {userAgent}})
		must(t, err)
		if strings.HasSuffix(res.header.Get("Traceparent"), "-01") {
			sampled++
		}
	}
	if sampled > asked/5 {
		t.Errorf("%d of %d clicks are sampled, want about one in a hundred", sampled, asked)
	}

	if now := s.processStarts(); fmt.Sprint(now) != fmt.Sprint(began) {
		t.Errorf("processes have started again: pids and times are %v, and were %v", now, began)
	}
	must(t, os.Remove(filepath.Join(dir, telemetry.OverlayFile)))
	s.wantInForce("", time.Now())
}

// mustOverlay puts another telemetry.yaml in place and returns when.
func mustOverlay(t *testing.T, dir, content string) time.Time {
	t.Helper()
	file := filepath.Join(dir, telemetry.OverlayFile)
	must(t, os.WriteFile(file+".new", []byte(content), 0o600))
	must(t, os.Rename(file+".new", file))
	return time.Now()
}

// telemetry is what a service shows of itself.
func (s *system) telemetry(service string) (status telemetry.Status) {
	s.t.Helper()
	res, err := s.client.Get("http://" + s.ops[service] + "/telemetry")
	must(s.t, err)
	defer func() { _ = res.Body.Close() }()
	must(s.t, json.NewDecoder(res.Body).Decode(&status))
	return status
}

// wantInForce wants an overlay that was written then to be in force in all services, and in time.
func (s *system) wantInForce(content string, written time.Time) {
	s.t.Helper()
	hash := telemetry.OverlayHash([]byte(content), nil)
	for service := range s.ops {
		s.eventually("the overlay is in force in "+service, func() error {
			status := s.telemetry(service)
			if status.Hash != hash || status.Refused != nil {
				return fmt.Errorf("it shows %+v", status)
			}
			if took := status.Since.Sub(written); took > inForceWithin {
				s.t.Errorf("%s took %v", service, took)
			}
			return nil
		})
	}
}

// processStarts are the services' start times, in seconds, which differ for two processes.
func (s *system) processStarts() map[string]float64 {
	s.t.Helper()
	starts := make(map[string]float64)
	for service, ops := range s.ops {
		family := s.metrics(ops)["process_start_time_seconds"]
		if family == nil || len(family.GetMetric()) != 1 {
			s.t.Fatalf("%s does not tell when it started", service)
		}
		starts[service] = family.GetMetric()[0].GetGauge().GetValue()
	}
	return starts
}

// traffic is clicks and statistics requests that come until stop.
type traffic struct {
	s       *system
	ending  chan struct{}
	running sync.WaitGroup

	mu                 sync.Mutex
	clicks, statistics []string // their traces
}

// startTraffic asks for a link, and for its statistics, at a gentle rate.
func (s *system) startTraffic(code string) *traffic {
	tr := &traffic{s: s, ending: make(chan struct{})}
	every := func(pause time.Duration, ask func() (string, error), keep *[]string) {
		tr.running.Go(func() {
			tick := time.NewTicker(pause)
			defer tick.Stop()
			for {
				id, err := ask()
				if err != nil {
					s.t.Errorf("traffic: %v", err)
					return
				}
				tr.mu.Lock()
				*keep = append(*keep, id)
				tr.mu.Unlock()
				select {
				case <-tick.C:
				case <-tr.ending:
					return
				}
			}
		})
	}
	for range 4 {
		every(20*time.Millisecond, func() (string, error) {
			res, err := s.click(code, http.Header{"User-Agent": {userAgent}})
			if err == nil && res.status != http.StatusFound {
				err = fmt.Errorf("click: status %d", res.status)
			}
			if err != nil {
				return "", err
			}
			return traceOf(res)
		}, &tr.clicks)
	}
	every(100*time.Millisecond, func() (string, error) { return s.askStatistics(code) }, &tr.statistics)
	s.t.Cleanup(func() { tr.stop() })
	return tr
}

func (s *system) askStatistics(code string) (string, error) {
	req, err := http.NewRequest(http.MethodGet, s.api+"/api/v1/links/"+code+"/stats", nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+s.key)
	res, err := s.client.Do(req)
	if err != nil {
		return "", err
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("statistics: %s", res.Status)
	}
	return traceOf(answer{res.StatusCode, res.Header})
}

// awaitMore returns the traces of a click and of a statistics request that came after so many more of each.
func (tr *traffic) awaitMore(clicks, statistics int) (click, statisticsRequest string) {
	tr.s.t.Helper()
	tr.mu.Lock()
	clicks, statistics = clicks+len(tr.clicks), statistics+len(tr.statistics)
	tr.mu.Unlock()
	tr.s.eventually("more requests are answered", func() error {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		if len(tr.clicks) < clicks || len(tr.statistics) < statistics {
			return fmt.Errorf("%d clicks and %d statistics requests", len(tr.clicks), len(tr.statistics))
		}
		click, statisticsRequest = tr.clicks[len(tr.clicks)-1], tr.statistics[len(tr.statistics)-1]
		return nil
	})
	return click, statisticsRequest
}

// stop ends the traffic and returns the traces of all of it.
func (tr *traffic) stop() (clicks, statistics []string) {
	select {
	case <-tr.ending:
	default:
		close(tr.ending)
	}
	tr.running.Wait()
	return tr.clicks, tr.statistics
}

// clickIsWhole says what is missing of a click's trace, or is there more than once.
func (s *system) clickIsWhole(id string, spans []collected) error {
	return firstErr(eachOnce(id, spans),
		wantSpan(id, spans, "url-api", "GET /{code}", tracev1.Span_SPAN_KIND_SERVER),
		wantSpan(id, spans, "url-api", "send "+s.topic, tracev1.Span_SPAN_KIND_PRODUCER),
		wantSpan(id, spans, "analytics-consumer", "process "+s.topic, tracev1.Span_SPAN_KIND_CONSUMER),
		wantSpan(id, spans, "analytics-consumer", "INSERT clicks", tracev1.Span_SPAN_KIND_CLIENT))
}

func (s *system) statisticsAreWhole(id string, spans []collected) error {
	return firstErr(eachOnce(id, spans),
		wantSpan(id, spans, "url-api", "/api/v1/links/:code/stats", tracev1.Span_SPAN_KIND_SERVER),
		wantSpan(id, spans, "url-api", statsMethod, tracev1.Span_SPAN_KIND_CLIENT),
		wantSpan(id, spans, "analytics-rpc", statsMethod, tracev1.Span_SPAN_KIND_SERVER),
		wantSpan(id, spans, "analytics-rpc", "SELECT click_rollups", tracev1.Span_SPAN_KIND_CLIENT))
}

// eachOnce wants no span twice and every parent to be there.
func eachOnce(id string, spans []collected) error {
	times := make(map[string]int)
	for _, span := range spans {
		times[span.id]++
	}
	for _, span := range spans {
		if times[span.id] > 1 {
			return fmt.Errorf("trace %s has %s %d times", id, span.name, times[span.id])
		}
		if span.parent != "" && times[span.parent] == 0 {
			return fmt.Errorf("trace %s lacks the parent of %s", id, span.name)
		}
	}
	return nil
}

func wantSpan(id string, spans []collected, service, name string, kind tracev1.Span_SpanKind) error {
	if slices.ContainsFunc(spans, func(s collected) bool { return s.service == service && s.name == name && s.kind == kind }) {
		return nil
	}
	return fmt.Errorf("trace %s lacks %s of %s", id, name, service)
}

func firstErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
