//go:build e2e

package kind

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linktrail/linktrail/hack/e2e/doors"
)

const (
	gentle   = 50    // clicks a second
	lively   = 300   // likewise, for what is to have enough of them
	enough   = 10000 // clicks that tell of a fault
	inFlight = 50    // clicks at most; then it waits
	links    = 5
)

// load is visitors who click on a few links all the time, half of them over connections that they keep, and who note what
// came of it.
type load struct {
	doors doors.Doors
	rate  int               // clicks a second
	links map[string]string // targets by code
	quit  chan struct{}
	done  chan struct{}

	mu       sync.Mutex
	ledger   map[string]map[string]time.Time // when clicks were answered, by trace, by code
	silent   map[string]int                  // attempts without an answer, whether the client made them again or not, by code
	failures []string
	attempts int
	faulty   bool               // a fault goes on
	latency  [2][]time.Duration // of answered clicks, by phase
}

// startLoad returns once some clicks were answered. They come by the node's ports, so url-api's Service must have these.
func startLoad(t *testing.T, r *release, rate int) *load {
	t.Helper()
	node := strings.Fields(run(t, nil, "kubectl", "get", "nodes", "-o",
		`jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}`))[0]
	ports := strings.Fields(r.kubectl(t, "get", "service", "url-api", "-o", "jsonpath={.spec.ports[*].nodePort}"))
	if len(ports) != 2 {
		t.Fatalf("url-api has the node's ports %v, want one for each door", ports)
	}
	l := &load{
		doors:  doors.Doors{Door: "http://" + node + ":" + ports[0], API: "http://" + node + ":" + ports[1], Key: r.apiKey(t)},
		rate:   rate,
		links:  make(map[string]string),
		quit:   make(chan struct{}),
		done:   make(chan struct{}),
		ledger: make(map[string]map[string]time.Time),
		silent: make(map[string]int),
	}
	for i := range links {
		target := "https://example.com/load/" + strconv.Itoa(i)
		code := l.doors.MustLink(t, target).Code
		l.links[code], l.ledger[code] = target, make(map[string]time.Time)
	}
	go l.run()
	t.Cleanup(l.end)
	l.wait(t, underLoad)
	return l
}

func (l *load) run() {
	defer close(l.done)
	clients := []*http.Client{
		doors.Client(&http.Transport{MaxIdleConnsPerHost: inFlight}),
		doors.Client(&http.Transport{DisableKeepAlives: true}),
	}
	defer clients[0].CloseIdleConnections()
	codes := make([]string, 0, links)
	for code := range l.links {
		codes = append(codes, code)
	}
	tick := time.NewTicker(time.Second / time.Duration(l.rate))
	defer tick.Stop()
	slots := make(chan struct{}, inFlight)
	var running sync.WaitGroup
	defer running.Wait()
	for i := 0; ; i++ {
		select {
		case <-l.quit:
			return
		case <-tick.C:
		}
		slots <- struct{}{}
		code, client := codes[i%links], clients[i/links%len(clients)]
		running.Go(func() {
			defer func() { <-slots }()
			at, attempts, phase := time.Now(), 0, l.phase()
			ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
				GotConn: func(httptrace.GotConnInfo) { attempts++ },
			})
			id, err := l.doors.ClickWith(ctx, client, code, l.links[code])
			l.mu.Lock()
			defer l.mu.Unlock()
			l.attempts++
			if err != nil {
				l.silent[code] += max(attempts, 1)
				l.failures = append(l.failures, fmt.Sprintf("%s, after %v: %v", at.Format(time.TimeOnly), time.Since(at), err))
				return
			}
			l.ledger[code][id] = time.Now()
			l.silent[code] += attempts - 1
			l.latency[phase] = append(l.latency[phase], time.Since(at))
		})
	}
}

// end may be called more than once.
func (l *load) end() {
	select {
	case <-l.quit:
	default:
		close(l.quit)
	}
	<-l.done
}

func (l *load) answered() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ids := range l.ledger {
		n += len(ids)
	}
	return n
}

// wait returns once so many more clicks have been answered.
func (l *load) wait(t *testing.T, more int) {
	t.Helper()
	want := l.answered() + more
	doors.Eventually(t, "clicks are answered", func() error {
		if n := l.answered(); n < want {
			return fmt.Errorf("%d of %d are", n, want)
		}
		return nil
	})
}

// during does something to the system, and returns for how long. Which clicks were answered meanwhile is told of on their own.
func (l *load) during(fault func()) time.Duration {
	begin := time.Now()
	l.mark(true)
	defer l.mark(false)
	fault()
	return time.Since(begin)
}

// phase is 1 during a fault, and 0 else.
func (l *load) phase() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.faulty {
		return 1
	}
	return 0
}

func (l *load) mark(faulty bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faulty = faulty
}

// survive ends the load once there were enough clicks, and wants what stop does. It tells what became of them as a line of
// docs/reliability.jsonl.
func (l *load) survive(t *testing.T, name, fault string, times int, lasted time.Duration) {
	t.Helper()
	if n := l.answered(); n < enough {
		l.wait(t, enough-n)
	}
	begin := time.Now()
	stored := l.stop(t)
	if len(l.latency[1]) == 0 {
		t.Fatal("no click was answered during the fault")
	}
	node := strings.Fields(run(t, nil, "kubectl", "get", "nodes", "-o", "jsonpath={.items[0].status.capacity.cpu} {.items[0].status.capacity.memory}"+
		" {.items[0].status.nodeInfo['operatingSystem','kernelVersion','architecture','kubeletVersion']}"))
	row, err := json.Marshal(map[string]any{
		"name": name, "driver": "kgo", "where": "kind", "fault": fault, "times": times,
		"fault_seconds": lasted.Seconds(), "quiet_seconds": time.Since(begin).Seconds(), "rate": l.rate,
		"attempts": l.attempts, "answered": l.answered(), "answered_during": len(l.latency[1]), "failed": len(l.failures),
		"unanswered_but_stored": stored - l.answered(), "rows": stored,
		"p99_before_ms": percentile(l.latency[0]), "p99_during_ms": percentile(l.latency[1]), "held": true,
		"machine": node[0] + " cores, " + node[1], "system": node[2] + " " + node[3] + ", " + node[4], "versions": "Kubernetes " + node[5],
		"measured": time.Now().UTC().Truncate(time.Second),
	})
	must(t, err)
	t.Logf("%s", row)
}

// percentile is the 99th, in milliseconds.
func percentile(of []time.Duration) float64 {
	slices.Sort(of)
	return float64(of[len(of)*99/100].Microseconds()) / 1000
}

// stop ends it after some more clicks. Each that was answered is stored and counted, once. So is nothing else, save a click
// that had no answer: whether it counts, its visitor cannot know.
func (l *load) stop(t *testing.T) (stored int) {
	t.Helper()
	l.wait(t, underLoad)
	l.end()
	t.Logf("%d clicks were answered, and attempts without an answer are %v; %d redirects failed", l.answered(), l.silent, len(l.failures))
	for code := range l.links {
		doors.Eventually(t, "the clicks that were answered are those that are stored and counted", func() error {
			n, err := l.compare(code)
			if err == nil {
				stored += n
			}
			return err
		})
	}
	return stored
}

// allAnswered wants no redirect to have failed so far.
func (l *load) allAnswered(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.failures) > 0 {
		t.Errorf("%d redirects failed:\n%s", len(l.failures), strings.Join(l.failures[:min(len(l.failures), 20)], "\n"))
	}
}

// compare returns how many clicks are stored of a link, or how they differ from the ledger.
func (l *load) compare(code string) (int, error) {
	stored, err := l.doors.StoredClicks(code)
	if err != nil {
		return 0, err
	}
	missing, seen := maps.Clone(l.ledger[code]), make(map[string]bool)
	var others []doors.StoredClick
	for _, click := range stored {
		if seen[click.TraceID] {
			return 0, fmt.Errorf("link %s: the click of trace %s is stored twice", code, click.TraceID)
		}
		seen[click.TraceID] = true
		if _, ok := missing[click.TraceID]; !ok {
			others = append(others, click)
		}
		delete(missing, click.TraceID)
	}
	if len(missing) > 0 {
		ids := slices.SortedFunc(maps.Keys(missing), func(a, b string) int { return missing[a].Compare(missing[b]) })
		first, last := ids[0], ids[len(ids)-1]
		return 0, fmt.Errorf("link %s: %d of %d answered clicks are not stored, from %s (trace %s) to %s (trace %s)", code,
			len(ids), len(l.ledger[code]), missing[first].Format(time.TimeOnly), first, missing[last].Format(time.TimeOnly), last)
	}
	if len(others) > l.silent[code] {
		return 0, fmt.Errorf("link %s: with %d attempts without an answer, stored beyond what was answered are %v", code, l.silent[code], others)
	}
	counted, err := l.doors.Clicks(code)
	if err == nil && counted != len(stored) {
		err = fmt.Errorf("link %s: %d clicks are counted, %d stored", code, counted, len(stored))
	}
	return len(stored), err
}
