package linkcache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/linkcache"
)

// source is a store in memory that can be held up, and be away.
type source struct {
	mu    sync.Mutex
	links map[string]link.Link
	away  error
	// gate, if set, is waited for after a link was read and before it is returned.
	gate    chan struct{}
	reads   atomic.Int64
	now     atomic.Int64
	highest atomic.Int64
}

func newSource(links ...link.Link) *source {
	s := &source{links: make(map[string]link.Link)}
	for _, l := range links {
		s.links[l.Code] = l
	}
	return s
}

func (s *source) LinkByCode(ctx context.Context, code string) (link.Link, error) {
	s.reads.Add(1)
	now := s.now.Add(1)
	defer s.now.Add(-1)
	for old := s.highest.Load(); now > old && !s.highest.CompareAndSwap(old, now); old = s.highest.Load() {
	}
	s.mu.Lock()
	l, ok := s.links[code]
	away, gate := s.away, s.gate
	s.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return link.Link{}, ctx.Err()
		}
	}
	switch {
	case away != nil:
		return link.Link{}, away
	case !ok:
		return link.Link{}, link.NotFound(code)
	default:
		return l, nil
	}
}

func (s *source) put(l link.Link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.links[l.Code] = l
}

func (s *source) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = err
}

func (s *source) hold(gate chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gate = gate
}

var errAway = errors.New("connection refused")

func testLink(id int64, code, url string) link.Link {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	return link.Link{
		ID: id, Code: code, URL: url, Title: "a title", Tags: []string{"a", "b"}, RedirectStatus: 302,
		CreatedAt: at, UpdatedAt: at,
	}
}

// cached is what the cache keeps of a link.
func cached(l link.Link) link.Link {
	l.Title, l.Tags = "", nil
	return l
}

// clock is a clock that a test moves.
type clock struct{ nanos atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.nanos.Store(time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) Now() time.Time          { return time.Unix(0, c.nanos.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.nanos.Add(int64(d)) }

func newCache(t *testing.T, cfg linkcache.Config, s linkcache.Source, rdb redis.UniversalClient, opts ...linkcache.Option) *linkcache.Cache {
	t.Helper()
	c := linkcache.New(cfg, s, rdb, opts...)
	t.Cleanup(c.Close)
	return c
}

func mustLookup(t *testing.T, c *linkcache.Cache, code string) link.Link {
	t.Helper()
	l, err := c.Lookup(t.Context(), code)
	if err != nil {
		t.Fatalf("Lookup(%q): %v", code, err)
	}
	return l
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func TestLookup(t *testing.T) {
	t.Run("OK from the store once, then from the process", func(t *testing.T) {
		want := testLink(7, "abcdefg", "https://example.org/a")
		s := newSource(want)
		c := newCache(t, linkcache.Config{}, s, nil)
		if _, ok := c.Peek("abcdefg"); ok {
			t.Error("Peek knew a link that nobody has asked for")
		}
		for range 3 {
			if diff := cmp.Diff(cached(want), mustLookup(t, c, "abcdefg")); diff != "" {
				t.Fatalf("link (-want +got):\n%s", diff)
			}
		}
		entry, ok := c.Peek("abcdefg")
		if !ok || !entry.Found || entry.Link.URL != want.URL {
			t.Errorf("Peek = %+v, %v", entry, ok)
		}
		if n := s.reads.Load(); n != 1 {
			t.Errorf("the store was asked %d times, want 1", n)
		}
	})

	t.Run("OK not found is kept, and until its TTL only", func(t *testing.T) {
		s, now := newSource(), newClock()
		c := newCache(t, linkcache.Config{NegativeTTL: 3 * time.Second}, s, nil, linkcache.WithClock(now.Now))
		for range 5 {
			if _, err := c.Lookup(t.Context(), "nothing"); link.KindOf(err) != link.KindNotFound {
				t.Fatalf("error = %v, want kind not_found", err)
			}
		}
		if entry, ok := c.Peek("nothing"); !ok || entry.Found {
			t.Errorf("Peek = %+v, %v, want a known absence", entry, ok)
		}
		if n := s.reads.Load(); n != 1 {
			t.Errorf("the store was asked %d times, want 1", n)
		}
		s.put(testLink(1, "nothing", "https://example.org/"))
		now.advance(3 * time.Second)
		mustLookup(t, c, "nothing")
	})

	t.Run("OK a link's expiry caps its TTL", func(t *testing.T) {
		now := newClock()
		l := testLink(1, "expires", "https://example.org/")
		l.ExpiresAt = now.Now().Add(time.Second)
		s := newSource(l)
		c := newCache(t, linkcache.Config{TTL: time.Minute}, s, nil, linkcache.WithClock(now.Now))
		mustLookup(t, c, "expires")
		now.advance(time.Second - time.Nanosecond)
		if _, ok := c.Peek("expires"); !ok {
			t.Error("forgotten before the link's end")
		}
		now.advance(time.Nanosecond)
		if _, ok := c.Peek("expires"); ok {
			t.Error("still known at the link's end")
		}
		// From then on it is known as expired, for the TTL of what is not there.
		mustLookup(t, c, "expires")
		if entry, ok := c.Peek("expires"); !ok || !entry.Link.Expired(now.Now()) {
			t.Errorf("Peek = %+v, %v, want the expired link", entry, ok)
		}
	})

	t.Run("OK ten thousand callers, one look-up", func(t *testing.T) {
		s := newSource(testLink(1, "popular", "https://example.org/"))
		gate := make(chan struct{})
		s.hold(gate)
		registry := prometheus.NewRegistry()
		c := newCache(t, linkcache.Config{StoreTimeout: time.Minute}, s, nil, linkcache.WithRegisterer(registry))
		const callers = 10_000
		var arrived, failed atomic.Int64
		var all sync.WaitGroup
		for range callers {
			all.Go(func() {
				arrived.Add(1)
				if l, err := c.Lookup(context.Background(), "popular"); err != nil || l.ID != 1 {
					failed.Add(1)
				}
			})
		}
		eventually(t, "all callers are there", func() bool { return arrived.Load() == callers && s.reads.Load() == 1 })
		close(gate)
		all.Wait()
		if failed.Load() > 0 || s.reads.Load() != 1 {
			t.Errorf("%d callers failed, the store was asked %d times, want 0 and 1", failed.Load(), s.reads.Load())
		}
	})

	t.Run("OK the first caller leaves and the others are answered", func(t *testing.T) {
		s := newSource(testLink(1, "patient", "https://example.org/"))
		gate := make(chan struct{})
		s.hold(gate)
		c := newCache(t, linkcache.Config{StoreTimeout: time.Minute}, s, nil)
		ctx, leave := context.WithCancel(t.Context())
		first := make(chan error, 1)
		go func() { _, err := c.Lookup(ctx, "patient"); first <- err }()
		eventually(t, "the store is asked", func() bool { return s.reads.Load() == 1 })
		others := make(chan error, 10)
		for range cap(others) {
			go func() { _, err := c.Lookup(context.Background(), "patient"); others <- err }()
		}
		leave()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("first caller: %v, want its own end", err)
		}
		close(gate)
		for range cap(others) {
			if err := <-others; err != nil {
				t.Errorf("another caller: %v", err)
			}
		}
		if n := s.reads.Load(); n != 1 {
			t.Errorf("the store was asked %d times, want 1", n)
		}
	})

	t.Run("OK the store is asked by so many at once and no more", func(t *testing.T) {
		s := newSource()
		gate := make(chan struct{})
		s.hold(gate)
		c := newCache(t, linkcache.Config{StoreConcurrency: 4, StoreTimeout: time.Hour}, s, nil)
		var all sync.WaitGroup
		for i := range 100 {
			code := fmt.Sprintf("code-%d", i)
			if i%2 == 0 {
				_ = c.Forget(t.Context(), code) // known to be one
			}
			all.Go(func() { _, _ = c.Lookup(context.Background(), code) })
		}
		eventually(t, "four are with the store", func() bool { return s.now.Load() == 4 })
		close(gate)
		all.Wait()
		if n := s.highest.Load(); n != 4 {
			t.Errorf("%d look-ups were with the store at once, want 4", n)
		}
	})

	t.Run("Err too many codes at once", func(t *testing.T) {
		s := newSource()
		gate := make(chan struct{})
		s.hold(gate)
		c := newCache(t, linkcache.Config{Flights: 1, StoreTimeout: time.Minute}, s, nil)
		done := make(chan struct{})
		go func() { defer close(done); _, _ = c.Lookup(context.Background(), "first") }()
		eventually(t, "the first is with the store", func() bool { return s.now.Load() == 1 })
		if _, err := c.Lookup(t.Context(), "second"); link.KindOf(err) != link.KindUnavailable {
			t.Errorf("error = %v, want kind unavailable", err)
		}
		close(gate)
		<-done
	})

	t.Run("Err a fault in the source is no end of the process", func(t *testing.T) {
		c := newCache(t, linkcache.Config{}, panicking{}, nil)
		if _, err := c.Lookup(t.Context(), "any"); link.KindOf(err) != link.KindInternal {
			t.Errorf("error = %v, want kind internal", err)
		}
	})

	t.Run("Err closed", func(t *testing.T) {
		c := linkcache.New(linkcache.Config{}, newSource(), nil)
		c.Close()
		if _, err := c.Lookup(t.Context(), "any"); link.KindOf(err) != link.KindUnavailable {
			t.Errorf("error = %v, want kind unavailable", err)
		}
	})
}

type panicking struct{}

func (panicking) LinkByCode(context.Context, string) (link.Link, error) { panic("a fault") }

func TestStoreAway(t *testing.T) {
	t.Run("OK what is cached is served for the grace", func(t *testing.T) {
		s, now := newSource(testLink(1, "kept", "https://example.org/")), newClock()
		c := newCache(t, linkcache.Config{TTL: 5 * time.Second, Grace: time.Minute}, s, nil, linkcache.WithClock(now.Now))
		mustLookup(t, c, "kept")
		s.fail(errAway)
		now.advance(30 * time.Second)
		if l := mustLookup(t, c, "kept"); l.ID != 1 {
			t.Errorf("got %+v", l)
		}
		now.advance(time.Minute)
		if _, err := c.Lookup(t.Context(), "kept"); link.KindOf(err) != link.KindUnavailable {
			t.Errorf("beyond the grace: error = %v, want kind unavailable", err)
		}
	})

	t.Run("OK the grace ends with the link", func(t *testing.T) {
		now := newClock()
		l := testLink(1, "expires", "https://example.org/")
		l.ExpiresAt = now.Now().Add(10 * time.Second)
		s := newSource(l)
		c := newCache(t, linkcache.Config{TTL: 5 * time.Second, Grace: time.Hour}, s, nil, linkcache.WithClock(now.Now))
		mustLookup(t, c, "expires")
		s.fail(errAway)
		now.advance(10 * time.Second)
		if _, err := c.Lookup(t.Context(), "expires"); link.KindOf(err) != link.KindUnavailable {
			t.Errorf("error = %v, want kind unavailable", err)
		}
	})

	t.Run("OK an absence has no grace", func(t *testing.T) {
		s, now := newSource(), newClock()
		c := newCache(t, linkcache.Config{}, s, nil, linkcache.WithClock(now.Now))
		_, _ = c.Lookup(t.Context(), "absent")
		s.fail(errAway)
		now.advance(6 * time.Second)
		if _, err := c.Lookup(t.Context(), "absent"); link.KindOf(err) != link.KindUnavailable {
			t.Errorf("error = %v, want kind unavailable", err)
		}
	})

	t.Run("Err and nothing of it is told to people", func(t *testing.T) {
		s := newSource()
		s.fail(errAway)
		registry := prometheus.NewRegistry()
		c := newCache(t, linkcache.Config{}, s, nil, linkcache.WithRegisterer(registry))
		// The breaker spares a store that is away: not all of these reach it.
		for i := range 50 {
			_, err := c.Lookup(t.Context(), fmt.Sprintf("code-%d", i))
			told, ok := errors.AsType[*link.Error](err)
			if !ok || told.Kind != link.KindUnavailable {
				t.Fatalf("error = %v, want a *link.Error of kind unavailable", err)
			}
			if told.Error() == errAway.Error() {
				t.Errorf("told %q", told.Error())
			}
		}
		if n := s.reads.Load(); n >= 50 {
			t.Errorf("the store was asked %d times while it was away", n)
		}
		if n, err := testutil.GatherAndCount(registry, "linktrail_link_lookups_total"); err != nil || n != 6 {
			t.Errorf("linktrail_link_lookups_total has %d series (%v), want 6", n, err)
		}
	})

	t.Run("Err a store that hangs has its deadline", func(t *testing.T) {
		s := newSource()
		s.hold(make(chan struct{}))
		c := newCache(t, linkcache.Config{StoreTimeout: 20 * time.Millisecond}, s, nil)
		if _, err := c.Lookup(t.Context(), "any"); link.KindOf(err) != link.KindUnavailable {
			t.Errorf("error = %v, want kind unavailable", err)
		}
	})
}

func TestForgetWhileLookedUp(t *testing.T) {
	s := newSource(testLink(1, "changing", "https://example.org/old"))
	gate := make(chan struct{})
	s.hold(gate)
	c := newCache(t, linkcache.Config{TTL: time.Hour, StoreTimeout: time.Minute}, s, nil)
	early := make(chan string, 1)
	go func() {
		l, err := c.Lookup(context.Background(), "changing")
		early <- fmt.Sprint(l.URL, err)
	}()
	eventually(t, "the old link has been read", func() bool { return s.reads.Load() == 1 })

	s.hold(nil)
	s.put(testLink(1, "changing", "https://example.org/new"))
	if err := c.Forget(t.Context(), "changing"); err != nil {
		t.Fatal(err)
	}
	// Who asks from now on neither waits for the old look-up nor gets what it found.
	if l := mustLookup(t, c, "changing"); l.URL != "https://example.org/new" {
		t.Errorf("after Forget: %s", l.URL)
	}
	close(gate)
	if got := <-early; got != "https://example.org/old<nil>" {
		t.Errorf("who asked before: %s", got)
	}
	c.Close()
	if entry, ok := c.Peek("changing"); !ok || entry.Link.URL != "https://example.org/new" {
		t.Errorf("the old look-up's answer was cached: %+v, %v", entry, ok)
	}
}

func TestBounds(t *testing.T) {
	t.Run("OK a flood of unknown codes neither fills the memory nor drives out what is used", func(t *testing.T) {
		const entries = 1000
		s := newSource(testLink(1, "popular", "https://example.org/"))
		registry := prometheus.NewRegistry()
		c := newCache(t, linkcache.Config{Entries: entries, TTL: time.Hour}, s, nil, linkcache.WithRegisterer(registry))
		for i := range 20 * entries {
			mustLookup(t, c, "popular")
			_, _ = c.Lookup(t.Context(), fmt.Sprintf("scan-%d", i))
		}
		eventually(t, "the cache has its size", func() bool { return gauge(t, registry, "linktrail_link_cache_entries") <= entries })
		before := s.reads.Load()
		mustLookup(t, c, "popular")
		if s.reads.Load() != before {
			t.Error("a link in use was driven out")
		}
	})

	t.Run("OK long targets count as several", func(t *testing.T) {
		const entries = 1000
		s := newSource()
		for i := range entries {
			s.put(testLink(int64(i+1), fmt.Sprintf("long-%d", i), "https://example.org/"+string(make([]byte, 8<<10))))
		}
		registry := prometheus.NewRegistry()
		c := newCache(t, linkcache.Config{Entries: entries, TTL: time.Hour}, s, nil, linkcache.WithRegisterer(registry))
		for i := range entries {
			mustLookup(t, c, fmt.Sprintf("long-%d", i))
		}
		eventually(t, "the cache has its size", func() bool { return gauge(t, registry, "linktrail_link_cache_entries") <= entries/16 })
	})
}

func gauge(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func TestPeekDoesNotAllocate(t *testing.T) {
	c := newCache(t, linkcache.Config{TTL: time.Hour}, newSource(testLink(1, "popular", "https://example.org/")), nil)
	mustLookup(t, c, "popular")
	if n := testing.AllocsPerRun(1000, func() {
		if _, ok := c.Peek("popular"); !ok {
			t.Error("not known")
		}
	}); n != 0 {
		t.Errorf("Peek allocates %v times", n)
	}
}

func BenchmarkPeek(b *testing.B) {
	c := linkcache.New(linkcache.Config{TTL: time.Hour}, newSource(testLink(1, "popular", "https://example.org/")), nil)
	defer c.Close()
	if _, err := c.Lookup(b.Context(), "popular"); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := c.Peek("popular"); !ok {
			b.Fatal("not known")
		}
	}
}
