package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/tracequery"
	"github.com/linktrail/linktrail/internal/tracequery/tracetest"
)

// journalState is what `linktrail journal inspect` prints of url-api's journal.
type journalState struct {
	Open             bool
	Waiting, Damaged int
}

func (s *system) inspectJournal() (state journalState) {
	s.t.Helper()
	must(s.t, json.Unmarshal(s.linktrail("journal", "inspect", s.journal(), "--output", "json"), &state))
	return state
}

// TestKilledWhileKafkaIsAway kills url-api under clicks, again and again, while it cannot reach Kafka. Each click that was
// answered is stored once when Kafka is back, and the trace of one from before the first kill is whole.
func TestKilledWhileKafkaIsAway(t *testing.T) {
	const rounds, callers, clicks = 4, 8, 300
	away := testenv.FreeAddr(t)
	s := startSystem(t, options{sampler: 1, doorBrokers: []string{away}})
	code := s.createLink("https://example.com/kill")
	jaeger := tracequery.Jaeger(testenv.Jaeger(t).Query)

	res, err := s.click(code, http.Header{"User-Agent": {userAgent}})
	must(t, err)
	first := traceID(t, res)
	answered := map[string]bool{first: true} // by the trace of the redirect
	// What a process has not exported when it is killed nobody can: the redirect's own span is to be out.
	tracetest.WaitFor(t, jaeger, first, patience, tracetest.Expect{Service: "url-api", Name: "GET /{code}", Times: 1})

	var killed time.Time
	for round := range rounds {
		if round > 0 {
			s.startURLAPI()
		}
		ofRound := s.clickUntilKilled(code, callers, clicks)
		if round == 0 {
			killed = time.Now()
		}
		for _, id := range ofRound {
			answered[id] = true
		}
		state := s.inspectJournal()
		if state.Open || state.Damaged != 0 || state.Waiting < len(answered) {
			t.Fatalf("round %d: %d redirects are answered, and the journal is %+v", round, len(answered), state)
		}
	}
	if n := len(s.storedTraces(code)); n != 0 {
		t.Fatalf("%d clicks are stored: Kafka was not away", n)
	}

	s.startURLAPI()
	back := time.Now()
	testenv.ComeBack(t, away, s.brokers[0])
	s.eventually("every answered redirect is in the store", func() error {
		stored, missing := s.storedTraces(code), 0
		for id := range answered {
			if !stored[id] {
				missing++
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d of %d are missing", missing, len(answered))
		}
		return nil
	})
	s.eventually("the journal is empty", func() error {
		if state := s.inspectJournal(); state.Waiting != 0 || state.Damaged != 0 {
			return fmt.Errorf("%+v", state)
		}
		return nil
	})
	// Each click has a trace of its own: none is there twice, and the rollups count them as they are. A click may have been
	// taken whose answer was not read.
	stored := int64(len(s.storedTraces(code)))
	if most := int64(len(answered) + rounds*callers); stored > most {
		t.Errorf("%d clicks are stored, of %d at most", stored, most)
	}
	must(t, s.counts(code, stored))
	t.Logf("%d redirects were answered over %d kills, %d clicks are stored", len(answered), rounds, stored)
	// The process before had handed over what it found, and died.
	if n := s.metric(s.ops["url-api"], "linktrail_clicks_journal_repeated_total"); n == 0 {
		t.Error("nothing was repeated")
	}
	for _, name := range []string{"linktrail_clicks_journal_dropped_total", "linktrail_clicks_journal_damaged_total", "linktrail_clicks_dropped_total"} {
		if n := s.metric(s.ops["url-api"], name); n != 0 {
			t.Errorf("%s is %v", name, n)
		}
	}

	trace := tracetest.WaitFor(t, jaeger, first, patience,
		tracetest.Expect{Service: "url-api", Name: "GET /{code}", Times: 1},
		tracetest.Expect{Service: "url-api", Name: "send " + s.topic, Parent: "GET /{code}", Times: 1},
		tracetest.Expect{Service: "analytics-consumer", Name: "process " + s.topic, Parent: "send " + s.topic, LinkTo: "send " + s.topic, Times: 1},
		tracetest.Expect{Service: "analytics-consumer", Name: "INSERT clicks", Parent: "process " + s.topic, Times: 1})
	redirect, send := tracetest.MustFind(t, trace, "url-api", "GET /{code}"), tracetest.MustFind(t, trace, "url-api", "send "+s.topic)
	if send.Start.Before(redirect.Start) || send.Start.After(killed) || send.Start.Add(send.Duration()).Before(back) {
		t.Errorf("send is from %v for %v, the redirect was at %v, the first kill at %v, and Kafka was back at %v", send.Start, send.Duration(), redirect.Start, killed, back)
	}
	must(t, s.urlAPI.stop())
}

// clickUntilKilled clicks a link, kills url-api while it answers, and returns the traces of the redirects that were answered
// whole.
func (s *system) clickUntilKilled(code string, callers, clicks int) (answered []string) {
	s.t.Helper()
	var mu sync.Mutex
	enough := make(chan struct{})
	var running sync.WaitGroup
	for range callers {
		running.Go(func() {
			for {
				res, err := s.click(code, http.Header{"User-Agent": {userAgent}})
				if err != nil { // it is dead
					return
				}
				id, err := traceOf(res)
				if err != nil || res.status != http.StatusFound {
					s.t.Errorf("status %d, %v", res.status, err)
					return
				}
				mu.Lock()
				if answered = append(answered, id); len(answered) == clicks {
					close(enough)
				}
				mu.Unlock()
			}
		})
	}
	select {
	case <-enough:
	case <-time.After(patience):
		s.t.Errorf("not even %d clicks", clicks)
	}
	s.urlAPI.kill()
	running.Wait()
	return answered
}
