//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zeromicro/go-zero/core/logx"

	"github.com/linktrail/linktrail/hack/testenv"
)

// binaries is where TestMain put the services.
var binaries string

func TestMain(m *testing.M) {
	logx.Disable()
	os.Exit(testenv.WithCommands(m, &binaries, "../../apps/url-api", "../../apps/analytics-rpc", "../../apps/analytics-consumer"))
}

// TestShort is the suite's short form: url-api, the consumer and Kafka are killed under load, one after the other. No click is
// lost, and none is counted twice.
func TestShort(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 9*time.Minute)
	defer cancel()
	o := defaults()
	o.rate, o.kills = 400, 3
	o.built = &builds{ready: map[bool]string{false: binaries}}
	times := 0
	r, err := run(ctx, o, fault{
		name: "short", title: "kill -9 of url-api, the consumer and Kafka", restarts: true, settings: settings{session: shortSession},
		harm: func(ctx context.Context, tr *trial) error {
			for _, harm := range []func(context.Context, *trial) error{killURLAPI, killConsumer, once(killServer(kafka))} {
				if err := harm(ctx, tr); err != nil {
					return err
				}
				times += tr.times
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(line(r))
	if !r.Held || r.Lost > 0 || r.Doubled > 0 {
		t.Errorf("%s: %d lost, %d doubled", r.Why, r.Lost, r.Doubled)
	}
	if r.Failed == 0 || times != 2*o.kills+1 {
		t.Errorf("%d redirects had no answer and there were %d kills: nothing was killed under load", r.Failed, times)
	}
	if r.Rows != r.Answered+r.Unanswered {
		t.Errorf("%d rows are not the %d that were answered and the %d that were not", r.Rows, r.Answered, r.Unanswered)
	}
}

// once has a harm done one time.
func once(harm func(context.Context, *trial) error) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		few := *t
		few.options.kills = 1
		err := harm(ctx, &few)
		t.times = few.times
		return err
	}
}

// TestCompare tells what is lost, doubled, and neither.
func TestCompare(t *testing.T) {
	id := func(n byte) traceID { return traceID{n} }
	ledger := map[traceID]time.Duration{id(1): time.Second, id(2): 2 * time.Second, id(3): 3 * time.Second}
	for name, tt := range map[string]struct {
		found                     found
		lost, doubled, unanswered int
	}{
		"OK":                   {found{traces: map[traceID]int{id(1): 1, id(2): 1, id(3): 1}, rows: 3, counted: 3}, 0, 0, 0},
		"OK unanswered":        {found{traces: map[traceID]int{id(1): 1, id(2): 1, id(3): 1, id(4): 1}, rows: 4, counted: 4}, 0, 0, 1},
		"Err lost":             {found{traces: map[traceID]int{id(1): 1, id(4): 1}, rows: 2, counted: 2}, 2, 0, 1},
		"Err stored twice":     {found{traces: map[traceID]int{id(1): 1, id(2): 3, id(3): 1}, rows: 5, counted: 5}, 0, 2, 0},
		"Err counted twice":    {found{traces: map[traceID]int{id(1): 1, id(2): 1, id(3): 1}, rows: 3, counted: 5}, 0, 2, 0},
		"Err stored uncounted": {found{traces: map[traceID]int{id(1): 1, id(2): 1, id(3): 1}, rows: 3, counted: 2}, 1, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			v := compare(ledger, tt.found)
			if v.lost != tt.lost || v.doubled != tt.doubled || v.unanswered != tt.unanswered {
				t.Errorf("%+v", v)
			}
		})
	}
}

// TestJudge says when a row does not hold.
func TestJudge(t *testing.T) {
	counts := fault{costs: []string{"x"}}
	for name, tt := range map[string]struct {
		fault   fault
		result  result
		counted int
		want    string
	}{
		"OK":                    {fault{}, result{}, 0, ""},
		"OK killed":             {fault{restarts: true}, result{Failed: 7}, 0, ""},
		"OK lost and counted":   {counts, result{Lost: 5}, 5, ""},
		"OK places":             {fault{costs: counts.costs, places: true}, result{Lost: 5}, 1, ""},
		"Err lost":              {fault{}, result{Lost: 1}, 0, "1 lost"},
		"Err lost, not counted": {counts, result{Lost: 5}, 4, "5 lost and 4 counted"},
		"Err no place":          {fault{costs: counts.costs, places: true}, result{Lost: 5}, 0, "5 lost and 0 places counted"},
		"Err doubled":           {counts, result{Doubled: 2}, 0, "2 doubled"},
		"Err not answered":      {fault{}, result{Failed: 1, Refused: 2}, 0, "1 redirects without an answer, 2 refused"},
		"Err dead":              {fault{}, result{DeadLetters: 3}, 0, "3 dead letters"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tt.result.judge(tt.fault, tt.counted); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// TestTables keeps results of several places, each once, and writes their tables.
func TestTables(t *testing.T) {
	dir := t.TempDir()
	results, doc := filepath.Join(dir, "results.jsonl"), filepath.Join(dir, "doc.md")
	shipped, err := os.ReadFile("../../docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(doc, shipped, 0o600); err != nil {
		t.Fatal(err)
	}
	for n, r := range []result{
		{Name: "node-paused", Driver: "kgo", Where: "kind", Fault: "a node is paused"},
		{Name: "kill-consumer", Driver: "kgo", Where: "processes", Fault: "the consumer is killed"},
		{Name: "kill-url-api", Driver: "kgo", Where: "processes", Fault: "url-api is killed", Lost: 5},
		{Name: "kill-url-api", Driver: "kq", Where: "processes", Fault: "url-api is killed", Lost: 7, Why: "7 lost"},
		{Name: "kill-url-api", Driver: "kgo", Where: "processes", Fault: "url-api is killed", Held: true},
	} {
		r.Answered, r.Measured = 20000+n, time.Date(2026, 7, 1, 12, n, 0, 0, time.UTC)
		if err := keep(results, r); err != nil {
			t.Fatal(err)
		}
	}
	o := options{results: results, write: doc}
	if err := o.tables(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	at := -1
	for _, want := range []string{
		"| url-api is killed | 0 | 0 | 20004 | 0 | 0 | 0 | – | 0 | 0.00 | 0.00 | 0 | kept |", "| the consumer is killed |",
		"| url-api is killed | 0 | 0 | 20003 | 0 | 0 | 7 | – | 0 | 0.00 | 0.00 | 0 | **7 lost** |", "| a node is paused |",
	} {
		i := strings.Index(string(text), want)
		if i < at || strings.Count(string(text), want) != 1 {
			t.Errorf("%q is not there once and behind the others:\n%s", want, text)
		}
		at = i
	}
	t.Run("Err no results", func(t *testing.T) {
		if err := os.WriteFile(results, []byte("{\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := o.tables(); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%s:1", results)) {
			t.Errorf("%v", err)
		}
	})
}
