//go:build linux

// Command chaos breaks things on purpose while redirects are answered, and compares what was answered with what is stored:
// each redirect whose 302 a client has read whole must be a row in the store, once. It runs url-api, analytics-rpc and
// analytics-consumer as processes of their own, with a PostgreSQL, a Redis and a Kafka of their own, one fault after the
// other, and writes a row a fault into docs/reliability.jsonl and docs/reliability.md, which tells how to read them.
//
// Run it by `make chaos` from the repository's root. It needs Linux, and root for the faults of a full disk.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/zeromicro/go-zero/core/logx"
)

// options are the flags.
type options struct {
	only        string
	driver      string
	rate        float64
	connections int
	kills       int
	longest     time.Duration
	kafkaAway, redisAway, postgresAway,
	slow, failing, full time.Duration
	results, write string
	list, table    bool

	built *builds
}

// builds are the services' binaries, compiled when they are first needed.
type builds struct {
	dir   string
	mu    sync.Mutex
	ready map[bool]string
	// revision is what they were built from.
	revision string
}

// binaries is the folder of the services' binaries: those whose clock goes back, or the usual ones.
func (o options) binaries(ctx context.Context, clock bool) (string, error) {
	o.built.mu.Lock()
	defer o.built.mu.Unlock()
	if dir := o.built.ready[clock]; dir != "" {
		return dir, nil
	}
	dir := filepath.Join(o.built.dir, fmt.Sprintf("clock-%t", clock))
	if err := os.Mkdir(dir, 0o750); err != nil {
		return "", err
	}
	compile := buildClock
	if !clock {
		compile = func(ctx context.Context, dir string) error { return build(ctx, dir) }
	}
	from := revision(ctx)
	if err := compile(ctx, dir); err != nil {
		return "", err
	}
	o.built.ready[clock], o.built.revision = dir, from
	return dir, nil
}

func (o options) check() error {
	switch {
	case o.driver != "kgo" && o.driver != "kq":
		return fmt.Errorf("-driver: %q is neither kgo nor kq", o.driver)
	case o.rate < 10 || o.rate > 20000:
		return fmt.Errorf("-rate: %v is not 10 to 20000", o.rate)
	case o.connections < 1 || o.connections > 1000:
		return fmt.Errorf("-connections: %d is not 1 to 1000", o.connections)
	case o.kills < 1 || o.kills > 1000:
		return fmt.Errorf("-kills: %d is not 1 to 1000", o.kills)
	}
	return nil
}

// selected are the faults that -only names, or all.
func (o options) selected() ([]fault, error) {
	if o.only == "" {
		return catalogue(), nil
	}
	var list []fault
	for name := range strings.SplitSeq(o.only, ",") {
		i := slices.IndexFunc(catalogue(), func(f fault) bool { return f.name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, fmt.Errorf("-only: there is no fault %q; -list shows them", name)
		}
		list = append(list, catalogue()[i])
	}
	return list, nil
}

func main() {
	logx.Disable() // what the packages say that are used here
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	held, err := chaos(ctx, os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errVoid):
		fmt.Fprintf(os.Stderr, "chaos: a run is void, it was not written\nchaos: %v\n", err)
		os.Exit(3)
	case err != nil:
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	case !held:
		os.Exit(2)
	}
}

// defaults are the options of a whole run.
func defaults() options {
	return options{
		driver: "kgo", rate: 1000, connections: 16, kills: 50, longest: 6 * time.Minute,
		kafkaAway: 5 * time.Minute, redisAway: time.Minute, postgresAway: 2 * time.Minute,
		slow: time.Minute, failing: time.Minute, full: 30 * time.Second,
	}
}

// chaos carries out the faults and reports whether all promises held.
func chaos(ctx context.Context, args []string) (held bool, err error) {
	o := defaults()
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.StringVar(&o.only, "only", "", "the faults to carry out, separated by commas; all when empty")
	flags.BoolVar(&o.list, "list", false, "list the faults and end")
	flags.StringVar(&o.driver, "driver", o.driver, "the driver of the click stream: kgo or kq")
	flags.Float64Var(&o.rate, "rate", o.rate, "how many redirects are asked for in a second")
	flags.IntVar(&o.connections, "connections", o.connections, "over how many connections")
	flags.IntVar(&o.kills, "kills", o.kills, "how often url-api and the consumer are killed")
	flags.StringVar(&o.results, "results", "docs/reliability.jsonl", "the file of results, a line each; empty writes none")
	flags.StringVar(&o.write, "write", "docs/reliability.md", "the document whose tables are made of the results; empty writes none")
	flags.BoolVar(&o.table, "table", false, "make the document's tables of the file of results, which may have other rows, and end")
	if err := flags.Parse(args); err != nil {
		return false, err
	}
	if err := o.check(); err != nil {
		return false, err
	}
	if o.list {
		for _, f := range catalogue() {
			fmt.Printf("%-26s %s\n", f.name, f.title)
		}
		return true, nil
	}
	if o.table {
		return true, o.tables()
	}
	list, err := o.selected()
	if err != nil {
		return false, err
	}
	clean, err := o.begin()
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, clean()) }()
	held = true
	for i, f := range list {
		fmt.Fprintf(os.Stderr, "chaos: %d of %d: %s\n", i+1, len(list), f.title)
		r, err := run(ctx, o, f)
		if err != nil {
			return false, err
		}
		fmt.Printf("%s\n", line(r))
		held = held && r.Held
		if o.results == "" {
			continue
		}
		if err := errors.Join(keep(o.results, r), o.tables()); err != nil {
			return false, err
		}
	}
	return held, nil
}

// begin makes a folder for the binaries, and returns what removes it.
func (o *options) begin() (clean func() error, err error) {
	o.built = &builds{ready: make(map[bool]string)}
	o.built.dir, err = os.MkdirTemp("", "linktrail-chaos-bin-")
	return func() error { return os.RemoveAll(o.built.dir) }, err
}

func (o options) tables() error {
	if o.write == "" {
		return nil
	}
	list, err := readResults(o.results)
	if err != nil {
		return err
	}
	return write(o.write, list)
}

// line is a result for a person.
func line(r result) string {
	word := "kept"
	if !r.Held {
		word = "NOT KEPT: " + r.Why
	}
	text := fmt.Sprintf("%s (%s): %s\n  %d times in %.1f s; %d answered, %d of them during; %d failed, %d refused; %d lost, %d doubled, counted %s; %d stored, %d of them unanswered; p99 %.2f ms, during %.2f ms; quiet after %.1f s",
		r.Name, r.Driver, word, r.Times, r.FaultSeconds, r.Answered, r.AnsweredDuring, r.Failed, r.Refused, r.Lost, r.Doubled,
		counted(r.Counted), r.Rows, r.Unanswered, r.P99Before, r.P99During, r.QuietSeconds)
	if r.Notes != "" {
		text += "\n  " + r.Notes
	}
	return text
}
