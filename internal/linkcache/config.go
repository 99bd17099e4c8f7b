package linkcache

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config is the LinkCache block of a service's YAML. A field that is zero or negative has its default.
type Config struct {
	// Entries bounds the cache in the process. A URL longer than 512 bytes counts as several entries, so that long
	// targets cannot fill the memory.
	Entries int `json:",default=100000,range=[1:100000000]"`
	// Absences is how many codes the process remembers that have no link, 16 bytes each; it is rounded up to a power of
	// two and is 512 at least. A code that cannot be remembered is not asked for but refused as unavailable, so at most
	// so many unknown codes are looked up in a NegativeTTL.
	Absences int `json:",default=262144,range=[1:1073741824]"`
	// Known is how many codes the process remembers of which it has seen that there is a link, 8 bytes each, however long
	// ago; it is rounded up likewise.
	Known int `json:",default=1048576,range=[1:1073741824]"`
	// UnknownShare is the part of StoreConcurrency and of Flights that codes may take which are not known so. The rest is
	// for known ones alone.
	UnknownShare float64 `json:",default=0.5,range=(0:1)"`
	// TTL is how long an entry in the process answers without asking again. It bounds how long a replica that missed an
	// announcement serves what was changed.
	TTL time.Duration `json:",default=5s"`
	// NegativeTTL is the TTL of "no such link", and of a link that has expired.
	NegativeTTL time.Duration `json:",default=5s"`
	// Grace is how long beyond its TTL an entry in the process still answers while neither Redis nor the store do.
	Grace time.Duration `json:",default=10m"`
	// RedisTTL is how long a link stays in Redis.
	RedisTTL time.Duration `json:",default=1h"`
	// RedisTimeout is how long a look-up waits for Redis.
	RedisTimeout time.Duration `json:",default=50ms"`
	// StoreTimeout is how long a look-up waits for the store, for its turn there included. For the turn it waits for half
	// of it at most, and for a quarter when the code is not known or a stale link can be served.
	StoreTimeout time.Duration `json:",default=2s"`
	// StoreConcurrency is the most look-ups that are with the store at once.
	StoreConcurrency int `json:",default=32,range=[1:10000]"`
	// Flights is the most codes that are looked up at once; further codes are refused as unavailable. Callers who ask
	// for the same code share a flight.
	Flights int `json:",default=4096,range=[1:1000000]"`
	// KeyPrefix starts every key in Redis.
	KeyPrefix string `json:",default=linktrail:"`
	// Channel is the Redis channel on which changed codes are announced. All replicas must name the same.
	Channel string `json:",default=linktrail:forget"`
}

func (c Config) withDefaults() Config {
	orDefault(&c.Entries, 100_000)
	orDefault(&c.Absences, 1<<18)
	orDefault(&c.Known, 1<<20)
	if c.UnknownShare <= 0 || c.UnknownShare >= 1 {
		c.UnknownShare = 0.5
	}
	orDefault(&c.TTL, 5*time.Second)
	orDefault(&c.NegativeTTL, 5*time.Second)
	orDefault(&c.Grace, 10*time.Minute)
	orDefault(&c.RedisTTL, time.Hour)
	orDefault(&c.RedisTimeout, 50*time.Millisecond)
	orDefault(&c.StoreTimeout, 2*time.Second)
	orDefault(&c.StoreConcurrency, 32)
	orDefault(&c.Flights, 4096)
	if c.KeyPrefix == "" {
		c.KeyPrefix = "linktrail:"
	}
	if c.Channel == "" {
		c.Channel = "linktrail:forget"
	}
	return c
}

func orDefault[T int | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// An Option changes how a Cache is made.
type Option func(*Cache)

// WithRegisterer registers the cache's metrics.
func WithRegisterer(r prometheus.Registerer) Option {
	return func(c *Cache) { c.registerer = r }
}

// WithClock replaces time.Now as the cache's clock.
func WithClock(now func() time.Time) Option {
	return func(c *Cache) { c.now = now }
}
