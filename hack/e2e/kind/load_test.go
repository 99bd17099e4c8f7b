//go:build e2e

package kind

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linktrail/linktrail/hack/e2e/doors"
)

const (
	rate     = 50 // clicks a second
	inFlight = 50 // clicks at most; then it waits
	links    = 5
)

// load is visitors who click on a few links all the time, half of them over connections that they keep, and who note what
// came of it.
type load struct {
	doors doors.Doors
	links map[string]string // targets by code
	quit  chan struct{}
	done  chan struct{}

	mu       sync.Mutex
	ledger   map[string]map[string]bool // traces of the answered clicks, by code
	retried  map[string]int             // attempts that ended with their connection, which the client made again, by code
	failures []string
}

// startLoad returns once some clicks were answered. They come by the node's ports, so url-api's Service must have these.
func startLoad(t *testing.T, r *release) *load {
	t.Helper()
	node := strings.Fields(run(t, nil, "kubectl", "get", "nodes", "-o",
		`jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}`))[0]
	ports := strings.Fields(r.kubectl(t, "get", "service", "url-api", "-o", "jsonpath={.spec.ports[*].nodePort}"))
	if len(ports) != 2 {
		t.Fatalf("url-api has the node's ports %v, want one for each door", ports)
	}
	l := &load{
		doors:   doors.Doors{Door: "http://" + node + ":" + ports[0], API: "http://" + node + ":" + ports[1], Key: r.apiKey(t)},
		links:   make(map[string]string),
		quit:    make(chan struct{}),
		done:    make(chan struct{}),
		ledger:  make(map[string]map[string]bool),
		retried: make(map[string]int),
	}
	for i := range links {
		target := "https://example.com/load/" + strconv.Itoa(i)
		code := l.doors.MustLink(t, target).Code
		l.links[code], l.ledger[code] = target, make(map[string]bool)
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
	tick := time.NewTicker(time.Second / rate)
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
			at, attempts := time.Now(), 0
			ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
				GotConn: func(httptrace.GotConnInfo) { attempts++ },
			})
			id, err := l.doors.ClickWith(ctx, client, code, l.links[code])
			l.mu.Lock()
			defer l.mu.Unlock()
			if err != nil {
				l.failures = append(l.failures, fmt.Sprintf("%s, after %v: %v", at.Format(time.TimeOnly), time.Since(at), err))
				return
			}
			l.ledger[code][id] = true
			l.retried[code] += attempts - 1
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

// stop ends it after some more clicks. None may have failed, and each that was answered is stored and counted, once. So is
// nothing else, save a click whose connection ended before its answer came: whether it counts, its visitor cannot know.
func (l *load) stop(t *testing.T) {
	t.Helper()
	l.wait(t, underLoad)
	l.end()
	t.Logf("%d clicks were answered, %v of them at a further attempt; %d failed", l.answered(), l.retried, len(l.failures))
	if len(l.failures) > 0 {
		t.Errorf("%d redirects failed:\n%s", len(l.failures), strings.Join(l.failures[:min(len(l.failures), 20)], "\n"))
	}
	for code := range l.links {
		doors.Eventually(t, "the clicks that were answered are those that are stored and counted", func() error { return l.compare(code) })
	}
}

// compare says how what is stored differs from the ledger.
func (l *load) compare(code string) error {
	stored, err := l.doors.StoredClicks(code)
	if err != nil {
		return err
	}
	answered, seen := l.ledger[code], make(map[string]bool)
	var others []doors.StoredClick
	for _, click := range stored {
		if seen[click.TraceID] {
			return fmt.Errorf("link %s: the click of trace %s is stored twice", code, click.TraceID)
		}
		seen[click.TraceID] = true
		if !answered[click.TraceID] {
			others = append(others, click)
		}
	}
	if found := len(stored) - len(others); found != len(answered) {
		return fmt.Errorf("link %s: %d of %d answered clicks are stored", code, found, len(answered))
	}
	if len(others) > l.retried[code] {
		return fmt.Errorf("link %s: with %d attempts without an answer, stored beyond what was answered are %v", code, l.retried[code], others)
	}
	counted, err := l.doors.Clicks(code)
	if err == nil && counted != len(stored) {
		err = fmt.Errorf("link %s: %d clicks are counted, %d stored", code, counted, len(stored))
	}
	return err
}
