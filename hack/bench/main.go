//go:build linux

// Command bench measures what a redirect costs: url-api as it is shipped, beside bare handlers on net/http and fasthttp
// and beside nginx, with a real Kafka, Redis and PostgreSQL; and then the other ways that a request can take. Last, what
// the telemetry controller costs with many workloads, on a real kube-apiserver and etcd. It prints tables and writes them
// into docs/performance.md, which tells how to read them.
//
// `bench soak` has all services work for half an hour and tells whether what they take stays flat.
//
// Run it by `make bench` or `make soak` from the repository's root. It needs Linux, nginx unless -nginx=false, and kube-apiserver and etcd
// unless -controller is empty.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/linktrail/linktrail/hack/bench/bare"
	"github.com/linktrail/linktrail/hack/bench/sink"
)

// options are the flags.
type options struct {
	rounds      int
	seconds     float64
	connections int
	only        string
	nginx       bool
	binary      string
	controller  string
	against     string
	write       string
	profiles    string
}

func (o options) duration() time.Duration { return time.Duration(o.seconds * float64(time.Second)) }

// wants reports whether a row is to be measured.
func (o options) wants(name string) bool {
	if strings.HasPrefix(name, "nginx") && !o.nginx {
		return false
	}
	if strings.HasPrefix(name, "the other") && o.against == "" {
		return false
	}
	if o.only == "" {
		return true
	}
	for part := range strings.SplitSeq(o.only, ",") {
		if strings.Contains(name, strings.TrimSpace(part)) {
			return true
		}
	}
	return false
}

// writes says whether all is measured that the document has, as it is.
func (o options) writes() bool {
	return o.write != "" && o.only == "" && o.against == "" && o.profiles == ""
}

func (o options) check(ctx context.Context) error {
	switch {
	case o.rounds < 1 || o.rounds > 100:
		return fmt.Errorf("-rounds: %d is not 1 to 100", o.rounds)
	case o.seconds < 0.1 || o.seconds > 300:
		return fmt.Errorf("-seconds: %v is not 0.1 to 300", o.seconds)
	case o.connections < 1 || o.connections > 10000:
		return fmt.Errorf("-connections: %d is not 1 to 10000", o.connections)
	}
	if o.wantsFleets() {
		if _, err := assets(ctx); err != nil {
			return err
		}
		if _, err := os.Stat(o.controller); err != nil {
			return fmt.Errorf("-controller: %w: `make bench` makes it", err)
		}
	}
	requests := slices.ContainsFunc(requestRows, o.wants)
	if _, err := exec.LookPath("nginx"); o.nginx && requests && err != nil {
		return errors.New("nginx is not installed: on Debian `apt-get install nginx-light`; or leave its rows out with -nginx=false")
	}
	if o.writes() {
		if err := write(o.write, nil); err != nil {
			return err
		}
	}
	if _, err := os.Stat(o.binary); requests && err != nil {
		return fmt.Errorf("-binary: %w: `make build` makes it", err)
	}
	return nil
}

func main() {
	var err error
	switch {
	case len(os.Args) > 2 && os.Args[1] == "serve":
		err = serve(os.Args[2], os.Args[3:])
	default:
		measure, args := run, os.Args[1:]
		if len(args) > 0 && args[0] == "soak" {
			measure, args = runSoak, args[1:]
		}
		// When nobody reads what is printed any more, kube-apiserver and etcd are still to be stopped.
		signal.Ignore(syscall.SIGPIPE)
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		err = measure(ctx, args)
	}
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errVoid):
		fmt.Fprintf(os.Stderr, "\nbench: THIS RUN IS VOID, nothing was written\nbench: %v\n", err)
		os.Exit(3)
	default:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// requestRows are the names of the rows that are about requests.
var requestRows = []string{
	bareNetHTTP, bareFastHTTP, nginxOne, nginxAll, sampledOne, sampledAll, againstOne, againstAll, overlayRow, journalRow,
	pathRedis, pathStore, pathUnknown, pathCreate, pathStats, overloadRow,
}

func run(ctx context.Context, args []string) error {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&o.rounds, "rounds", 5, "how often each server is measured; the medians count")
	flags.Float64Var(&o.seconds, "seconds", 4, "how long one measurement takes")
	flags.IntVar(&o.connections, "connections", 32, "how many connections are open at once")
	flags.StringVar(&o.only, "only", "", "measure rows alone whose name has one of these words, separated by commas; writes nothing")
	flags.BoolVar(&o.nginx, "nginx", true, "measure nginx, which must be installed")
	flags.StringVar(&o.binary, "binary", "bin/linktrail", "the linktrail to measure")
	flags.StringVar(&o.controller, "controller", "bin/telemetry-controller", "the telemetry controller to measure; empty for none. It takes kube-apiserver and etcd of $KUBEBUILDER_ASSETS")
	flags.StringVar(&o.against, "against", "", "another linktrail to measure beside it, as from before a change; writes nothing")
	flags.StringVar(&o.write, "write", "docs/performance.md", "the document whose tables are written; empty for none")
	flags.StringVar(&o.profiles, "profiles", "", "a folder for CPU profiles of url-api under load; they cost some of what is measured, so nothing else is written")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := o.check(ctx); err != nil {
		return err
	}
	var all []part
	tell := func(list ...part) { // at once: what follows may fail
		for _, p := range list {
			fmt.Printf("\n%s", p.text)
		}
		all = append(all, list...)
	}
	if slices.ContainsFunc(requestRows, o.wants) {
		if err := measureRequests(ctx, o, tell); err != nil {
			return err
		}
	}
	steered, err := steer(ctx, o)
	if err != nil {
		return err
	}
	if len(steered) > 0 {
		tell(part{"controller", steerTable(steered)})
	}
	if !o.nginx {
		fmt.Fprintln(os.Stderr, "bench: nginx was left out")
	}
	if !o.writes() {
		return nil
	}
	return write(o.write, all)
}

// measureRequests measures all that is about requests, with a system of servers that it starts and ends.
func measureRequests(ctx context.Context, o options, tell func(...part)) (err error) {
	s, err := newSystem(ctx, o)
	defer func() { err = errors.Join(err, s.close()) }()
	if err != nil {
		return err
	}
	machine := part{"machine", factTable(facts(ctx, s, o))}
	t, err := s.compare(ctx, o)
	if err != nil {
		return err
	}
	tell(t.parts(o)...)
	pairs, err := s.compareOverlay(ctx, o)
	if err != nil {
		return err
	}
	if len(pairs) > 0 {
		tell(part{"overlay", overlayTable(o, pairs)})
	}
	appends, pairs, err := s.compareJournal(ctx, o)
	if err != nil {
		return err
	}
	if len(pairs) > 0 {
		tell(part{"journal", journalTable(o, appends, pairs)})
	}
	paths, err := s.walk(ctx, o)
	if err != nil {
		return err
	}
	if len(paths) > 0 {
		tell(part{"paths", pathTable(paths)})
	}
	borne, floods, err := s.overload(ctx, o)
	if err != nil {
		return err
	}
	if len(floods) > 0 {
		tell(part{"overload", floodTable(borne, floods)})
	}
	tell(machine)
	return nil
}

// serve is what this program runs as the servers beside url-api.
func serve(name string, args []string) error {
	flags := flag.NewFlagSet("serve "+name, flag.ContinueOnError)
	addr := flags.String("addr", "", "where to listen")
	file := flags.String("targets", "", "a file of codes and URLs")
	counts := flags.String("counts", "", "where the sink tells how many spans have come")
	if err := flags.Parse(args); err != nil {
		return err
	}
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	if name == "sink" {
		told, err := net.Listen("tcp", *counts)
		if err != nil {
			return err
		}
		return sink.Serve(l, told)
	}
	targets, err := readTargets(*file)
	if err != nil {
		return err
	}
	switch name {
	case "net-http":
		return bare.ServeNetHTTP(l, targets)
	case "fasthttp":
		return bare.ServeFastHTTP(l, targets)
	}
	return fmt.Errorf("%q is none of net-http, fasthttp and sink", name)
}

func readTargets(file string) (bare.Targets, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return bare.Read(io.LimitReader(f, 64<<20))
}
