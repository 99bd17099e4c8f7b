//go:build linux

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	franz "github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/yaml"

	"github.com/linktrail/linktrail/hack/bench/bare"
	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/hack/testenv/process"
	"github.com/linktrail/linktrail/hack/testenv/server"
	"github.com/linktrail/linktrail/internal/apikey"
	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/store"
)

// The links that are asked for.
const (
	links = 10000
	seed  = 20260701
)

// system is the servers and the links that all measurements share.
type system struct {
	dir     string
	binary  string
	session *server.Session
	dsn     string
	drop    func() // the database
	redis   string
	brokers []string
	kafka   *franz.Client
	admin   *kadm.Client
	sink    *process.Process
	otlp    string // where spans go
	spans   string // where the sink tells how many have come
	store   store.Store
	token   string

	links   []link.Link
	targets bare.Targets
	topics  int
}

// newSystem starts the servers and makes the links. close ends it, also when newSystem has failed.
func newSystem(ctx context.Context, o options) (*system, error) {
	s := &system{binary: o.binary}
	var err error
	if s.dir, err = os.MkdirTemp("", "linktrail-bench-"); err != nil {
		return s, err
	}
	if s.session, err = server.Start(ctx, server.Options{Only: []string{"postgres", "redis", "kafka"}, Progress: os.Stderr}); err != nil {
		return s, err
	}
	env := make(map[string]string)
	for _, variable := range s.session.Env() {
		name, value, _ := strings.Cut(variable, "=")
		env[name] = value
	}
	address := func(name string) string { return cmp.Or(env[name], os.Getenv(name)) }
	s.redis, s.brokers = address(testenv.EnvRedis), strings.Split(address(testenv.EnvKafka), ",")
	if err = s.makeDatabase(ctx, address(testenv.EnvPostgres)); err != nil {
		return s, err
	}
	if s.kafka, err = franz.NewClient(franz.SeedBrokers(s.brokers...)); err != nil {
		return s, err
	}
	s.admin = kadm.NewClient(s.kafka)
	if err = s.makeLinks(ctx); err != nil {
		return s, err
	}
	return s, s.startSink(ctx)
}

// close ends and removes all that the system has started and made.
func (s *system) close() error {
	var errs []error
	if s.sink != nil {
		errs = append(errs, s.sink.Stop())
	}
	if s.kafka != nil {
		s.kafka.Close()
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	if s.drop != nil {
		s.drop()
	}
	if s.session != nil {
		errs = append(errs, s.session.Stop())
	}
	if s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}

// makeDatabase makes a database of its own on a PostgreSQL, and in it a key with all scopes.
func (s *system) makeDatabase(ctx context.Context, admin string) error {
	name := fmt.Sprintf("linktrail_bench_%d", os.Getpid())
	config, err := pgx.ParseConfig(admin)
	if err != nil {
		return err
	}
	execute := func(statement string) error {
		// The last of them comes when ctx has ended.
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		conn, err := pgx.ConnectConfig(bounded, config)
		if err != nil {
			return err
		}
		_, err = conn.Exec(bounded, statement)
		return errors.Join(err, conn.Close(bounded))
	}
	if err := execute("CREATE DATABASE " + name); err != nil {
		return err
	}
	s.drop = func() { _ = execute("DROP DATABASE IF EXISTS " + name + " WITH (FORCE)") }
	s.dsn = fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", config.User, config.Password,
		net.JoinHostPort(config.Host, fmt.Sprint(config.Port)), name)
	c := store.Config{DSN: s.dsn, MaxConns: 8, ConnectTimeout: 10 * time.Second}
	if err := store.Migrate(ctx, c, nil); err != nil {
		return err
	}
	if s.store, err = store.Open(ctx, c); err != nil {
		return err
	}
	key, token, err := apikey.New("bench", []apikey.Scope{apikey.ScopeLinksRead, apikey.ScopeLinksWrite, apikey.ScopeStatsRead}, time.Now())
	if err != nil {
		return err
	}
	s.token = token
	return s.store.CreateKey(ctx, key)
}

// makeLinks makes the links, the same ones each time, and a file of them for the bare servers.
func (s *system) makeLinks(ctx context.Context) error {
	random := rand.NewChaCha8([32]byte{0: 1, 1: seed % 251})
	s.links, s.targets = make([]link.Link, links), make(bare.Targets, links)
	for i := range s.links {
		code, err := link.NewCode(random)
		if err != nil {
			return err
		}
		s.links[i] = link.Link{Code: code, URL: fmt.Sprintf("https://www.example.org/articles/2026/07/what-people-read-%05d?utm_source=short", i), RedirectStatus: 302}
		s.targets[code] = s.links[i].URL
	}
	making, ctx := errgroup.WithContext(ctx)
	making.SetLimit(8)
	for i := range s.links {
		making.Go(func() (err error) {
			s.links[i], err = s.store.CreateLink(ctx, s.links[i])
			return err
		})
	}
	if err := making.Wait(); err != nil {
		return err
	}
	file, err := os.Create(s.targetsFile())
	if err != nil {
		return err
	}
	return errors.Join(s.targets.Write(file), file.Close())
}

func (s *system) targetsFile() string { return filepath.Join(s.dir, "targets.tsv") }

// readClicks is how many clicks the statistics that are asked for were made of, and of how many links.
const (
	readClicks = 100000
	readLinks  = 100
)

// writeClicks puts clicks of the last thirty days into the store, so that there are statistics to ask for.
func (s *system) writeClicks(ctx context.Context, now time.Time) error {
	random := rand.New(rand.NewPCG(seed, 2))
	agents := []string{
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
	}
	countries := []string{"CH", "DE", "FR", "IT", "US", "JP"}
	batch := make([]click.Click, 0, 2000)
	for i := range readClicks {
		at := now.Add(-time.Duration(random.Int64N(int64(30 * 24 * time.Hour)))).UTC().Truncate(time.Microsecond)
		l := s.links[i%readLinks]
		batch = append(batch, click.Click{
			ID: click.NewID(at), LinkID: l.ID, Code: l.Code, Time: at, UserAgent: agents[random.IntN(len(agents))],
			Referrer: fmt.Sprintf("https://site-%d.example/", random.IntN(50)), Country: countries[random.IntN(len(countries))],
		})
		if len(batch) == cap(batch) || i == readClicks-1 {
			if _, err := s.store.WriteClicks(ctx, batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	return nil
}

// startSink starts the collector that spans go to.
func (s *system) startSink(ctx context.Context) error {
	var err error
	if s.otlp, err = process.FreeAddr(); err != nil {
		return err
	}
	if s.spans, err = process.FreeAddr(); err != nil {
		return err
	}
	if s.sink, err = startSelf("sink", "-addr", s.otlp, "-counts", s.spans); err != nil {
		return err
	}
	return s.sink.Await(ctx, process.Answers("http://"+s.spans))
}

// startSelf starts one of this program's own servers.
func startSelf(name string, args ...string) (*process.Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return process.Start(name, nil, self, append([]string{"serve", name}, args...)...)
}

// newTopic makes a topic of clicks and returns its name.
func (s *system) newTopic(ctx context.Context) (string, error) {
	s.topics++
	name := fmt.Sprintf("click-events-bench-%d-%d", os.Getpid(), s.topics)
	out, err := exec.CommandContext(ctx, s.binary, "migrate", "--store", s.dsn, "--kafka", strings.Join(s.brokers, ","), "--topic", name).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("linktrail migrate: %w\n%s", err, out)
	}
	return name, nil
}

// records is how many records a topic holds.
func (s *system) records(ctx context.Context, topic string) (n int64, err error) {
	ends, err := s.admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return 0, err
	}
	ends.Each(func(o kadm.ListedOffset) {
		err = errors.Join(err, o.Err)
		n += o.Offset
	})
	return n, err
}

// service is one of linktrail's, running as a process of its own.
type service struct {
	*process.Process
	ops   string
	topic string
	door  string
	api   string
}

// startURLAPI starts url-api; change alters its configuration, which is the usual one but for addresses.
func (s *system) startURLAPI(ctx context.Context, name, binary string, change func(map[string]any)) (*service, error) {
	v := &service{}
	var err error
	if v.topic, err = s.newTopic(ctx); err != nil {
		return nil, err
	}
	var rpc string
	for _, addr := range []*string{&v.door, &v.api, &rpc} {
		if *addr, err = process.FreeAddr(); err != nil {
			return nil, err
		}
	}
	host, port, _ := net.SplitHostPort(v.api)
	config := map[string]any{
		"Name": "url-api", "Host": host, "Port": json.Number(port), "PublicURL": "http://s.example",
		"Log":         map[string]any{"Level": "error", "Stat": false},
		"Middlewares": map[string]any{"Log": false},
		"Door":        map[string]any{"Addr": v.door},
		"Store":       map[string]any{"DSN": s.dsn},
		"Redis":       map[string]any{"Addrs": []string{s.redis}},
		"LinkCache":   map[string]any{"KeyPrefix": v.topic + ":", "Channel": v.topic},
		"ClickStream": map[string]any{"Driver": "kgo", "Brokers": s.brokers, "Topic": v.topic},
		"Journal":     map[string]any{"Dir": filepath.Join(s.dir, v.topic)},
		"Analytics":   map[string]any{"Endpoints": []string{rpc}, "NonBlock": true},
		"Telemetry":   map[string]any{"Endpoint": s.otlp, "Batcher": "otlpgrpc", "Sampler": 0.01},
	}
	change(config)
	return v, s.startService(ctx, v, binary, "url-api", name, config)
}

// startAnalytics starts analytics-rpc and returns it with its address.
func (s *system) startAnalytics(ctx context.Context) (*service, string, error) {
	addr, err := process.FreeAddr()
	if err != nil {
		return nil, "", err
	}
	v := &service{}
	return v, addr, s.startService(ctx, v, s.binary, "analytics-rpc", "analytics-rpc", map[string]any{
		"Name": "analytics-rpc", "ListenOn": addr, "CpuThreshold": 0, "Middlewares": map[string]any{"Stat": false},
		"Log":       map[string]any{"Level": "error", "Stat": false},
		"Store":     map[string]any{"DSN": s.dsn},
		"Telemetry": map[string]any{"Endpoint": s.otlp, "Batcher": "otlpgrpc", "Sampler": 0.01},
	})
}

// startService writes a service's configuration, starts it and waits until it is ready.
func (s *system) startService(ctx context.Context, v *service, binary, app, name string, config map[string]any) (err error) {
	if v.ops, err = process.FreeAddr(); err != nil {
		return err
	}
	config["Ops"] = map[string]any{"Addr": v.ops, "Pprof": true}
	text, err := yaml.Marshal(config)
	if err != nil {
		return err
	}
	file := filepath.Join(s.dir, strings.ReplaceAll(name, " ", "-")+".yaml")
	if err = os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	if v.Process, err = process.Start(name, nil, binary, "service", app, "--config", file); err != nil {
		return err
	}
	if err = v.Await(ctx, process.Answers("http://"+v.ops+"/readyz")); err != nil {
		return errors.Join(err, v.Stop())
	}
	return nil
}
