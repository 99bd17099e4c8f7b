//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	franz "github.com/twmb/franz-go/pkg/kgo"
	"sigs.k8s.io/yaml"

	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/hack/testenv/process"
	"github.com/linktrail/linktrail/hack/testenv/scrape"
	"github.com/linktrail/linktrail/hack/testenv/server"
	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/driver"
	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/store"
)

// links is how many links are asked for, in turn: few enough that all stay in the caches.
const links = 200

// The servers, by the names that package server has for them.
const (
	kafka    = "kafka"
	redis    = "redis"
	postgres = "postgres"
)

// system is the servers, the services and the links of one trial.
type system struct {
	dir, binaries string
	driver        string
	session       *server.Session
	dsn           string
	redis         string
	brokers       []string
	topic         string // the consumer group's name too
	kafkaProxy    string
	client        *franz.Client
	admin         *kadm.Client
	links         []link.Link

	urlAPI, rpc, consumer *service
	more                  []*service // further consumers
	stream                map[string]any
	door, api             string
	proxy                 *proxy
	undo                  []func() error
}

// settings are what a fault changes in a system.
type settings struct {
	journal  map[string]any // keys of url-api's journal
	queue    int            // the publisher's Queue; 0 is the default
	session  time.Duration  // the consumer's SessionTimeout; 0 is the default
	proxied  string         // the server that is reached through a proxy
	prepared func(*system) error
}

// newSystem starts servers of its own and the services, and makes the links. close ends it, also when newSystem has failed.
func newSystem(ctx context.Context, binaries, streamDriver string, set settings) (_ *system, err error) {
	s := &system{binaries: binaries, driver: streamDriver, topic: "click-events"}
	if s.dir, err = os.MkdirTemp("", "linktrail-chaos-"); err != nil {
		return s, err
	}
	if s.kafkaProxy, err = process.FreeAddr(); err != nil {
		return s, err
	}
	if s.session, err = server.Start(ctx, server.Options{
		Only: []string{postgres, redis, kafka}, Own: true, Durable: true, KafkaProxy: s.kafkaProxy,
	}); err != nil {
		return s, err
	}
	env := make(map[string]string)
	for _, variable := range s.session.Env() {
		name, value, _ := strings.Cut(variable, "=")
		env[name] = value
	}
	s.dsn, s.redis, s.brokers = env[testenv.EnvPostgres], env[testenv.EnvRedis], []string{env[testenv.EnvKafka]}
	if s.client, err = franz.NewClient(franz.SeedBrokers(s.brokers...)); err != nil {
		return s, err
	}
	s.admin = kadm.NewClient(s.client)
	if err = s.makeLinks(ctx); err != nil {
		return s, err
	}
	if err = makeTopics(ctx, s); err != nil {
		return s, err
	}
	if set.prepared != nil {
		if err = set.prepared(s); err != nil {
			return s, err
		}
	}
	return s, s.startServices(ctx, set)
}

// close ends and removes all that the system has started and made.
func (s *system) close() error {
	var errs []error
	for _, v := range append(s.more, s.urlAPI, s.rpc, s.consumer) {
		if v != nil && v.Process != nil && v.Alive() == nil {
			errs = append(errs, v.Kill()) // what it would still do is no part of the trial
		}
	}
	if s.proxy != nil {
		s.proxy.stop()
	}
	if s.client != nil {
		s.client.Close()
	}
	if s.session != nil {
		errs = append(errs, s.session.Stop())
	}
	for _, undo := range s.undo {
		errs = append(errs, undo())
	}
	if s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}

func makeTopics(ctx context.Context, s *system) error {
	c := clickstream.Config{Brokers: s.brokers, Topic: s.topic}.WithDefaults()
	return driver.MakeTopics(ctx, c, 12, 1)
}

// makeLinks migrates the database and makes the links.
func (s *system) makeLinks(ctx context.Context) error {
	c := store.Config{DSN: s.dsn, MaxConns: 4, ConnectTimeout: 10 * time.Second}
	if err := store.Migrate(ctx, c, nil); err != nil {
		return err
	}
	opened, err := store.Open(ctx, c)
	if err != nil {
		return err
	}
	for i := range links {
		l, err := opened.CreateLink(ctx, link.Link{
			Code: fmt.Sprintf("chaos%03d", i), URL: fmt.Sprintf("https://www.example.org/articles/%03d", i), RedirectStatus: 302,
		})
		if err != nil {
			return errors.Join(err, opened.Close())
		}
		s.links = append(s.links, l)
	}
	return opened.Close()
}

// service is one of linktrail's, as a process of its own that starts at the same addresses each time.
type service struct {
	*process.Process
	name, binary, file, ops string
}

// startServices writes the configurations and starts the services.
func (s *system) startServices(ctx context.Context, set settings) (err error) {
	var rpc string
	for _, addr := range []*string{&s.door, &s.api, &rpc} {
		if *addr, err = process.FreeAddr(); err != nil {
			return err
		}
	}
	brokers, cache := s.brokers, s.redis
	switch set.proxied {
	case kafka:
		brokers = []string{s.kafkaProxy}
		s.proxy = &proxy{name: kafka, listen: s.kafkaProxy, upstream: s.session.KafkaBehind()}
	case redis:
		if cache, err = process.FreeAddr(); err != nil {
			return err
		}
		s.proxy = &proxy{name: redis, listen: cache, upstream: s.redis}
	}
	if s.proxy != nil {
		if err = s.proxy.start(); err != nil {
			return err
		}
	}
	stream := map[string]any{"Driver": s.driver, "Brokers": brokers, "Topic": s.topic, "Group": s.topic}
	if set.session > 0 {
		stream["SessionTimeout"] = set.session.String()
	}
	if set.queue > 0 {
		stream["Queue"] = set.queue
	}
	s.stream = stream
	host, port, _ := net.SplitHostPort(s.api)
	journal := map[string]any{"Dir": s.journal()}
	for key, value := range set.journal {
		journal[key] = value
	}
	if s.rpc, err = s.service("analytics-rpc", map[string]any{"ListenOn": rpc}); err != nil {
		return err
	}
	if s.consumer, err = s.service("analytics-consumer", map[string]any{"ClickStream": stream}); err != nil {
		return err
	}
	if s.urlAPI, err = s.service("url-api", map[string]any{
		"Host": host, "Port": json.Number(port), "PublicURL": "http://s.example", "Middlewares": map[string]any{"Log": false},
		// Nothing is shed: that a machine is busy with other things is none of the faults.
		"Door":        map[string]any{"Addr": s.door, "Shed": map[string]any{"Target": "0s"}},
		"Redis":       map[string]any{"Addrs": []string{cache}},
		"ClickStream": stream, "Journal": journal,
		"Analytics": map[string]any{"Endpoints": []string{rpc}, "NonBlock": true},
	}); err != nil {
		return err
	}
	for _, v := range []*service{s.rpc, s.consumer, s.urlAPI} {
		if err := v.start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// anotherConsumer starts one more, which is not waited for.
func (s *system) anotherConsumer() (*service, error) {
	v, err := s.service("analytics-consumer", map[string]any{"ClickStream": s.stream})
	if err != nil {
		return nil, err
	}
	s.more = append(s.more, v)
	return v, v.begin()
}

func (s *system) journal() string { return filepath.Join(s.dir, "journal") }

// service writes the configuration of a service.
func (s *system) service(name string, config map[string]any) (*service, error) {
	v := &service{name: name, binary: filepath.Join(s.binaries, name)}
	var err error
	if v.ops, err = process.FreeAddr(); err != nil {
		return nil, err
	}
	config["Name"] = name
	config["Log"] = map[string]any{"Level": "info", "Stat": false}
	config["Store"] = map[string]any{"DSN": s.dsn}
	config["Telemetry"] = map[string]any{"Sampler": 0.01}
	config["Ops"] = map[string]any{"Addr": v.ops}
	text, err := yaml.Marshal(config)
	if err != nil {
		return nil, err
	}
	v.file = filepath.Join(s.dir, fmt.Sprintf("%s-%s.yaml", name, v.ops[strings.LastIndexByte(v.ops, ':')+1:]))
	return v, os.WriteFile(v.file, text, 0o600)
}

// begin starts the process and does not wait.
func (v *service) begin() (err error) {
	v.Process, err = process.Start(v.name, nil, v.binary, "-f", v.file)
	return err
}

// readyWithin is how long a service may take until it is ready. A consumer waits for the session of one that could not take
// leave, because Kafka was ended with it; and that begins anew when Kafka does.
const readyWithin = 3 * time.Minute

// start starts the process and waits until it is ready.
func (v *service) start(ctx context.Context) error {
	if err := v.begin(); err != nil {
		return err
	}
	ready := process.Answers("http://" + v.ops + "/readyz")
	err := until(ctx, readyWithin, v.name+" is ready", func() bool { return v.Alive() != nil || ready() == nil })
	if dead := v.Alive(); dead != nil {
		return dead
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, v.Log())
	}
	return nil
}

var scraper = &http.Client{Timeout: 5 * time.Second}

func (v *service) metrics(ctx context.Context) (scrape.Metrics, error) {
	return scrape.Get(ctx, scraper, "http://"+v.ops+"/metrics")
}

// metric is a figure of the service, and 0 while it does not answer.
func (v *service) metric(ctx context.Context, name string) float64 {
	m, err := v.metrics(ctx)
	if err != nil {
		return 0
	}
	return m.Sum(name)
}

// build compiles the services into a folder, with more flags for the compiler than usual.
func build(ctx context.Context, dir string, flags ...string) error {
	args := append([]string{"build", "-buildvcs=false", "-trimpath", "-tags=no_k8s", "-o", dir + string(filepath.Separator)}, flags...)
	for _, app := range []string{"url-api", "analytics-rpc", "analytics-consumer"} {
		args = append(args, "github.com/linktrail/linktrail/apps/"+app)
	}
	out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}
