package linkcache_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/zeromicro/go-zero/core/conf"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/linkcache"
)

// own returns a Config whose keys and channel no other test uses.
func own(t *testing.T) linkcache.Config {
	name := fmt.Sprintf("test:%s:%d:", t.Name(), time.Now().UnixNano())
	return linkcache.Config{KeyPrefix: name, Channel: name + "forget", RedisTimeout: 2 * time.Second}
}

func mustOpen(t *testing.T, cfg linkcache.RedisConfig, opts ...linkcache.RedisOption) redis.UniversalClient {
	t.Helper()
	rdb, err := linkcache.OpenRedis(cfg, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// run runs the cache's Run until the test ends, and waits until it follows the channel.
func run(t *testing.T, c *linkcache.Cache, registry *prometheus.Registry) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	eventually(t, "the channel is followed", func() bool { return gauge(t, registry, "linktrail_link_channel_followed") == 1 })
}

func TestRedis(t *testing.T) {
	t.Run("OK a second replica finds there what the first has read", func(t *testing.T) {
		cfg := own(t)
		rdb := mustOpen(t, linkcache.RedisConfig{Addrs: []string{testenv.Redis(t)}})
		want := testLink(42, "shared", "https://example.org/ü?a=b&c=\"d\"")
		want.RedirectStatus, want.Disabled = 308, true
		want.ExpiresAt = time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
		first := newCache(t, cfg, newSource(want), rdb)
		mustLookup(t, first, "shared")
		first.Close() // what it writes to Redis is there
		s := newSource()
		second := newCache(t, cfg, s, rdb)
		if diff := cmp.Diff(cached(want), mustLookup(t, second, "shared")); diff != "" {
			t.Errorf("link (-want +got):\n%s", diff)
		}
		if n := s.reads.Load(); n != 0 {
			t.Errorf("the store was asked %d times, want 0", n)
		}
	})

	t.Run("OK TTL is capped by the link's end, and absences are not written", func(t *testing.T) {
		cfg := own(t)
		rdb := mustOpen(t, linkcache.RedisConfig{Addrs: []string{testenv.Redis(t)}})
		short, long, over := testLink(1, "short", "https://example.org/"), testLink(2, "long", "https://example.org/"),
			testLink(3, "over", "https://example.org/")
		short.ExpiresAt = time.Now().Add(time.Minute)
		over.ExpiresAt = time.Now().Add(-time.Minute)
		c := newCache(t, cfg, newSource(short, long, over), rdb)
		for _, code := range []string{"short", "long", "over"} {
			mustLookup(t, c, code)
		}
		_, _ = c.Lookup(t.Context(), "absent")
		c.Close()
		ttl := func(code string) time.Duration { return rdb.PTTL(t.Context(), cfg.KeyPrefix+"link:"+code).Val() }
		if d := ttl("short"); d <= 50*time.Second || d > time.Minute {
			t.Errorf("TTL of a link that ends in a minute is %v", d)
		}
		if d := ttl("long"); d < 50*time.Minute || d > time.Hour {
			t.Errorf("TTL of a link without end is %v", d)
		}
		if d := ttl("over"); d <= 0 || d > 50*time.Second {
			t.Errorf("TTL of an expired link is %v", d)
		}
		if n := rdb.Exists(t.Context(), cfg.KeyPrefix+"link:absent").Val(); n != 0 {
			t.Error("an absence was written to Redis")
		}
	})

	t.Run("OK garbage is a slower path and is replaced", func(t *testing.T) {
		for name, put := range map[string]func(ctx context.Context, rdb redis.UniversalClient, key string) error{
			"text": func(ctx context.Context, rdb redis.UniversalClient, key string) error {
				return rdb.Set(ctx, key, "garbage", 0).Err()
			},
			"empty": func(ctx context.Context, rdb redis.UniversalClient, key string) error {
				return rdb.Set(ctx, key, "", 0).Err()
			},
			"another version": func(ctx context.Context, rdb redis.UniversalClient, key string) error {
				return rdb.Set(ctx, key, `{"v":99,"id":1,"c":"code","u":"https://example.org/","s":302}`, 0).Err()
			},
			"another link": func(ctx context.Context, rdb redis.UniversalClient, key string) error {
				return rdb.Set(ctx, key, `{"v":1,"id":1,"c":"other","u":"https://evil.example/","s":302}`, 0).Err()
			},
			"no web address": func(ctx context.Context, rdb redis.UniversalClient, key string) error {
				return rdb.Set(ctx, key, `{"v":1,"id":1,"c":"code","u":"javascript:alert(1)","s":302}`, 0).Err()
			},
			"not even a string": func(ctx context.Context, rdb redis.UniversalClient, key string) error {
				return rdb.LPush(ctx, key, "a", "b").Err()
			},
		} {
			t.Run(name, func(t *testing.T) {
				cfg := own(t)
				rdb := mustOpen(t, linkcache.RedisConfig{Addrs: []string{testenv.Redis(t)}})
				key := cfg.KeyPrefix + "link:code"
				if err := put(t.Context(), rdb, key); err != nil {
					t.Fatal(err)
				}
				c := newCache(t, cfg, newSource(testLink(5, "code", "https://example.org/right")), rdb)
				if l := mustLookup(t, c, "code"); l.URL != "https://example.org/right" {
					t.Errorf("got %s", l.URL)
				}
				c.Close()
				if d := rdb.PTTL(t.Context(), key).Val(); d <= 0 || d > 10*time.Second {
					t.Errorf("the garbage stays for %v", d)
				}
			})
		}
	})

	t.Run("OK an old look-up does not write to Redis what has changed since", func(t *testing.T) {
		cfg := own(t)
		cfg.StoreTimeout = time.Minute
		rdb := mustOpen(t, linkcache.RedisConfig{Addrs: []string{testenv.Redis(t)}})
		s := newSource(testLink(1, "changing", "https://example.org/old"))
		gate := make(chan struct{})
		s.hold(gate)
		slow, other := newCache(t, cfg, s, rdb), newCache(t, cfg, s, rdb)
		done := make(chan struct{})
		go func() { defer close(done); _, _ = slow.Lookup(context.Background(), "changing") }()
		eventually(t, "the old link has been read", func() bool { return s.reads.Load() == 1 })
		s.hold(nil)
		s.put(testLink(1, "changing", "https://example.org/new"))
		if err := other.Forget(t.Context(), "changing"); err != nil {
			t.Fatal(err)
		}
		close(gate)
		<-done
		slow.Close()
		if v := rdb.Get(t.Context(), cfg.KeyPrefix+"link:changing").Val(); strings.Contains(v, "old") {
			t.Errorf("Redis has %s", v)
		}
		if l := mustLookup(t, other, "changing"); l.URL != "https://example.org/new" {
			t.Errorf("got %s", l.URL)
		}
	})
}

func TestRedisAway(t *testing.T) {
	t.Run("OK nobody listens", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = ln.Close()
		lookUpAround(t, ln.Addr().String())
	})

	t.Run("OK somebody listens and never answers", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var accepted sync.WaitGroup
		accepted.Go(func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				accepted.Go(func() { _, _ = io.Copy(io.Discard, conn); _ = conn.Close() })
			}
		})
		t.Cleanup(accepted.Wait)
		t.Cleanup(func() { _ = ln.Close() })
		lookUpAround(t, ln.Addr().String())
	})
}

// lookUpAround looks 2,000 codes up while Redis does not answer. Each must be answered from the store; all together they
// must cost less than a fraction of their deadlines, which takes a breaker.
func lookUpAround(t *testing.T, addr string) {
	t.Helper()
	s := newSource()
	for i := range 2000 {
		s.put(testLink(int64(i+1), fmt.Sprintf("code-%d", i), "https://example.org/"))
	}
	registry := prometheus.NewRegistry()
	cfg := own(t)
	cfg.RedisTimeout = 50 * time.Millisecond
	c := newCache(t, cfg, s, mustOpen(t, linkcache.RedisConfig{Addrs: []string{addr}}), linkcache.WithRegisterer(registry))
	start := time.Now()
	for i := range 2000 {
		began := time.Now()
		mustLookup(t, c, fmt.Sprintf("code-%d", i))
		if d := time.Since(began); d > 20*time.Second {
			t.Errorf("look-up %d took %v", i, d)
		}
	}
	if d := time.Since(start); d > 50*time.Second {
		t.Errorf("2,000 look-ups took %v: there is no breaker", d)
	}
	if gauge(t, registry, "linktrail_link_redis_breaker_open") != 1 {
		t.Error("the breaker is not open")
	}
	if err := c.Forget(t.Context(), "code-1"); err != nil {
		t.Errorf("Forget: %v", err)
	}
}

func TestRun(t *testing.T) {
	t.Run("OK what others changed during a loss of the connection is asked for again", func(t *testing.T) {
		server := miniredis.RunT(t)
		cfg := own(t)
		cfg.TTL = time.Hour
		s := newSource(testLink(1, "changing", "https://example.org/old"))
		registry := prometheus.NewRegistry()
		c := newCache(t, cfg, s, mustOpen(t, linkcache.RedisConfig{Addrs: []string{server.Addr()}}), linkcache.WithRegisterer(registry))
		run(t, c, registry)
		mustLookup(t, c, "changing")
		eventually(t, "the link is in Redis", func() bool { return server.Exists(cfg.KeyPrefix + "link:changing") })
		server.Close()
		eventually(t, "the loss is seen", func() bool { return gauge(t, registry, "linktrail_link_channel_followed") == 0 })
		if l := mustLookup(t, c, "changing"); l.URL != "https://example.org/old" {
			t.Errorf("during the loss: %s", l.URL)
		}
		s.put(testLink(1, "changing", "https://example.org/new"))
		server.FlushAll()
		if err := server.Restart(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the new link is served", func() bool {
			return mustLookup(t, c, "changing").URL == "https://example.org/new"
		})
	})

	t.Run("OK what could not be announced is announced when Redis is back", func(t *testing.T) {
		server := miniredis.RunT(t)
		cfg := own(t)
		cfg.TTL = time.Hour
		cfg.RedisTimeout = 100 * time.Millisecond
		s := newSource(testLink(1, "changing", "https://example.org/old"))
		registry := prometheus.NewRegistry()
		rdb := mustOpen(t, linkcache.RedisConfig{Addrs: []string{server.Addr()}})
		c := newCache(t, cfg, s, rdb, linkcache.WithRegisterer(registry))
		mustLookup(t, c, "changing")
		key := cfg.KeyPrefix + "link:changing"
		eventually(t, "the link is in Redis", func() bool { return server.Exists(key) })
		run(t, c, registry)

		server.Close()
		s.put(testLink(1, "changing", "https://example.org/new"))
		if err := c.Forget(t.Context(), "changing"); err != nil {
			t.Fatal(err)
		}
		if n := gauge(t, registry, "linktrail_link_forgets_unsent"); n != 1 {
			t.Errorf("%v announcements are kept, want 1", n)
		}
		if err := server.Restart(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the old link has gone from Redis", func() bool {
			v, _ := server.Get(key)
			return !strings.Contains(v, "old") && gauge(t, registry, "linktrail_link_forgets_unsent") == 0
		})
		if l := mustLookup(t, c, "changing"); l.URL != "https://example.org/new" {
			t.Errorf("got %s", l.URL)
		}
	})

	t.Run("OK a Redis that takes no changes is not asked for what has changed", func(t *testing.T) {
		server := miniredis.RunT(t)
		cfg := own(t)
		cfg.TTL = time.Millisecond
		s := newSource(testLink(1, "changing", "https://example.org/old"))
		rdb := mustOpen(t, linkcache.RedisConfig{Addrs: []string{server.Addr()}})
		full := &noChanges{}
		rdb.AddHook(full)
		registry := prometheus.NewRegistry()
		c := newCache(t, cfg, s, rdb, linkcache.WithRegisterer(registry))
		mustLookup(t, c, "changing")
		key := cfg.KeyPrefix + "link:changing"
		eventually(t, "the link is in Redis", func() bool { return server.Exists(key) })
		run(t, c, registry)

		full.now.Store(true)
		s.put(testLink(1, "changing", "https://example.org/new"))
		if err := c.Forget(t.Context(), "changing"); err != nil {
			t.Fatal(err)
		}
		asked := s.reads.Load()
		eventually(t, "it was looked up again and again", func() bool {
			if l := mustLookup(t, c, "changing"); l.URL != "https://example.org/new" {
				t.Fatalf("got %s", l.URL)
			}
			return s.reads.Load() >= asked+20
		})
		full.now.Store(false)
		eventually(t, "the old link has gone from Redis", func() bool {
			v, _ := server.Get(key)
			return !strings.Contains(v, "old") && gauge(t, registry, "linktrail_link_forgets_unsent") == 0
		})
	})

	t.Run("OK a connection that has gone silent is given up", func(t *testing.T) {
		// The proxy stops passing anything on, as a network does that swallows packets.
		server := miniredis.RunT(t)
		proxy := newProxy(t, server.Addr())
		registry := prometheus.NewRegistry()
		c := newCache(t, own(t), newSource(), mustOpen(t, linkcache.RedisConfig{Addrs: []string{proxy.addr()}}), linkcache.WithRegisterer(registry))
		run(t, c, registry)
		proxy.swallow.Store(true)
		eventually(t, "the silence is noticed", func() bool { return gauge(t, registry, "linktrail_link_channel_followed") == 0 })
		proxy.swallow.Store(false)
		eventually(t, "the channel is followed again", func() bool { return gauge(t, registry, "linktrail_link_channel_followed") == 1 })
	})

	t.Run("OK without Redis it waits for its end", func(t *testing.T) {
		c := newCache(t, linkcache.Config{}, newSource(), nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// noChanges is a Redis whose memory is full: it answers, and takes nothing.
type noChanges struct{ now atomic.Bool }

func (n *noChanges) DialHook(next redis.DialHook) redis.DialHook { return next }

func (n *noChanges) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if n.now.Load() && cmd.Name() == "set" {
			err := errors.New("OOM command not allowed when used memory > 'maxmemory'.")
			cmd.SetErr(err)
			return err
		}
		return next(ctx, cmd)
	}
}

func (n *noChanges) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// proxy passes bytes on until it is told to swallow them.
type proxy struct {
	ln      net.Listener
	target  string
	swallow atomic.Bool
	conns   sync.WaitGroup
	mu      sync.Mutex
	open    []net.Conn
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{ln: ln, target: target}
	p.conns.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			upstream, err := net.Dial("tcp", target)
			if err != nil {
				_ = conn.Close()
				continue
			}
			p.mu.Lock()
			p.open = append(p.open, conn, upstream)
			p.mu.Unlock()
			p.conns.Go(func() { p.copy(upstream, conn) })
			p.conns.Go(func() { p.copy(conn, upstream) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		p.mu.Lock()
		for _, conn := range p.open {
			_ = conn.Close()
		}
		p.mu.Unlock()
		p.conns.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.ln.Addr().String() }

func (p *proxy) copy(dst, src net.Conn) {
	defer func() { _ = dst.Close() }()
	buf := make([]byte, 4096)
	for {
		n, err := src.Read(buf)
		if err != nil {
			return
		}
		if p.swallow.Load() {
			continue
		}
		if _, err := dst.Write(buf[:n]); err != nil {
			return
		}
	}
}

func TestSpans(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	cfg := own(t)
	rdb := mustOpen(t, linkcache.RedisConfig{Addrs: []string{testenv.Redis(t)}}, linkcache.WithTracerProvider(provider))
	registry := prometheus.NewRegistry()
	c := newCache(t, cfg, newSource(testLink(1, "secret-code", "https://example.org/secret-target")), rdb, linkcache.WithRegisterer(registry))
	run(t, c, registry)
	ctx, parent := provider.Tracer("test").Start(t.Context(), "GET /{code}")
	for range 3 {
		if _, err := c.Lookup(ctx, "secret-code"); err != nil {
			t.Fatal(err)
		}
	}
	parent.End()
	c.Close()
	var got []string
	for _, s := range recorder.Ended() {
		if s.Name() == "GET /{code}" {
			continue
		}
		got = append(got, s.Name())
		if s.Parent().SpanID() != parent.SpanContext().SpanID() || s.SpanKind() != trace.SpanKindClient {
			t.Errorf("span %q has parent %v and kind %v, want a client span below the first caller's", s.Name(), s.Parent().SpanID(), s.SpanKind())
		}
		for _, a := range s.Attributes() {
			if strings.Contains(a.Value.String(), "secret") {
				t.Errorf("span %q tells %s = %s", s.Name(), a.Key, a.Value.String())
			}
		}
	}
	if diff := cmp.Diff([]string{"get", "set"}, got); diff != "" {
		t.Errorf("spans of one miss and two hits (-want +got):\n%s", diff)
	}
}

func TestOpenRedis(t *testing.T) {
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	open := func(t *testing.T, yaml string) (redis.UniversalClient, error) {
		t.Helper()
		var cfg struct {
			Redis linkcache.RedisConfig `json:",optional"`
		}
		if err := conf.LoadFromYamlBytes([]byte(yaml), &cfg); err != nil {
			t.Fatal(err)
		}
		rdb, err := linkcache.OpenRedis(cfg.Redis)
		if rdb != nil {
			t.Cleanup(func() { _ = rdb.Close() })
		}
		return rdb, err
	}
	for name, tt := range map[string]struct{ yaml, want string }{
		"OK none":     {"Redis: {}", "<nil>"},
		"OK single":   {"Redis: {Addrs: ['127.0.0.1:1'], DB: 3, Username: u, Password: p}", "*redis.Client"},
		"OK sentinel": {"Redis: {Addrs: ['127.0.0.1:1', '127.0.0.1:2'], MasterName: main, SentinelPassword: p}", "*redis.Client"},
		"OK cluster":  {"Redis: {Addrs: ['127.0.0.1:1', '127.0.0.1:2']}", "*redis.ClusterClient"},
		"OK one seed": {"Redis: {Addrs: ['127.0.0.1:1'], Cluster: true}", "*redis.ClusterClient"},
		"OK TLS":      {"Redis: {Addrs: ['127.0.0.1:1'], TLS: {Enabled: true, ServerName: redis}}", "*redis.Client"},
		"OK file":     {"Redis: {Addrs: ['127.0.0.1:1'], PasswordFile: '" + password + "'}", "*redis.Client"},
	} {
		t.Run(name, func(t *testing.T) {
			rdb, err := open(t, tt.yaml)
			if got := fmt.Sprintf("%T", rdb); err != nil || got != tt.want {
				t.Errorf("got %s, %v, want %s", got, err, tt.want)
			}
		})
	}
	for name, tt := range map[string]struct{ yaml, want string }{
		"Err cluster with a database": {"Redis: {Addrs: ['a:1', 'b:1'], DB: 1}", "Redis.DB"},
		"Err cluster and sentinel":    {"Redis: {Addrs: ['a:1'], Cluster: true, MasterName: m}", "Redis.Cluster"},
		"Err two passwords":           {"Redis: {Addrs: ['a:1'], Password: p, PasswordFile: f}", "Redis.PasswordFile"},
		"Err no such file":            {"Redis: {Addrs: ['a:1'], PasswordFile: /nowhere/at/all}", "Redis.PasswordFile"},
		"Err no authority":            {"Redis: {Addrs: ['a:1'], TLS: {Enabled: true, CAFile: '" + password + "'}}", "Redis.TLS.CAFile"},
		"Err half a certificate":      {"Redis: {Addrs: ['a:1'], TLS: {Enabled: true, CertFile: f}}", "Redis.TLS.CertFile"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := open(t, tt.yaml); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want one that names %s", err, tt.want)
			}
		})
	}
	t.Run("OK the password's file is read at every connection", func(t *testing.T) {
		server := miniredis.RunT(t)
		server.RequireAuth("changed")
		rdb, err := open(t, "Redis: {Addrs: ['"+server.Addr()+"'], PasswordFile: '"+password+"'}")
		if err != nil {
			t.Fatal(err)
		}
		if err := rdb.Ping(t.Context()).Err(); err == nil {
			t.Error("the wrong password was taken")
		}
		if err := os.WriteFile(password, []byte("changed\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := rdb.Ping(t.Context()).Err(); err != nil {
			t.Errorf("with the new password: %v", err)
		}
	})
}
