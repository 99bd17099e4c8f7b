//go:build linux

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/linktrail/linktrail/hack/testenv/document"
)

// result is a row: a line of the file of results, which others may add to, as those of a cluster.
type result struct {
	// Name, Driver and Where name the row: a later one of the same three takes its place.
	Name   string `json:"name"`
	Driver string `json:"driver"`
	// Where is "processes" for this program's own, "kind" for a cluster's.
	Where string `json:"where"`
	// Fault is what the table calls it, and Times how often it was done.
	Fault string `json:"fault"`
	Times int    `json:"times"`
	// FaultSeconds is how long the fault lasted, from the first harm until all was mended, QuietSeconds how long it took
	// after the load until the store had everything.
	FaultSeconds float64 `json:"fault_seconds"`
	QuietSeconds float64 `json:"quiet_seconds"`
	Rate         float64 `json:"rate"`
	// Attempts are redirects that were asked for, Answered those whose 302 was read whole, Failed those without an answer,
	// Refused those with another. AnsweredDuring are those of Answered while the fault lasted.
	Attempts       int `json:"attempts"`
	Answered       int `json:"answered"`
	AnsweredDuring int `json:"answered_during"`
	Failed         int `json:"failed"`
	Refused        int `json:"refused"`
	// Lost are answered redirects that the store does not have, Doubled those that it has or counts more than once.
	Lost    int `json:"lost"`
	Doubled int `json:"doubled"`
	// Unanswered are clicks in the store whose redirect's answer never arrived; they are neither.
	Unanswered  int   `json:"unanswered_but_stored"`
	Rows        int   `json:"rows"`
	DeadLetters int64 `json:"dead_letters"`
	// Counted is what the metrics say is lost, by metric.
	Counted   map[string]float64 `json:"counted,omitempty"`
	P99Before float64            `json:"p99_before_ms"`
	P99During float64            `json:"p99_during_ms"`
	Notes     string             `json:"notes,omitempty"`
	Held      bool               `json:"held"`
	Why       string             `json:"why,omitempty"`
	Machine   string             `json:"machine"`
	System    string             `json:"system"`
	Revision  string             `json:"revision"`
	Versions  string             `json:"versions"`
	Measured  time.Time          `json:"measured"`
}

// result says what became of a trial.
func (t *trial) result(ctx context.Context, ledger map[traceID]time.Duration, f found) result {
	v := compare(ledger, f)
	var all tally
	for phase := range phases {
		all.add(t.client.tally(phase))
	}
	was, is := t.client.tally(before), t.client.tally(during)
	r := result{
		Name: t.name, Driver: t.driver, Where: "processes", Fault: t.title, Times: t.times,
		FaultSeconds: t.lasted.Seconds(), Rate: t.options.rate,
		Attempts: all.attempts, Answered: all.answered, AnsweredDuring: is.answered, Failed: all.failed, Refused: all.refused,
		Lost: v.lost, Doubled: v.doubled, Unanswered: v.unanswered, Rows: f.rows, DeadLetters: f.deadLetters,
		P99Before: millis(was.latency.Quantile(0.99)), P99During: millis(is.latency.Quantile(0.99)),
		Measured: time.Now().UTC().Truncate(time.Second),
	}
	var counted float64
	for _, name := range append([]string{"linktrail_clicks_dropped_total"}, t.costs...) {
		if n := t.urlAPI.metric(ctx, name); n > 0 {
			if r.Counted == nil {
				r.Counted = make(map[string]float64)
			}
			r.Counted[name] = n
			counted += n
		}
	}
	if v.lost > 0 {
		t.note("those lost were answered %s after the load began, the fault from %v to %v", span(v.lostAt),
			t.begin.Sub(t.client.begin).Round(time.Millisecond), (t.begin.Sub(t.client.begin) + t.lasted).Round(time.Millisecond))
	}
	r.Notes = strings.Join(t.notes, "; ")
	r.Why = r.judge(t.fault, int(counted))
	r.Held = r.Why == ""
	r.place(ctx, t)
	return r
}

// judge says what does not hold, and nothing when all does.
func (r *result) judge(f fault, counted int) string {
	switch {
	case r.Doubled > 0:
		return fmt.Sprintf("%d doubled", r.Doubled)
	case r.DeadLetters > 0:
		return fmt.Sprintf("%d dead letters", r.DeadLetters)
	case len(f.costs) == 0 && r.Lost > 0:
		return fmt.Sprintf("%d lost", r.Lost)
	case len(f.costs) > 0 && !f.places && r.Lost != counted:
		return fmt.Sprintf("%d lost and %d counted", r.Lost, counted)
	case f.places && (counted == 0) != (r.Lost == 0):
		return fmt.Sprintf("%d lost and %d places counted", r.Lost, counted)
	case !f.restarts && r.Failed+r.Refused > 0:
		return fmt.Sprintf("%d redirects without an answer, %d refused", r.Failed, r.Refused)
	}
	return ""
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// readResults reads a file of results; there may be none.
func readResults(file string) ([]result, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []result
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		var r result
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, n, err)
		}
		list = append(list, r)
	}
	return list, lines.Err()
}

// keep puts a result in the place of an earlier one of its name, or behind them all, and writes the file.
func keep(file string, r result) error {
	list, err := readResults(file)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(o result) bool { return o.Name == r.Name && o.Driver == r.Driver && o.Where == r.Where })
	if i < 0 {
		list = append(list, r)
	} else {
		list[i] = r
	}
	slices.SortStableFunc(list, func(a, b result) int {
		return cmp.Or(-cmp.Compare(a.Where, b.Where), cmp.Compare(a.Driver, b.Driver), cmp.Compare(order(a.Name), order(b.Name)))
	})
	var text bytes.Buffer
	for _, r := range list {
		if err := json.NewEncoder(&text).Encode(r); err != nil {
			return err
		}
	}
	return os.WriteFile(file, text.Bytes(), 0o644) //nolint:gosec // a file of the repository
}

// order is a fault's place in the table.
func order(name string) int {
	i := slices.IndexFunc(catalogue(), func(f fault) bool { return f.name == name })
	if i < 0 {
		return len(catalogue())
	}
	return i
}

// write makes the tables of a document out of the results.
func write(file string, list []result) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	doc := string(old)
	for _, part := range []struct{ mark, where, driver string }{
		{"chaos:kgo", "processes", "kgo"}, {"chaos:kq", "processes", "kq"}, {"chaos:kind", "kind", ""},
	} {
		var rows []result
		for _, r := range list {
			if r.Where == part.where && (part.driver == "" || r.Driver == part.driver) {
				rows = append(rows, r)
			}
		}
		if doc, err = document.Replace(doc, part.mark, table(rows)); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return os.WriteFile(file, []byte(doc), 0o644) //nolint:gosec // a document of the repository
}

// table shows results.
func table(rows []result) string {
	if len(rows) == 0 {
		return "Not yet run.\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "| fault | times | lasted, s | answered | of them during | not answered | lost | counted | doubled | p99 before, ms | during | quiet, s | |\n")
	fmt.Fprintf(&b, "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n")
	for _, r := range rows {
		word := "kept"
		switch {
		case !r.Held:
			word = "**" + r.Why + "**"
		case r.Lost > 0:
			word = "lost, and counted"
		}
		fmt.Fprintf(&b, "| %s | %d | %.0f | %d | %d | %d | %d | %s | %d | %.2f | %.2f | %.0f | %s |\n", r.Fault, r.Times, r.FaultSeconds,
			r.Answered, r.AnsweredDuring, r.Failed+r.Refused, r.Lost, counted(r.Counted), r.Doubled, r.P99Before, r.P99During, r.QuietSeconds, word)
	}
	b.WriteString("\n" + provenance(rows))
	return b.String()
}

func counted(metrics map[string]float64) string {
	if len(metrics) == 0 {
		return "–"
	}
	var list []string
	for name, n := range metrics {
		name = strings.TrimSuffix(strings.TrimPrefix(name, "linktrail_clicks_"), "_total")
		list = append(list, fmt.Sprintf("%s %.0f", strings.ReplaceAll(name, "_", " "), n))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// provenance says on what and when rows were measured.
func provenance(rows []result) string {
	var places []string
	for _, r := range rows {
		place := fmt.Sprintf("%s; %s; %s", r.Machine, r.System, r.Versions)
		if !slices.Contains(places, place) {
			places = append(places, place)
		}
	}
	var revisions []string
	first, last := rows[0].Measured, rows[0].Measured
	for _, r := range rows {
		if !slices.Contains(revisions, r.Revision) {
			revisions = append(revisions, r.Revision)
		}
		if r.Measured.Before(first) {
			first = r.Measured
		}
		if r.Measured.After(last) {
			last = r.Measured
		}
	}
	const layout = "2006-01-02 15:04"
	when := first.Format(layout)
	if to := last.Format(layout); to != when {
		when += " to " + to
	}
	return fmt.Sprintf("%s. linktrail %s. Measured %s UTC.\n", strings.Join(places, " and "), strings.Join(revisions, ", "), when)
}
