package linkcache

import (
	"context"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
	"github.com/zeromicro/go-zero/core/logx"

	"github.com/linktrail/linktrail/internal/link"
)

// A flight is one look-up of a code that all its callers wait for.
type flight struct {
	epoch uint64

	// Written before done is closed, read after.
	item    *item
	outcome outcome
	err     error
	done    chan struct{}
}

// A shard holds the flights of some codes. Only the flight that is registered under its code may cache its answer:
// drop takes it off.
type shard struct {
	mu      sync.Mutex
	flights map[string]*flight
	closed  bool
}

func (c *Cache) shard(code string) *shard {
	return &c.shards[maphash.String(c.seed, code)%uint64(len(c.shards))]
}

// join returns the flight of a code, and starts one where there is none.
func (c *Cache) join(ctx context.Context, code string) (*flight, error) {
	s := c.shard(code)
	s.mu.Lock()
	defer s.mu.Unlock()
	epoch := c.epoch.Load()
	if f := s.flights[code]; f != nil && f.epoch == epoch {
		return f, nil
	}
	// The flight that the caller has just missed may have left its answer.
	if it, ok := c.local.GetIfPresent(code); ok && c.fresh(it) {
		f := &flight{item: it, outcome: outcomeOf(it, outcomeMemory), done: make(chan struct{})}
		close(f.done)
		return f, nil
	}
	if s.closed {
		return nil, unavailable()
	}
	select {
	case c.airways <- struct{}{}:
	default:
		return nil, unavailable()
	}
	f := &flight{epoch: epoch, done: make(chan struct{})}
	s.flights[code] = f
	// The flight keeps the span of its first caller and not the caller's end: others may wait for it by then.
	ctx = context.WithoutCancel(ctx)
	c.flights.Go(func() {
		defer func() { <-c.airways }()
		c.fly(ctx, s, f, code)
	})
	return f, nil
}

func (c *Cache) fly(ctx context.Context, s *shard, f *flight, code string) {
	began := time.Now()
	missing := c.resolve(ctx, f, code)
	c.land(s, f, code)
	if missing && f.err == nil && f.item.Found {
		// Nobody waits for this one.
		c.remote.fill(ctx, f.item.Link, c.remoteTTL(f.item.Link), began)
	}
}

// land caches the answer, unless the code was forgotten meanwhile, and hands it to those who wait.
func (c *Cache) land(s *shard, f *flight, code string) {
	s.mu.Lock()
	if s.flights[code] == f {
		delete(s.flights, code)
		if f.err == nil {
			c.local.Set(code, f.item)
		}
	}
	s.mu.Unlock()
	close(f.done)
}

// resolve finds the flight's answer, and reports whether Redis should be given it.
func (c *Cache) resolve(ctx context.Context, f *flight, code string) (missing bool) {
	defer func() {
		if r := recover(); r != nil {
			logx.WithContext(ctx).Errorw("link look-up panicked", logx.Field("panic", fmt.Sprint(r)),
				logx.Field("stack", string(debug.Stack())))
			f.err, f.outcome = fmt.Errorf("look up link: panic: %v", r), outcomeError
			missing = false
		}
	}()
	if c.remote != nil {
		var l link.Link
		var found bool
		if l, found, missing = c.remote.get(ctx, code); found {
			f.item, f.outcome = c.newItem(Entry{Link: l, Found: true}, f.epoch), outcomeRedis
			return false
		}
	}
	l, err := c.fromStore(ctx, code)
	switch {
	case err == nil:
		l.Title, l.Tags = "", nil
		f.item, f.outcome = c.newItem(Entry{Link: l, Found: true}, f.epoch), outcomeStore
	case link.KindOf(err) == link.KindNotFound:
		f.item, f.outcome = c.newItem(Entry{}, f.epoch), outcomeNotFound
	default:
		c.metrics.storeAway.Errorf("links cannot be looked up in the store: %v", err)
		if it := c.inGrace(code, f.epoch); it != nil {
			f.item, f.outcome = it, outcomeStale
			return false
		}
		f.err, f.outcome = fmt.Errorf("%w (%w)", unavailable(), err), outcomeError
	}
	return missing
}

func (c *Cache) fromStore(ctx context.Context, code string) (link.Link, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.StoreTimeout)
	defer cancel()
	select {
	case c.turns <- struct{}{}:
		defer func() { <-c.turns }()
	case <-ctx.Done():
		return link.Link{}, fmt.Errorf("waiting for a turn at the store: %w", ctx.Err())
	}
	return c.breaker.Execute(func() (link.Link, error) { return c.source.LinkByCode(ctx, code) })
}

// newStoreBreaker returns a breaker that answers for a store which is away, so that what is in its grace is served at
// once and the rest is refused at once.
func newStoreBreaker(m *metrics) *gobreaker.CircuitBreaker[link.Link] {
	return gobreaker.NewCircuitBreaker[link.Link](gobreaker.Settings{
		Name:          "store",
		Timeout:       breakerPause,
		ReadyToTrip:   func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= breakerFailures },
		IsSuccessful:  func(err error) bool { return err == nil || link.KindOf(err) == link.KindNotFound },
		OnStateChange: func(_ string, _, to gobreaker.State) { m.storeBreakerOpen.Set(open(to)) },
	})
}

// open is the value of a breaker's gauge.
func open(s gobreaker.State) float64 {
	if s == gobreaker.StateClosed {
		return 0
	}
	return 1
}

// inGrace returns the process's own entry past its TTL, good for a while more, or nil. Only links have a grace: a code
// that had no link may have one by now.
func (c *Cache) inGrace(code string, epoch uint64) *item {
	old, ok := c.local.GetIfPresent(code)
	now := c.now().UnixNano()
	if !ok || !old.Found || now >= old.graceUntil {
		return nil
	}
	return &item{
		Entry:      old.Entry,
		freshUntil: min(now+int64(c.config.TTL), old.graceUntil),
		graceUntil: old.graceUntil,
		epoch:      epoch,
	}
}

func (c *Cache) newItem(e Entry, epoch uint64) *item {
	now := c.now()
	ttl := c.config.TTL
	if !e.Found || e.Link.Expired(now) {
		ttl = c.config.NegativeTTL
	}
	it := &item{
		Entry:      e,
		epoch:      epoch,
		freshUntil: now.Add(jitter(ttl)).UnixNano(),
	}
	it.graceUntil = it.freshUntil + int64(c.config.Grace)
	if e.Found && !e.Link.ExpiresAt.IsZero() && !e.Link.Expired(now) {
		it.freshUntil = min(it.freshUntil, e.Link.ExpiresAt.UnixNano())
		it.graceUntil = min(it.graceUntil, e.Link.ExpiresAt.UnixNano())
	}
	return it
}

// remoteTTL is how long a link may stay in Redis.
func (c *Cache) remoteTTL(l link.Link) time.Duration {
	now := c.now()
	switch {
	case l.Expired(now):
		return jitter(c.config.NegativeTTL)
	case !l.ExpiresAt.IsZero():
		return min(jitter(c.config.RedisTTL), l.ExpiresAt.Sub(now))
	default:
		return jitter(c.config.RedisTTL)
	}
}

// jitter takes up to a tenth off, so that what was cached together does not end together.
func jitter(d time.Duration) time.Duration {
	return d - time.Duration(rand.Int64N(int64(d)/10+1))
}

func unavailable() error {
	return &link.Error{Kind: link.KindUnavailable, Message: "links cannot be looked up right now, please try again"}
}
