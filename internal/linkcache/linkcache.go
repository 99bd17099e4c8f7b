// Package linkcache looks links up: in the process, then in Redis, then in the store. It promises that
//
//   - a link that the process holds costs no allocation, no lock and no span;
//   - many callers who ask for one code cost one look-up, which outlives any of them;
//   - Redis being away, slow or full of rubbish makes look-ups slower and never fail;
//   - while the store is away, what is cached is still served, for a bounded time;
//   - after Forget every replica asks the store again: those that follow the channel at once, others when their TTL of
//     seconds is over;
//   - memory is bounded whatever codes are asked for, and unknown codes are never written to Redis.
//
// A scanner asks for hundreds of thousands of codes of which none exists. Then
//
//   - "no such link" is kept apart from links, 16 bytes a code, and drives no link out;
//   - the store is asked for such a code once per NegativeTTL; when no more of them can be kept, further ones are refused
//     as unavailable and not asked for;
//   - codes of which the process has never seen that there is a link have a part of the flights and of the store's turns
//     (UnknownShare); codes that it has seen, remembered in 8 bytes long after their link has left the cache, never wait
//     behind them.
//
// How a look-up that is under way while its link changes is kept from caching the old link is told at Forget.
package linkcache

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/sony/gobreaker/v2"

	"github.com/linktrail/linktrail/internal/link"
)

// A Source is what a cache looks links up in; link.Store is one.
type Source interface {
	// LinkByCode returns the link of a code, or a *link.Error of kind NotFound. It must end when ctx does.
	LinkByCode(ctx context.Context, code string) (link.Link, error)
}

// An Entry is what the cache knows of a code.
type Entry struct {
	// Link has no Title and no Tags: they are not cached.
	Link link.Link
	// Found is false when there is no such link; Link is then empty.
	Found bool
}

// item is an Entry with the times between which it may be used. It is never changed once it is in the cache.
type item struct {
	Entry
	freshUntil int64 // nanoseconds since 1970
	graceUntil int64
	epoch      uint64 // items of an earlier epoch are not fresh
}

// Cache looks links up. It is safe for concurrent use.
type Cache struct {
	config     Config
	source     Source
	now        func() time.Time
	registerer prometheus.Registerer

	local    *otter.Cache[string, *item] // links only; absences are in the shards
	remote   *remote                     // nil without Redis
	breakers [2]*gobreaker.CircuitBreaker[link.Link]
	metrics  *metrics

	// epoch is raised when messages of the channel may have been missed.
	epoch     atomic.Uint64
	following atomic.Bool

	seed    maphash.Seed
	shards  [64]shard
	airways places
	turns   turns
	flights sync.WaitGroup

	unsent unsent
}

// New returns a Cache over a source and, unless rdb is nil, over Redis. The client stays the caller's to close, after
// Close.
func New(cfg Config, source Source, rdb redis.UniversalClient, opts ...Option) *Cache {
	cfg = cfg.withDefaults()
	c := &Cache{
		config:  cfg,
		source:  source,
		now:     time.Now,
		seed:    maphash.MakeSeed(),
		airways: newPlaces(cfg.Flights, cfg.UnknownShare),
		turns:   turns{places: newPlaces(cfg.StoreConcurrency, cfg.UnknownShare)},
		unsent:  newUnsent(),
	}
	for _, opt := range opts {
		opt(c)
	}
	for i := range c.shards {
		c.shards[i].flights = make(map[string]*flight)
		c.shards[i].absent.size = bucketsFor(cfg.Absences, len(c.shards))
		c.shards[i].known.size = bucketsFor(cfg.Known, len(c.shards))
	}
	c.local = otter.Must(&otter.Options[string, *item]{
		MaximumWeight: uint64(cfg.Entries),
		Weigher:       func(_ string, it *item) uint32 { return 1 + uint32(len(it.Link.URL)/512) },
	})
	c.metrics = newMetrics(c)
	for i := range c.breakers {
		c.breakers[i] = newStoreBreaker(c.metrics.storeBreakerOpen[i])
	}
	if rdb != nil {
		c.remote = newRemote(cfg, rdb, c.metrics)
	}
	return c
}

// Close refuses new look-ups and waits for those under way, each of which has a deadline of its own.
func (c *Cache) Close() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
	}
	c.flights.Wait()
}

// Peek returns what the process itself knows of a code. It does not allocate and does not keep code. When it knows
// nothing, ask Lookup.
func (c *Cache) Peek(code string) (Entry, bool) {
	if it, ok := c.local.GetIfPresent(code); ok && c.fresh(it) {
		c.metrics.count(outcomeMemory)
		return it.Entry, true
	}
	if c.absent(code) {
		c.metrics.count(outcomeNotFound)
		return Entry{}, true
	}
	return Entry{}, false
}

func (c *Cache) fresh(it *item) bool {
	return c.now().UnixNano() < it.freshUntil && it.epoch == c.epoch.Load()
}

// Lookup returns the link of a code, whether expired or disabled or not, without Title and Tags. Errors: a *link.Error of
// kind NotFound or Unavailable, or ctx's own when it ends first, which does not end the look-up for others. The span in
// ctx is the parent of the look-up's spans.
func (c *Cache) Lookup(ctx context.Context, code string) (link.Link, error) {
	if entry, ok := c.Peek(code); ok {
		return entry.link(code)
	}
	f, err := c.join(ctx, code)
	if err != nil {
		c.metrics.count(outcomeError)
		return link.Link{}, err
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		return link.Link{}, ctx.Err()
	}
	c.metrics.count(f.outcome)
	if f.err != nil {
		return link.Link{}, f.err
	}
	return f.item.link(code)
}

func (e Entry) link(code string) (link.Link, error) {
	if !e.Found {
		return link.Link{}, link.NotFound(code)
	}
	return e.Link, nil
}
