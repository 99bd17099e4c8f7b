package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/tracequery"
	"github.com/linktrail/linktrail/internal/tracequery/tracetest"
)

func TestTwentyThousandClicks(t *testing.T) {
	const total, callers = 20_000, 32
	s := startSystem(t, options{sampler: 0.01})
	code := s.createLink("https://example.com/busy")

	var left atomic.Int64
	left.Store(total)
	var running sync.WaitGroup
	for range callers {
		running.Go(func() {
			for left.Add(-1) >= 0 {
				res, err := s.click(code, http.Header{"User-Agent": {userAgent}})
				if err != nil || res.status != http.StatusFound {
					t.Errorf("click: status %d, %v", res.status, err)
					return
				}
			}
		})
	}
	running.Wait()

	s.eventually("all clicks are written", func() error { return s.counts(code, total) })

	// A consumer of another group reads the same clicks from the first record on.
	replay := testenv.FreeAddr(t)
	s.start("analytics-consumer", s.config("analytics-consumer", map[string]any{
		"Store": map[string]any{"DSN": s.dsn}, "Ops": map[string]any{"Addr": replay},
		"ClickStream": map[string]any{"Brokers": s.brokers, "Topic": s.topic, "Group": s.topic + "-replay"},
	}), replay)
	s.eventually("the replayed clicks are recognised", func() error {
		if n := s.metric(replay, "linktrail_clicks_duplicate_total"); n != total {
			return fmt.Errorf("%v of them so far", n)
		}
		return nil
	})
	must(t, s.counts(code, total))
}

// counts says whether both the clicks of a link and its rollups are as many as wanted.
func (s *system) counts(code string, want int64) error {
	s.t.Helper()
	conn, err := pgx.Connect(s.t.Context(), s.dsn)
	must(s.t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	var rows int64
	must(s.t, conn.QueryRow(s.t.Context(), "SELECT count(*) FROM clicks WHERE code = $1", code).Scan(&rows))
	if counted := s.clicks(code); rows != want || counted != want {
		return fmt.Errorf("%d rows and %d in the rollups, want %d", rows, counted, want)
	}
	return nil
}

// metric returns the sum of a counter's series.
func (s *system) metric(ops, name string) float64 {
	s.t.Helper()
	family := s.metrics(ops)[name]
	if family == nil {
		s.t.Fatalf("there is no metric %s", name)
	}
	sum := 0.0
	for _, m := range family.GetMetric() {
		sum += m.GetCounter().GetValue()
	}
	return sum
}

func (s *system) metrics(ops string) map[string]*dto.MetricFamily {
	s.t.Helper()
	res, err := s.client.Get("http://" + ops + "/metrics")
	must(s.t, err)
	defer func() { _ = res.Body.Close() }()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(res.Body)
	must(s.t, err)
	return families
}

// Every metric of ours is in docs/operations.md, and what stands there is a metric.
func TestMetricsAreDocumented(t *testing.T) {
	s := startSystem(t, options{sampler: 1})
	documented := make(map[string]bool)
	for _, name := range regexp.MustCompile(`(?m)^\| .(linktrail_[a-z_]+)`).FindAllStringSubmatch(string(mustRead(t, "../../docs/operations.md")), -1) {
		documented[name[1]] = false
	}
	for service, ops := range s.ops {
		for name := range s.metrics(ops) {
			if !strings.HasPrefix(name, "linktrail_") {
				continue
			}
			if _, ok := documented[name]; !ok {
				t.Errorf("%s has the metric %s, which docs/operations.md does not know", service, name)
			}
			documented[name] = true
		}
	}
	for name, seen := range documented {
		if !seen {
			t.Errorf("docs/operations.md has %s, which no service has", name)
		}
	}
}

func TestStopUnderLoadLosesNothing(t *testing.T) {
	const rounds, callers, before = 20, 8, 100
	s := startSystem(t, options{sampler: 1})
	code := s.createLink("https://example.com/stop")

	var answered []string // the trace id of each redirect that was answered
	lastOfRound := make(map[string]bool)
	for round := range rounds {
		if round > 0 {
			s.startURLAPI()
		}
		var mu sync.Mutex
		var ofRound []string
		enough := make(chan struct{})
		var running sync.WaitGroup
		for range callers {
			running.Go(func() {
				for {
					res, err := s.click(code, http.Header{"User-Agent": {userAgent}})
					if err != nil { // the door is closed
						return
					}
					if res.status != http.StatusFound {
						t.Errorf("round %d: status %d", round, res.status)
						return
					}
					id, err := traceOf(res)
					if err != nil {
						t.Errorf("round %d: %v", round, err)
						return
					}
					mu.Lock()
					if ofRound = append(ofRound, id); len(ofRound) == before {
						close(enough)
					}
					mu.Unlock()
				}
			})
		}
		select {
		case <-enough:
		case <-time.After(patience):
			t.Fatalf("round %d: not even %d clicks", round, before)
		}
		if err := s.urlAPI.stop(); err != nil {
			t.Fatalf("round %d: url-api: %v", round, err)
		}
		running.Wait()
		answered = append(answered, ofRound...)
		for _, id := range ofRound[len(ofRound)-callers:] {
			lastOfRound[id] = true
		}
	}
	t.Logf("%d redirects were answered over %d stops", len(answered), rounds)

	s.startURLAPI()
	s.eventually("every answered redirect is in the store", func() error {
		stored, missing := s.storedTraces(code), 0
		for _, id := range answered {
			if !stored[id] {
				missing++
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d of %d are missing", missing, len(answered))
		}
		return nil
	})
	// Each click has a trace of its own: no click is there twice, and the rollups count them as they are.
	must(t, s.counts(code, int64(len(s.storedTraces(code)))))
	jaeger := tracequery.Jaeger(testenv.Jaeger(t).Query)
	for id := range lastOfRound {
		tracetest.Wait(t, jaeger, id, patience, func(trace tracequery.Trace) error {
			return tracetest.Check(trace,
				tracetest.Expect{Service: "url-api", Name: "GET /{code}"},
				tracetest.Expect{Service: "url-api", Name: "send " + s.topic, Parent: "GET /{code}"},
				tracetest.Expect{Service: "analytics-consumer", Name: "process " + s.topic, Parent: "send " + s.topic},
				tracetest.Expect{Service: "analytics-consumer", Name: "INSERT clicks", Parent: "process " + s.topic})
		})
	}
}

// storedTraces returns the trace ids of a link's clicks.
func (s *system) storedTraces(code string) map[string]bool {
	s.t.Helper()
	conn, err := pgx.Connect(s.t.Context(), s.dsn)
	must(s.t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	rows, err := conn.Query(s.t.Context(), "SELECT encode(trace_id, 'hex') FROM clicks WHERE code = $1", code)
	must(s.t, err)
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(s.t, err)
	stored := make(map[string]bool, len(ids))
	for _, id := range ids {
		stored[id] = true
	}
	return stored
}

// A broker that takes 8 s to acknowledge holds up the stop of url-api for as long, and loses nothing. go-zero's own
// handler would have killed the process after 5.5 s.
func TestDrainOfEightSeconds(t *testing.T) {
	const hold = 8 * time.Second
	topic := "click-events-" + randomName(t)
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, topic, topic+".dlq"))
	must(t, err)
	t.Cleanup(broker.Close)
	s := startSystem(t, options{sampler: 1, brokers: broker.ListenAddrs(), topic: topic})
	code := s.createLink("https://example.com/slow")

	release := make(chan struct{})
	var held atomic.Int64
	broker.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		held.Add(1)
		broker.SleepControl(func() { <-release })
		return nil, nil, false
	})
	const clicks = 10
	for range clicks {
		res, err := s.click(code, http.Header{"User-Agent": {userAgent}})
		must(t, err)
		if res.status != http.StatusFound {
			t.Fatalf("a slow broker held up the redirect: status %d", res.status)
		}
	}
	s.eventually("the broker holds the clicks", func() error {
		if held.Load() == 0 {
			return errors.New("no produce request yet")
		}
		return nil
	})
	must(t, s.urlAPI.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-s.urlAPI.done:
		t.Fatalf("url-api ended before its clicks were acknowledged: %v", s.urlAPI.err)
	case <-time.After(hold): // the time itself is what is tested
	}
	if conn, err := net.Dial("tcp", s.door[len("http://"):]); err == nil {
		_ = conn.Close()
		t.Error("the door still takes connections while it drains")
	}
	close(release)
	must(t, s.urlAPI.stop())
	s.startURLAPI()
	s.eventually("the clicks of the drain are counted", func() error { return s.counts(code, clicks) })
}
