package linkcache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/trace"
)

// Forget makes every replica ask the store again for a code. Call it after the store has made, changed or deleted the
// link; made too, because "not found" is cached. It does not heed ctx's end: the change has happened.
//
// Redis being away, or taking no changes, is no error. The announcement is then kept, at most 10,000 codes, and Run sends it
// when Redis is back. Until then this process does not ask Redis for the code; other replicas may serve the old link from
// Redis, for as long as its TTL there when this process ends before that. The error says that it could not even be kept.
//
// A look-up that is under way and may have read the old link is handled so: in this process and in those that hear the
// message its answer goes to those who wait for it and is not cached; and in Redis a tombstone stands under the code for
// longer than any look-up takes, and look-ups write only where nothing stands. What remains is a Redis that loses the
// tombstone in a failover within those seconds: then the old link may live there until its TTL.
func (c *Cache) Forget(ctx context.Context, code string) error {
	c.drop(code)
	if c.remote == nil {
		return nil
	}
	err := c.remote.forget(context.WithoutCancel(ctx), code)
	kept := err == nil || c.unsent.add(code)
	// A look-up that began since the first drop may have read the old value from Redis.
	c.drop(code)
	if !kept {
		c.metrics.forgetsLost.Inc()
		return fmt.Errorf("announce a changed link: %w", err)
	}
	return nil
}

// drop forgets what this process holds of a code. What has changed exists or did, so the code is known from now on: who
// asks for a link that was just made does not stand in one line with scanners.
func (c *Cache) drop(code string) {
	s, hash := c.shard(code)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.flights, code) // who asks from now on gets a new flight
	c.local.Invalidate(code)
	s.absent.release(hash)
	s.known.add(hash)
}

// dropAll makes all that the process knows stale. Entries stay for the grace, for when the store is away.
func (c *Cache) dropAll() { c.epoch.Add(1) }

// How Run watches its connection and comes back after a loss.
const (
	quiet      = 3 * time.Second // then the connection is tried, and after as much again given up
	minBackoff = 100 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// Run follows the channel until ctx ends, and then returns nil. After a loss of the connection, in which messages may
// have been missed, it takes all that the process knows as stale. It also sends what Forget had to keep. A Cache
// without Redis has nothing to follow; Run then only waits for ctx.
func (c *Cache) Run(ctx context.Context) error {
	if c.remote == nil {
		<-ctx.Done()
		return nil
	}
	var sender sync.WaitGroup
	sender.Go(func() { c.sendUnsent(ctx) })
	defer sender.Wait()
	wait := minBackoff
	for ctx.Err() == nil {
		followed, err := c.follow(ctx)
		if ctx.Err() != nil {
			break
		}
		if followed {
			wait = minBackoff
		}
		c.metrics.redisAway.Errorf("changed links are not heard of: %v", err)
		_ = pause(ctx, wait) // cut short, it ends the loop
		wait = min(2*wait, maxBackoff)
	}
	return nil
}

// follow listens on one connection until it fails, and reports whether it ever heard anything.
func (c *Cache) follow(ctx context.Context) (followed bool, err error) {
	sub := c.remote.rdb.Subscribe(ctx, c.remote.channel)
	stop := context.AfterFunc(ctx, func() { _ = sub.Close() })
	defer func() {
		c.setFollowing(false)
		if stop() {
			_ = sub.Close()
		}
	}()
	asked := false
	for {
		message, err := sub.ReceiveTimeout(ctx, quiet)
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() && !asked && ctx.Err() == nil {
			asked = true
			if err := sub.Ping(ctx); err != nil {
				return followed, err
			}
			continue
		}
		if err != nil {
			return followed, err
		}
		asked = false
		switch m := message.(type) {
		case *redis.Subscription:
			// Whatever was announced before this is lost to us.
			c.dropAll()
			c.setFollowing(true)
			followed = true
		case *redis.Message:
			c.drop(m.Payload)
		}
	}
}

func (c *Cache) setFollowing(yes bool) {
	c.following.Store(yes)
}

// sendUnsent announces what Forget could not.
func (c *Cache) sendUnsent(ctx context.Context) {
	wait := minBackoff
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.unsent.more:
		}
		for {
			code, ok := c.unsent.first()
			if !ok {
				break
			}
			if err := c.remote.forget(untraced(ctx), code); err != nil {
				if pause(ctx, wait) != nil {
					return
				}
				wait = min(2*wait, maxBackoff)
				continue
			}
			wait = minBackoff
			c.drop(code)
			c.unsent.remove(code)
		}
	}
}

// unsent are the codes whose announcement failed.
type unsent struct {
	mu    *sync.Mutex
	codes map[string]struct{}
	more  chan struct{}
}

// maxUnsent bounds them.
const maxUnsent = 10_000

func newUnsent() unsent {
	return unsent{mu: new(sync.Mutex), codes: make(map[string]struct{}), more: make(chan struct{}, 1)}
}

func (u unsent) add(code string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, known := u.codes[code]; !known && len(u.codes) >= maxUnsent {
		return false
	}
	u.codes[code] = struct{}{}
	select {
	case u.more <- struct{}{}:
	default:
	}
	return true
}

func (u unsent) has(code string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, ok := u.codes[code]
	return ok
}

func (u unsent) first() (string, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for code := range u.codes {
		return code, true
	}
	return "", false
}

func (u unsent) remove(code string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.codes, code)
}

func (u unsent) len() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.codes)
}

// untraced returns ctx below an unsampled parent, so that what nobody asked for begins no traces.
func untraced(ctx context.Context) context.Context {
	return trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{15: 1}, SpanID: trace.SpanID{7: 1},
	}))
}

// pause waits for about d or until ctx ends, and then returns its error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d/2 + rand.N(d))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
