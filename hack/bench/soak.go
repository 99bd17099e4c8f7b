//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/linktrail/linktrail/hack/bench/load"
	"github.com/linktrail/linktrail/hack/testenv/document"
)

// soakOptions are the flags of `bench soak`.
type soakOptions struct {
	options
	length time.Duration
	every  time.Duration
	rate   float64
}

// How the system is asked during a soak, and how its most is measured before.
const (
	mostFor     = 20 * time.Second // flat out
	warmFor     = 10 * time.Second
	besideRate  = 6 // requests of the API a second: five for statistics, one that makes a link
	storedLimit = 5 * time.Minute
)

// runSoak has the whole system work at half of what it bears for a long time, and says whether what it takes grows.
func runSoak(ctx context.Context, args []string) (err error) {
	var o soakOptions
	flags := flag.NewFlagSet("bench soak", flag.ContinueOnError)
	flags.DurationVar(&o.length, "for", 30*time.Minute, "how long, an hour at most")
	flags.DurationVar(&o.every, "every", 10*time.Second, "how often it is looked at what the services take")
	flags.Float64Var(&o.rate, "rate", 0, "redirects a second; 0 is half of what is measured before")
	flags.IntVar(&o.connections, "connections", 32, "how many connections are open at once")
	flags.StringVar(&o.binary, "binary", "bin/linktrail", "the linktrail to run")
	flags.StringVar(&o.write, "write", "docs/performance.md", "the document whose table is written; empty for none")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case o.length < time.Minute || o.length > time.Hour:
		return fmt.Errorf("-for: %v is not 1m to 1h", o.length)
	case o.every < time.Second || o.every > o.length/16:
		return fmt.Errorf("-every: %v is not 1s to a sixteenth of -for, %v", o.every, o.length/16)
	case o.rate < 0:
		return fmt.Errorf("-rate: %v is below 0", o.rate)
	case o.connections < 1 || o.connections > 10000:
		return fmt.Errorf("-connections: %d is not 1 to 10000", o.connections)
	}
	if o.write != "" { // before half an hour has gone
		if err := writeSoak(o.write, ""); err != nil {
			return err
		}
	}
	s, err := newSystem(ctx, o.options)
	defer func() { err = errors.Join(err, s.close()) }()
	if err != nil {
		return err
	}
	text, grown, err := s.soak(ctx, o)
	if err != nil {
		return err
	}
	fmt.Print("\n", text)
	if o.write != "" {
		if err := writeSoak(o.write, text); err != nil {
			return err
		}
	}
	if len(grown) > 0 {
		return fmt.Errorf("not flat: %s", strings.Join(grown, "; "))
	}
	return nil
}

// writeSoak puts a text into the document; without one it only looks whether there is a place for it.
func writeSoak(file, text string) error {
	doc, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	changed, err := document.Replace(string(doc), "bench:soak", text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if text == "" {
		return nil
	}
	return os.WriteFile(file, []byte(changed), 0o644) //nolint:gosec // a document of the repository
}

// soaked is the system under load.
type soaked struct {
	*system
	door     *subject
	services []*service
	stored   int64 // clicks that the store held at the beginning
	asked    []load.Request
	order    []uint32
}

// soak returns the table, and what has grown.
func (s *system) soak(ctx context.Context, o soakOptions) (text string, grown []string, err error) {
	k, stop, err := s.startSoak(ctx)
	defer func() { err = errors.Join(err, stop()) }()
	if err != nil {
		return "", nil, err
	}
	most := 0.0
	if o.rate == 0 {
		if most, err = k.most(ctx, o); err != nil {
			return "", nil, err
		}
		o.rate = most / 2
		fmt.Fprintf(os.Stderr, "bench: soak: %.0f redirects/s are stored as they come; half of that for %v\n", most, o.length)
	}
	series := newSeries(k.services)
	var redirects, beside *load.Result
	all, ctx := errgroup.WithContext(ctx)
	looking, stopLooking := context.WithCancel(ctx)
	defer stopLooking()
	all.Go(func() (err error) {
		defer stopLooking()
		redirects, err = k.pour(ctx, load.Plan{Rate: o.rate, Duration: o.length, Connections: o.connections})
		return err
	})
	all.Go(func() (err error) {
		beside, err = load.Run(ctx, load.Plan{Addr: k.door.service.api, Requests: k.beside(), Rate: besideRate, Duration: o.length, Connections: 2})
		if err == nil && beside.Wrong+beside.Failed > 0 {
			err = fmt.Errorf("%w: %s%s", errVoid, beside.FirstWrong, beside.FirstFailure)
		}
		return err
	})
	all.Go(func() error { return k.look(looking, o, series) })
	if err := all.Wait(); err != nil {
		return "", nil, err
	}
	ctx = context.WithoutCancel(ctx)
	if _, err := k.settled(ctx); err != nil {
		return "", nil, err
	}
	rows, sums, err := s.countClicks(ctx)
	if err != nil {
		return "", nil, err
	}
	if rows -= k.stored; rows != k.door.clicks || sums-k.stored != k.door.clicks {
		return "", nil, fmt.Errorf("%w: %d redirects were answered, %d clicks are stored and %d in the rollups", errVoid, k.door.clicks, rows, sums-k.stored)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%v at %.0f redirects a second", o.length, o.rate)
	if most > 0 {
		fmt.Fprintf(&b, ", half of the %.0f that were answered, shipped and stored a second flat out", most)
	}
	fmt.Fprintf(&b, "; beside them %d questions for statistics and new links. %d redirects were answered since the start of the services, %d clicks are stored and as many in the rollups. p50 %.2f ms, p99 %.2f ms, %d answers were 503.\n\n",
		beside.Right, k.door.clicks, rows, millis(redirects.Latency.Quantile(0.5)), millis(redirects.Latency.Quantile(0.99)), redirects.Refused)
	table, grown := series.table()
	b.WriteString(table + "\n" + factTable(facts(ctx, s, o.options)))
	return b.String(), grown, nil
}

// startSoak starts the three services. stop ends those that were started.
func (s *system) startSoak(ctx context.Context) (k *soaked, stop func() error, err error) {
	k = &soaked{system: s, asked: s.followed(), order: load.Zipf(seed, 1.1, links, 1<<20)}
	stop = func() error {
		var errs []error
		for _, v := range k.services {
			errs = append(errs, v.Stop())
		}
		return errors.Join(errs...)
	}
	if err = s.writeClicks(ctx, time.Now()); err != nil {
		return k, stop, err
	}
	if k.stored, _, err = s.countClicks(ctx); err != nil {
		return k, stop, err
	}
	analytics, address, err := s.startAnalytics(ctx)
	if err != nil {
		return k, stop, err
	}
	k.services = append(k.services, analytics)
	v := &subject{name: "url-api"}
	v.service, err = s.startURLAPI(ctx, v.name, s.binary, func(c map[string]any) {
		c["Analytics"].(map[string]any)["Endpoints"] = []string{address}
		unshed(c)
	})
	if err != nil {
		return k, stop, err
	}
	k.services = append([]*service{v.service}, k.services...)
	v.Process, v.addr, k.door = v.service.Process, v.service.door, v
	consumer, err := s.startConsumer(ctx, v.service.topic)
	if err != nil {
		return k, stop, err
	}
	k.services = append(k.services, consumer)
	return k, stop, nil
}

// startConsumer starts analytics-consumer on a topic.
func (s *system) startConsumer(ctx context.Context, topic string) (*service, error) {
	v := &service{topic: topic}
	return v, s.startService(ctx, v, s.binary, "analytics-consumer", "analytics-consumer", map[string]any{
		"Name":        "analytics-consumer",
		"Log":         map[string]any{"Level": "error", "Stat": false},
		"Store":       map[string]any{"DSN": s.dsn},
		"ClickStream": map[string]any{"Driver": "kgo", "Brokers": s.brokers, "Topic": topic, "Group": topic},
		"Telemetry":   map[string]any{"Endpoint": s.otlp, "Batcher": "otlpgrpc", "Sampler": 0.01},
	})
}

// most is how many redirects a second the system bears as a whole: those that are answered flat out, by the time until the last
// of their clicks is stored.
func (k *soaked) most(ctx context.Context, o soakOptions) (float64, error) {
	if _, err := k.pour(ctx, load.Plan{Count: len(k.asked), Duration: warmFor, Connections: o.connections}); err != nil {
		return 0, err
	}
	before, err := k.settled(ctx)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if _, err := k.pour(ctx, load.Plan{Duration: mostFor, Connections: o.connections}); err != nil {
		return 0, err
	}
	after, err := k.settled(ctx)
	return float64(after-before) / time.Since(began).Seconds(), err
}

// pour asks for redirects.
func (k *soaked) pour(ctx context.Context, p load.Plan) (*load.Result, error) {
	p.Addr, p.Requests, p.Order, p.First = k.door.addr, k.asked, k.order, k.door.asked
	r, err := load.Run(ctx, p)
	if err != nil {
		return nil, err
	}
	k.door.asked += r.Sent
	k.door.clicks += int64(r.Right)
	if r.Wrong+r.Failed > 0 {
		return nil, fmt.Errorf("%w: %s%s", errVoid, r.FirstWrong, r.FirstFailure)
	}
	return r, nil
}

// settled waits until the consumer has written as many clicks as redirects were answered, and returns how many that are.
func (k *soaked) settled(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, storedLimit)
	defer cancel()
	consumer := k.services[len(k.services)-1]
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		m, err := consumer.metrics(ctx)
		if err != nil {
			return 0, err
		}
		written := int64(m.Sum("linktrail_clicks_written_total"))
		if written >= k.door.clicks {
			tick.Stop()
			return written, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, fmt.Errorf("%w: %d redirects were answered and %d clicks written, %v later", errVoid, k.door.clicks, written, storedLimit)
		}
	}
}

// countClicks counts the rows of the store, and the clicks in the rollups.
func (s *system) countClicks(ctx context.Context) (rows, rollups int64, err error) {
	conn, err := pgx.Connect(ctx, s.dsn)
	if err != nil {
		return 0, 0, err
	}
	err = conn.QueryRow(ctx, `SELECT (SELECT count(*) FROM clicks), (SELECT coalesce(sum(clicks + bots), 0)::bigint FROM click_rollups WHERE dimension = 'total')`).Scan(&rows, &rollups)
	return rows, rollups, errors.Join(err, conn.Close(ctx))
}

// beside are the requests of the API.
func (k *soaked) beside() (list []load.Request) {
	questions, creations := k.questions(time.Now()), k.creations()
	for i := range creations[:len(questions)/5] {
		list = append(append(list, questions[5*i:5*i+5]...), creations[i])
	}
	return list
}

// look looks at the services again and again until ctx ends.
func (k *soaked) look(ctx context.Context, o soakOptions, series *series) error {
	began := time.Now()
	tick := time.NewTicker(o.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for i, v := range k.services {
			if err := series.look(ctx, i, v, time.Since(began)); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
		}
		if n := len(series.at); n%6 == 0 {
			fmt.Fprintf(os.Stderr, "bench: soak: %8v  %s\n", time.Since(began).Round(time.Second), series.last())
		}
	}
}

// resident is the memory of a process that is in RAM, and how many files it has open.
func resident(pid int) (bytes, files float64, err error) {
	var kib int64
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	if _, err := fmt.Sscanf(rest, "%d kB", &kib); err != nil {
		return 0, 0, fmt.Errorf("VmRSS of %d: %w", pid, err)
	}
	open, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	return float64(kib) * 1024, float64(len(open)), err
}
