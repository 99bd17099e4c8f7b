package linkcache

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sony/gobreaker/v2"
	"github.com/zeromicro/go-zero/core/logx"

	"github.com/linktrail/linktrail/internal/link"
)

// A flight is one look-up of a code that all its callers wait for.
type flight struct {
	epoch uint64
	hash  uint64
	known bool // the process has seen before that there is a link
	// reserved says that the flight has a place among the absences, in the epoch they had then.
	reserved      bool
	reservedEpoch uint64

	// Written before done is closed, read after.
	item    *item
	outcome outcome
	err     error
	done    chan struct{}
}

// A shard holds what concerns some codes: their flights, which of them have no link, and which are known to have had
// one. Only the flight that is registered under its code may cache its answer: drop takes it off.
type shard struct {
	mu      sync.Mutex
	flights map[string]*flight
	absent  absences
	known   knowns
	closed  bool
}

// shard returns the shard of a code, and the code's hash, which is never 0.
func (c *Cache) shard(code string) (*shard, uint64) {
	hash := maphash.String(c.seed, code)
	if hash == 0 {
		hash = 1
	}
	return &c.shards[hash%uint64(len(c.shards))], hash
}

// Known reports whether the process has seen, not too long ago, that there is a link of this code: it has looked it up
// or has heard that it was made or changed. It does not allocate and does not keep code.
func (c *Cache) Known(code string) bool {
	s, hash := c.shard(code)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known.has(hash)
}

// absent reports whether a code is known to have no link.
func (c *Cache) absent(code string) bool {
	s, hash := c.shard(code)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.absent.follow(c.epoch.Load())
	return s.absent.has(hash, c.now().UnixNano())
}

// join returns the flight of a code, and starts one where there is none.
func (c *Cache) join(ctx context.Context, code string) (*flight, error) {
	s, hash := c.shard(code)
	s.mu.Lock()
	defer s.mu.Unlock()
	epoch := c.epoch.Load()
	s.absent.follow(epoch)
	if f := s.flights[code]; f != nil && f.epoch == epoch {
		return f, nil
	}
	// The flight that the caller has just missed may have left its answer.
	if it, ok := c.local.GetIfPresent(code); ok && c.fresh(it) {
		return landed(it, outcomeMemory), nil
	}
	if s.absent.has(hash, c.now().UnixNano()) {
		return landed(new(item), outcomeNotFound), nil
	}
	if s.closed {
		return nil, unavailable()
	}
	f := &flight{epoch: epoch, hash: hash, known: s.known.has(hash), done: make(chan struct{})}
	airway := c.airways.try(f.known)
	if airway == nil {
		if !f.known {
			c.metrics.refused[refusedFlights].Inc()
		}
		return nil, unavailable()
	}
	s.flights[code] = f
	// The flight keeps the span of its first caller and not the caller's end: others may wait for it by then.
	ctx = context.WithoutCancel(ctx)
	c.flights.Go(func() {
		defer func() { <-airway }()
		c.fly(ctx, s, f, code)
	})
	return f, nil
}

// landed returns a flight that is over.
func landed(it *item, o outcome) *flight {
	f := &flight{item: it, outcome: o, done: make(chan struct{})}
	close(f.done)
	return f
}

func (c *Cache) fly(ctx context.Context, s *shard, f *flight, code string) {
	began := time.Now()
	missing := c.resolve(ctx, s, f, code)
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
		c.keep(s, f, code)
	}
	s.mu.Unlock()
	close(f.done)
}

// keep caches a flight's answer. The shard is locked.
func (c *Cache) keep(s *shard, f *flight, code string) {
	reserved := f.reserved && s.absent.epoch == f.reservedEpoch
	switch {
	case f.err == nil && f.item.Found:
		c.local.Set(code, f.item)
		s.known.add(f.hash)
		s.absent.release(f.hash)
	case f.err == nil:
		c.local.Invalidate(code)
		s.known.remove(f.hash)
		if f.known {
			// Without a place its next look-up is that of an unknown code.
			reserved = s.absent.epoch == f.epoch && s.absent.reserve(f.hash, c.now().UnixNano())
		}
		if reserved {
			s.absent.settle(f.hash, f.item.freshUntil)
		}
	case reserved:
		s.absent.release(f.hash)
	}
}

// reserve keeps a place for the absence of an unknown code, before the store is asked for it. A flight that was taken
// off meanwhile needs none: its code has changed or, in a new epoch, has another flight.
func (c *Cache) reserve(s *shard, f *flight, code string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flights[code] != f {
		return true
	}
	s.absent.follow(c.epoch.Load())
	f.reserved, f.reservedEpoch = s.absent.reserve(f.hash, c.now().UnixNano()), s.absent.epoch
	return f.reserved
}

// resolve finds the flight's answer, and reports whether Redis should be given it.
func (c *Cache) resolve(ctx context.Context, s *shard, f *flight, code string) (missing bool) {
	defer func() {
		if r := recover(); r != nil {
			logx.WithContext(ctx).Errorw("link look-up panicked", logx.Field("panic", fmt.Sprint(r)),
				logx.Field("stack", string(debug.Stack())))
			f.err, f.outcome = fmt.Errorf("look up link: panic: %v", r), outcomeError
			missing = false
		}
	}()
	if c.remote != nil && !c.unsent.has(code) { // else it is the old link that Redis may have
		var l link.Link
		var found bool
		if l, found, missing = c.remote.get(ctx, code); found {
			f.item, f.outcome = c.newItem(Entry{Link: l, Found: true}, f.epoch), outcomeRedis
			return false
		}
	}
	if !f.known && !c.reserve(s, f, code) {
		c.metrics.refused[refusedAbsences].Inc()
		f.err, f.outcome = unavailable(), outcomeError
		return false
	}
	stale := c.inGrace(code, f.epoch)
	l, err := c.fromStore(ctx, code, f.known, stale != nil)
	switch {
	case err == nil:
		l.Title, l.Tags = "", nil
		f.item, f.outcome = c.newItem(Entry{Link: l, Found: true}, f.epoch), outcomeStore
	case link.KindOf(err) == link.KindNotFound:
		f.item, f.outcome = c.newItem(Entry{}, f.epoch), outcomeNotFound
	case stale != nil:
		c.metrics.storeAway.Errorf("links cannot be looked up in the store: %v", err)
		f.item, f.outcome = stale, outcomeStale
		return false
	case errors.Is(err, errBusy):
		c.metrics.refused[refusedTurns].Inc()
		f.err, f.outcome = unavailable(), outcomeError
	default:
		c.metrics.storeAway.Errorf("links cannot be looked up in the store: %v", err)
		f.err, f.outcome = fmt.Errorf("%w (%w)", unavailable(), err), outcomeError
	}
	return missing
}

// fromStore asks the store, which has half of the time at least: what waits for its turn longer is not asked for, so
// that a queue is no failure of the store. What may be served stale, and what may well not be there, waits less.
func (c *Cache) fromStore(ctx context.Context, code string, known, stale bool) (link.Link, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.StoreTimeout)
	defer cancel()
	patience, breaker := c.config.StoreTimeout/2, c.breakers[0]
	if stale || !known {
		patience /= 2
	}
	if !known {
		breaker = c.breakers[1]
	}
	place, err := c.turns.take(ctx, known, patience)
	if err != nil {
		return link.Link{}, err
	}
	began := time.Now()
	defer func() { c.turns.give(place, time.Since(began)) }()
	return breaker.Execute(func() (link.Link, error) { return c.source.LinkByCode(ctx, code) })
}

// newStoreBreaker returns a breaker that answers for a store which is away, so that what is in its grace is served at
// once and the rest is refused at once. Unknown codes have one of their own: their failures cut off no known code.
func newStoreBreaker(away prometheus.Gauge) *gobreaker.CircuitBreaker[link.Link] {
	return gobreaker.NewCircuitBreaker[link.Link](gobreaker.Settings{
		Name:          "store",
		Timeout:       breakerPause,
		ReadyToTrip:   func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= breakerFailures },
		IsSuccessful:  func(err error) bool { return err == nil || link.KindOf(err) == link.KindNotFound },
		OnStateChange: func(_ string, _, to gobreaker.State) { away.Set(open(to)) },
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
	ttl := jitter(c.config.TTL)
	switch {
	case !e.Found:
		ttl = c.config.NegativeTTL // whole: the store is not asked again before
	case e.Link.Expired(now):
		ttl = jitter(c.config.NegativeTTL)
	}
	it := &item{
		Entry:      e,
		epoch:      epoch,
		freshUntil: now.Add(ttl).UnixNano(),
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
