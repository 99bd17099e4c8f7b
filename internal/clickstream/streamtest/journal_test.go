package streamtest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/driver"
	"github.com/linktrail/linktrail/internal/clickstream/journal"
)

// childJournal is the environment of a child process that publishes: the folder of its journal.
const childJournal = "LINKTRAIL_STREAMTEST_JOURNAL"

func smallJournal(dir string) journal.Config {
	return journal.Config{Dir: dir, SegmentBytes: 1 << 20, MaxBytes: 64 << 20}
}

// published is how many clicks the child publishes.
const published = 100

// publishUntilKilled is the child: it publishes clicks, writes down which, and waits to be killed once its driver has all.
func publishUntilKilled(file, dir string) int {
	var c clickstream.Config
	if err := json.Unmarshal([]byte(os.Getenv(childConfig)), &c); err != nil {
		panic(err)
	}
	registry := prometheus.NewRegistry()
	p, err := driver.Publisher(c, driver.Options{Registerer: registry, Journal: smallJournal(dir)})
	if err != nil {
		panic(err)
	}
	var lines strings.Builder
	for range published {
		click := newClick(trace.SpanContext{})
		p.Publish(context.Background(), click)
		fmt.Fprintln(&lines, click.ID)
	}
	s := stream{registry: registry}
	if err := testenv.Within(patience, func() error {
		if n := s.sum("linktrail_clicks_queue_depth") + s.sum("linktrail_clicks_published_total"); n < published {
			return fmt.Errorf("the driver has %v of %d clicks", n, published)
		}
		return nil
	}); err != nil {
		panic(err)
	}
	if err := os.WriteFile(file+".new", []byte(lines.String()), 0o600); err != nil {
		panic(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		panic(err)
	}
	select {}
}

// sum adds up a metric's values; it is 0 where there is none.
func (s *stream) sum(name string) (sum float64) {
	families, _ := s.registry.Gather()
	for _, family := range families {
		if family.GetName() == name {
			for _, m := range family.GetMetric() {
				sum += value(m)
			}
		}
	}
	return sum
}

// demonstrateSurvives kills a process that has published while the broker is away, and opens its journal when it is back.
func demonstrateSurvives(t *testing.T, v variant) {
	s := newStream(t, v, 1)
	s.journal = smallJournal(t.TempDir())
	real := s.Brokers[0]
	s.Brokers = []string{away(t)}
	config, err := json.Marshal(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "published")
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childFile+"="+file, childConfig+"="+string(config), childJournal+"="+s.journal.Dir)
	child.Stderr = os.Stderr
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var lines []byte
	eventually(t, func() (err error) {
		lines, err = os.ReadFile(file)
		return err
	})
	if err := child.Process.Kill(); err != nil { // SIGKILL
		t.Fatal(err)
	}
	_ = child.Wait() // killed

	testenv.ComeBack(t, s.Brokers[0], real)
	MustClose(t, s.publisher(t)) // it sends what it finds
	if broken(Survives, v) {
		if n := s.inTopic(t); n != 0 {
			t.Errorf("%d records are in the topic: kq keeps this promise now", n)
		}
		return
	}
	s.wantMetric(t, published, "linktrail_clicks_journal_shipped_total")
	s.wantMetric(t, published, "linktrail_clicks_journal_repeated_total")
	got := newReceived()
	s.Brokers = []string{real}
	s.consume(t, patience, got.take)
	all := make(map[uuid.UUID]sent)
	for line := range strings.Lines(string(lines)) {
		all[uuid.MustParse(strings.TrimSpace(line))] = sent{}
	}
	got.want(t, all)
	if state, err := journal.Inspect(s.journal.Dir, nil); err != nil || state.Waiting() != 0 {
		t.Errorf("%+v, %v", state, err)
	}
}
