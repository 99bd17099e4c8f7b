// Package up runs all of linktrail on one machine: a supervisor that hosts Kafka and Redis where none are given, and
// each service as a process of its own, this binary started again. What it keeps lies in one folder, DATA:
//
//	linktrail.db   links, clicks and keys (SQLite)
//	kafka/         the click stream
//	journal/       clicks that are not in the click stream yet
//	traces/        spans, where no collector is given
//	telemetry/     the overlay that says where spans go while the services run; it is people's and scripts' to write
//	etc/           the services' configuration, written at each start
//	log/           the services' logs, capped
//	api_key        the local API key
//	run.json       what runs and where, while it runs; see RunFile
//	lock           held by the supervisor; services.lock is held by the services
package up

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/linktrail/linktrail/apps/linktrail/internal/client"
	"github.com/linktrail/linktrail/internal/store"
)

// The services, by the names that they have in traces.
const (
	URLAPI            = "url-api"
	AnalyticsRPC      = "analytics-rpc"
	AnalyticsConsumer = "analytics-consumer"
)

// Options say what to run, and on what. Empty fields mean the embedded default.
type Options struct {
	// Data is the folder that everything is kept in; it is made.
	Data string
	// Addr and APIAddr are host:port of the front door and the API, port 0 for any. Empty: the usual port on loopback, or
	// a free one when that is taken.
	Addr, APIAddr string
	// PublicURL is what short addresses begin with. Empty: the address of the front door.
	PublicURL string
	// Postgres is a DSN, postgres://…
	Postgres string
	// Redis is host:port, several with commas between, or redis://user:password@host:port/db.
	Redis string
	// Kafka is the brokers' host:port with commas between.
	Kafka string
	// OTLP is where spans go: host:port for gRPC, or an http or https URL.
	OTLP string
	// Jaeger is the base URL of Jaeger's query service and pages; it needs OTLP.
	Jaeger string
	// Driver is the click stream's driver, kgo or kq.
	Driver string
	// Services are keys of the services' YAML, by service; they win over what is written here.
	Services map[string]map[string]any
	// Example has the start end with a link made, clicked, and its trace.
	Example bool
	// Quick, once it has ended, makes a stop end the services at once.
	Quick context.Context
	// Out is told of progress, Err of what goes wrong meanwhile. Both are written to by one goroutine at a time.
	Out, Err io.Writer
}

const (
	// readyDeadline is how long the services may take until they answer.
	readyDeadline = 60 * time.Second
	// migrateDeadline is how long reaching and migrating the store may take.
	migrateDeadline = 2 * time.Minute
	// statisticsDeadline is how long url-api may take to reach analytics-rpc again.
	statisticsDeadline = 20 * time.Second
	statisticsPause    = 400 * time.Millisecond
)

// Run starts everything, waits until ctx ends, and stops everything in order: url-api first, whose last clicks go to
// Kafka, then the consumer once it has written them, then analytics-rpc, then Kafka and Redis. An error tells what could
// not be started, or did not stop cleanly.
func Run(ctx context.Context, o Options) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	if o.Data, err = filepath.Abs(o.Data); err != nil {
		return err
	}
	if o.Quick == nil {
		o.Quick = context.Background()
	}
	s := &supervisor{o: o, term: newTerminal(o.Out, o.Err), began: time.Now()}
	defer func() { err = errors.Join(err, s.end()) }()
	if err := s.start(ctx); err != nil {
		if ctx.Err() != nil {
			s.term.say("stopping before everything had started")
			return nil
		}
		return err
	}
	<-ctx.Done()
	return nil
}

// supervisor is what start makes and end ends; what is nil was not made.
type supervisor struct {
	o     Options
	term  *terminal
	began time.Time

	locks    *locks
	kafka    *kafka
	redis    *redisServer
	key      string
	plan     plan
	children []*child // in the order in which they are stopped
	run      *runFile
}

func (s *supervisor) start(ctx context.Context) (err error) {
	if s.locks, err = lockData(ctx, s.o.Data, s.term); err != nil {
		return err
	}
	if s.plan, err = newPlan(s.o); err != nil {
		return err
	}
	defer s.plan.release()
	if err := s.makeFolders(); err != nil {
		return err
	}
	for _, note := range s.plan.notes {
		s.term.say(note)
	}
	if err := s.startServers(ctx); err != nil {
		return err
	}
	if err := s.prepareStore(ctx); err != nil {
		return err
	}
	if err := s.prepareTopics(ctx); err != nil {
		return err
	}
	if err := s.startServices(ctx); err != nil {
		return err
	}
	s.run = newRunFile(s)
	if err := s.run.write(s.children); err != nil {
		return err
	}
	for _, c := range s.children {
		c.keep(s.restarted)
	}
	s.term.say("ready in %s", shownSeconds(time.Since(s.began)))
	s.greet(ctx)
	return nil
}

func (s *supervisor) makeFolders() error {
	folders := []string{filepath.Join(s.o.Data, "etc"), filepath.Join(s.o.Data, "log"), OverlayDir(s.o.Data)}
	if s.o.Kafka == "" {
		folders = append(folders, s.kafkaDir())
	}
	if s.plan.traces != "" {
		folders = append(folders, s.plan.traces)
	}
	for _, folder := range folders {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return err
		}
	}
	return nil
}

func (s *supervisor) kafkaDir() string { return filepath.Join(s.o.Data, "kafka") }

// startServers hosts what no real server was given for.
func (s *supervisor) startServers(ctx context.Context) (err error) {
	if s.o.Kafka == "" {
		began := time.Now()
		if s.kafka, err = startKafka(s.kafkaDir(), s.plan.take(kafkaPort)); err != nil {
			return err
		}
		s.plan.brokers = s.kafka.addrs
		s.term.ready("Kafka", "in this process, its log in "+s.shown("kafka"), began)
	}
	if s.o.Redis == "" {
		began := time.Now()
		if s.redis, err = startRedis(s.plan.take(redisPort)); err != nil {
			return err
		}
		s.plan.redis = map[string]any{"Addrs": []string{s.redis.addr}, "Password": s.redis.password}
		s.term.ready("Redis", "in this process", began)
	}
	return ctx.Err()
}

// prepareStore migrates the store and registers the local key.
func (s *supervisor) prepareStore(ctx context.Context) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, migrateDeadline)
	defer cancel()
	c := store.Config{DSN: s.plan.dsn}
	if err := store.Migrate(ctx, c, nil); err != nil {
		return fmt.Errorf("migrate the store: %w", err)
	}
	what := "SQLite in " + s.shown("linktrail.db")
	if s.o.Postgres != "" {
		what = "PostgreSQL"
	}
	opened, err := store.Open(ctx, c)
	if err != nil {
		return err
	}
	s.key, err = localKey(ctx, opened, filepath.Join(s.o.Data, "api_key"))
	if err := errors.Join(err, opened.Close()); err != nil {
		return err
	}
	s.term.ready("store", what, began)
	return nil
}

// prepareTopics makes the click stream's topics.
func (s *supervisor) prepareTopics(ctx context.Context) error {
	began := time.Now()
	stream, err := s.plan.clickStream(s.o)
	if err != nil {
		return err
	}
	if s.kafka != nil {
		return s.kafka.makeTopics(ctx, stream)
	}
	if err := makeTopics(ctx, stream); err != nil {
		return err
	}
	s.term.ready("Kafka", s.o.Kafka, began)
	return nil
}

// startServices starts all services and returns when each has answered that it is ready.
func (s *supervisor) startServices(ctx context.Context) error {
	specs, err := s.plan.writeConfigs(s.o)
	if err != nil {
		return err
	}
	s.plan.release() // the services take the ports now
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, readyDeadline)
	defer cancel()
	for _, spec := range specs {
		c, err := newChild(spec, s)
		if err != nil {
			return err
		}
		if c.spec.name == AnalyticsConsumer && s.kafka != nil {
			c.mourn = s.expelConsumer
		}
		s.children = append(s.children, c)
	}
	// url-api comes last, as it calls analytics-rpc and would try again only after a while.
	for _, c := range slices.Backward(s.children) {
		if c.spec.name == URLAPI {
			if err := s.awaitReady(ctx, began, AnalyticsRPC); err != nil {
				return err
			}
		}
		if err := c.launch(); err != nil {
			return err
		}
	}
	if err := s.awaitReady(ctx, began, AnalyticsConsumer, URLAPI); err != nil {
		return err
	}
	return s.awaitStatistics(ctx)
}

func (s *supervisor) awaitReady(ctx context.Context, began time.Time, names ...string) error {
	for _, c := range s.children {
		if !slices.Contains(names, c.spec.name) {
			continue
		}
		if err := c.awaitReady(ctx); err != nil {
			return err
		}
		s.term.ready(c.spec.name, fmt.Sprintf("%s, pid %d", c.spec.serves, c.pid()), began)
	}
	return nil
}

// awaitStatistics returns once url-api reaches analytics-rpc, which no probe of theirs tells. Without a link there is
// nothing to ask for.
func (s *supervisor) awaitStatistics(ctx context.Context) error {
	api, err := client.New(s.plan.apiURL(), s.key)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, statisticsDeadline)
	defer cancel()
	for {
		page, err := api.Links(ctx, client.Filter{}, "", 1)
		if err == nil && len(page.Links) > 0 {
			_, err = api.Stats(ctx, page.Links[0].Code, client.StatsQuery{})
		}
		if status := client.StatusOf(err); err == nil || status != 0 && status != http.StatusServiceUnavailable {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the API at %s does not answer well: %w", s.plan.apiURL(), err)
		case <-time.After(statisticsPause):
		}
	}
}

func (s *supervisor) expelConsumer(ctx context.Context) {
	if err := s.kafka.expel(ctx); err != nil && ctx.Err() == nil {
		s.term.warn("Kafka: take the dead consumer out of its group: %v", err)
	}
}

// restarted tells readers of run.json of a service's new process, once everything answers again.
func (s *supervisor) restarted(ctx context.Context) {
	if err := s.awaitStatistics(ctx); err != nil && ctx.Err() == nil {
		s.term.warn("%v", err)
	}
	if err := s.run.write(s.children); err != nil {
		s.term.warn("run.json: %v", err)
	}
}

// end stops whatever there is.
func (s *supervisor) end() error {
	var errs []error
	started := s.run != nil
	if started {
		s.term.say("stopping; Ctrl-C again stops at once")
		s.run.close()
	}
	for _, c := range s.children {
		c.letGo()
	}
	for _, c := range s.children {
		if c.spec.name == AnalyticsConsumer && s.kafka != nil {
			s.kafka.awaitWritten(s.o.Quick)
		}
		began := time.Now()
		if err := c.stop(s.o.Quick); err != nil {
			errs = append(errs, err)
			continue
		}
		if started {
			s.term.say("%s stopped after %s", c.spec.name, shownSeconds(time.Since(began)))
		}
	}
	if s.kafka != nil {
		s.kafka.close()
	}
	if s.redis != nil {
		s.redis.close()
	}
	if s.locks != nil {
		errs = append(errs, removeRunFile(s.o.Data), s.locks.release())
	}
	err := errors.Join(errs...)
	if err == nil && started {
		s.term.say("stopped cleanly; everything is kept in %s", s.shown(""))
	}
	return err
}

// shown is a path in DATA as people would type it.
func (s *supervisor) shown(name string) string { return shownPath(filepath.Join(s.o.Data, name)) }

func shownPath(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	if relative, err := filepath.Rel(here, path); err == nil && filepath.IsLocal(relative) {
		return relative
	}
	return path
}

func shownSeconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
