//go:build kind

package kind

import (
	"fmt"
	"net/http"
	"slices"
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

// load is visitors who click on a few links all the time, half of them over connections that they keep, and who note which
// clicks were answered.
type load struct {
	doors doors.Doors
	links map[string]string // targets by code
	quit  chan struct{}
	done  chan struct{}

	mu       sync.Mutex
	ledger   map[string][]string // traces of the answered clicks, by code
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
		doors:  doors.Doors{Door: "http://" + node + ":" + ports[0], API: "http://" + node + ":" + ports[1], Key: r.apiKey(t)},
		links:  make(map[string]string),
		quit:   make(chan struct{}),
		done:   make(chan struct{}),
		ledger: make(map[string][]string),
	}
	for i := range links {
		target := "https://example.com/load/" + strconv.Itoa(i)
		l.links[l.doors.MustLink(t, target).Code] = target
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
			at := time.Now()
			id, err := l.doors.ClickWith(client, code, l.links[code])
			l.mu.Lock()
			defer l.mu.Unlock()
			if err != nil {
				l.failures = append(l.failures, fmt.Sprintf("%s, after %v: %v", at.Format(time.TimeOnly), time.Since(at), err))
				return
			}
			l.ledger[code] = append(l.ledger[code], id)
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

// stop ends it after some more clicks. None may have failed, and those that were answered are those that are stored and
// counted: no other, and each once.
func (l *load) stop(t *testing.T) {
	t.Helper()
	l.wait(t, underLoad)
	l.end()
	t.Logf("%d clicks were answered, %d failed", l.answered(), len(l.failures))
	if len(l.failures) > 0 {
		t.Errorf("%d redirects failed:\n%s", len(l.failures), strings.Join(l.failures[:min(len(l.failures), 20)], "\n"))
	}
	for code, answered := range l.ledger {
		l.doors.WantClicks(t, code, len(answered))
		stored, err := l.doors.ClickTraces(code)
		must(t, err)
		slices.Sort(stored)
		slices.Sort(answered)
		if !slices.Equal(stored, answered) {
			t.Errorf("link %s: %d clicks are stored, and they are not the %d that were answered", code, len(stored), len(answered))
		}
	}
}
