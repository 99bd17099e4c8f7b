package linkcache_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/linkcache"
)

// scanned is a store that counts how often it is asked for each of the codes scan-0, scan-1, …, of which none exists.
// Every other code exists. A look-up takes as long as wait lets it.
type scanned struct {
	asked []atomic.Int32
	wait  func(ctx context.Context, scan bool) error
}

func (s *scanned) LinkByCode(ctx context.Context, code string) (link.Link, error) {
	number, scan := strings.CutPrefix(code, "scan-")
	if s.wait != nil {
		if err := s.wait(ctx, scan); err != nil {
			return link.Link{}, err
		}
	}
	if !scan {
		return testLink(1, code, "https://example.org/"), nil
	}
	if n, err := strconv.Atoi(number); err == nil && n < len(s.asked) {
		s.asked[n].Add(1)
	}
	return link.Link{}, link.NotFound(code)
}

// total returns how often the store was asked for scanned codes, and the most that it was asked for one of them.
func (s *scanned) total() (sum, highest int) {
	for i := range s.asked {
		n := int(s.asked[i].Load())
		sum, highest = sum+n, max(highest, n)
	}
	return sum, highest
}

// scan asks for every code rounds times, from many goroutines, and returns how many were answered how.
func scan(c *linkcache.Cache, codes, rounds int) (notFound, refused, other int64) {
	const scanners = 64
	var counts [3]atomic.Int64
	var all sync.WaitGroup
	for scanner := range scanners {
		all.Go(func() {
			for i := range rounds * codes / scanners {
				// Each begins elsewhere, and all pass over the same codes.
				code := fmt.Sprintf("scan-%d", (i+scanner*codes/scanners/2)%codes)
				switch _, err := c.Lookup(context.Background(), code); link.KindOf(err) {
				case link.KindNotFound:
					counts[0].Add(1)
				case link.KindUnavailable:
					counts[1].Add(1)
				default:
					counts[2].Add(1)
				}
			}
		})
	}
	all.Wait()
	return counts[0].Load(), counts[1].Load(), counts[2].Load()
}

func TestScan(t *testing.T) {
	const codes = 300_000

	t.Run("OK the store is asked once for a code", func(t *testing.T) {
		now := newClock()
		s := &scanned{asked: make([]atomic.Int32, codes)}
		c := newCache(t, linkcache.Config{Absences: 1 << 19, StoreTimeout: time.Minute}, s, nil, linkcache.WithClock(now.Now))
		notFound, refused, other := scan(c, codes, 3)
		if refused > 0 || other > 0 {
			t.Errorf("%d not found, %d refused, %d otherwise", notFound, refused, other)
		}
		if _, highest := s.total(); highest != 1 {
			t.Errorf("the store was asked %d times for one code, want 1", highest)
		}
		now.advance(5 * time.Second)
		scan(c, codes, 1)
		if _, highest := s.total(); highest != 2 {
			t.Errorf("a TTL later the store has been asked %d times for one code, want 2", highest)
		}
	})

	t.Run("OK nor more often when there are more codes than can be remembered", func(t *testing.T) {
		const absences = 1 << 16
		now := newClock()
		s := &scanned{asked: make([]atomic.Int32, codes)}
		registry := prometheus.NewRegistry()
		c := newCache(t, linkcache.Config{Entries: 1000, Absences: absences, StoreTimeout: time.Minute, TTL: time.Hour}, s, nil,
			linkcache.WithClock(now.Now), linkcache.WithRegisterer(registry))
		for i := range 1000 {
			mustLookup(t, c, fmt.Sprintf("popular-%d", i))
		}
		notFound, refused, other := scan(c, codes, 3)
		sum, highest := s.total()
		t.Logf("%d not found, %d refused; the store was asked %d times", notFound, refused, sum)
		if highest != 1 || sum > absences || sum < absences*9/10 {
			t.Errorf("the store was asked %d times, %d times for one code; want %d or somewhat less, and 1", sum, highest, absences)
		}
		if notFound == 0 || refused == 0 || other > 0 {
			t.Errorf("%d not found, %d refused, %d otherwise", notFound, refused, other)
		}
		if n := gauge(t, registry, "linktrail_link_absences"); int(n) != sum {
			t.Errorf("%v codes are remembered, want %d", n, sum)
		}
		for i := range 1000 {
			if _, ok := c.Peek(fmt.Sprintf("popular-%d", i)); !ok {
				t.Fatal("a link was driven out")
			}
		}
		now.advance(5 * time.Second)
		if _, err := c.Lookup(t.Context(), "scan-0"); link.KindOf(err) != link.KindNotFound {
			t.Errorf("a TTL later: %v, want not_found", err)
		}
	})

	t.Run("OK what is known to have no link is told without allocating", func(t *testing.T) {
		c := newCache(t, linkcache.Config{NegativeTTL: time.Hour}, &scanned{}, nil)
		_, _ = c.Lookup(t.Context(), "scan-0")
		if n := testing.AllocsPerRun(1000, func() {
			if entry, ok := c.Peek("scan-0"); !ok || entry.Found {
				t.Error("not known")
			}
		}); n != 0 {
			t.Errorf("Peek allocates %v times", n)
		}
	})
}

// TestScanLeavesKnownCodes holds up the look-ups of unknown codes, or all of them, and wants known ones answered.
func TestScanLeavesKnownCodes(t *testing.T) {
	t.Run("OK when no look-up of an unknown code ends", func(t *testing.T) {
		gate := make(chan struct{})
		var held atomic.Int64
		s := &scanned{wait: func(ctx context.Context, scan bool) error {
			if !scan {
				return nil
			}
			held.Add(1)
			select {
			case <-gate:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
		now := newClock()
		cfg := linkcache.Config{StoreConcurrency: 8, UnknownShare: 0.25, Flights: 64, StoreTimeout: time.Hour, Grace: time.Nanosecond}
		registry := prometheus.NewRegistry()
		c := newCache(t, cfg, s, nil, linkcache.WithClock(now.Now), linkcache.WithRegisterer(registry))
		for i := range 100 {
			mustLookup(t, c, fmt.Sprintf("known-%d", i))
		}
		var all sync.WaitGroup
		var refused atomic.Int64
		for i := range 500 {
			all.Go(func() {
				if _, err := c.Lookup(context.Background(), fmt.Sprintf("scan-%d", i)); link.KindOf(err) == link.KindUnavailable {
					refused.Add(1)
				}
			})
		}
		eventually(t, "unknown codes have all that they may have", func() bool {
			return held.Load() == 2 && refused.Load() == 500-16 && gauge(t, registry, "linktrail_link_flights") == 16
		})
		for range 3 {
			now.advance(time.Minute) // nothing is fresh
			for i := range 100 {
				mustLookup(t, c, fmt.Sprintf("known-%d", i))
			}
		}
		if err := c.Forget(t.Context(), "just-made"); err != nil { // as the API does when it has made a link
			t.Fatal(err)
		}
		mustLookup(t, c, "just-made")
		if !c.Known("just-made") || c.Known("never-made") {
			t.Error("what was made is not known, or what was not made is")
		}
		close(gate)
		all.Wait()
	})

	t.Run("OK when the store is slow", func(t *testing.T) {
		const known = 40
		s := &scanned{wait: func(ctx context.Context, _ bool) error {
			select {
			case <-time.After(50 * time.Millisecond):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
		now := newClock()
		cfg := linkcache.Config{StoreConcurrency: 16, Flights: 128, StoreTimeout: 30 * time.Second, Grace: time.Nanosecond}
		c := newCache(t, cfg, s, nil, linkcache.WithClock(now.Now))
		visit := func() (failed int64) {
			var visitors sync.WaitGroup
			var n atomic.Int64
			for visitor := range 20 {
				visitors.Go(func() {
					for i := range known / 20 {
						if _, err := c.Lookup(context.Background(), fmt.Sprintf("known-%d", visitor*known/20+i)); err != nil {
							n.Add(1)
						}
					}
				})
			}
			visitors.Wait()
			return n.Load()
		}
		if n := visit(); n > 0 {
			t.Fatalf("%d failed before the flood", n)
		}
		ctx, stop := context.WithCancel(t.Context())
		var scanners sync.WaitGroup
		var notFound, refused, other, next atomic.Int64
		for range 200 {
			scanners.Go(func() {
				for ctx.Err() == nil {
					switch _, err := c.Lookup(context.Background(), fmt.Sprintf("scan-%d", next.Add(1))); link.KindOf(err) {
					case link.KindNotFound:
						notFound.Add(1)
					case link.KindUnavailable:
						refused.Add(1)
					default:
						other.Add(1)
					}
				}
			})
		}
		eventually(t, "the flood is under way", func() bool { return refused.Load() > 0 && notFound.Load() > 0 })
		for range 3 {
			now.advance(time.Minute)
			if n := visit(); n > 0 {
				t.Errorf("%d known codes were not answered", n)
			}
		}
		stop()
		scanners.Wait()
		t.Logf("unknown codes: %d not found, %d refused", notFound.Load(), refused.Load())
		if other.Load() > 0 {
			t.Errorf("%d were answered otherwise", other.Load())
		}
	})

	t.Run("OK failures of unknown codes cut no known one off", func(t *testing.T) {
		s := &scanned{wait: func(_ context.Context, scan bool) error {
			if scan {
				return errAway
			}
			return nil
		}}
		now := newClock()
		c := newCache(t, linkcache.Config{Grace: time.Nanosecond}, s, nil, linkcache.WithClock(now.Now))
		mustLookup(t, c, "known")
		for i := range 50 {
			_, _ = c.Lookup(t.Context(), fmt.Sprintf("scan-%d", i))
			now.advance(time.Minute)
			mustLookup(t, c, "known")
		}
	})
}

// TestMadeElsewhere is about a replica that has said "no such link", or could not even ask, when the link is made at
// another.
func TestMadeElsewhere(t *testing.T) {
	server := miniredis.RunT(t)
	rdb := mustOpen(t, linkcache.RedisConfig{Addrs: []string{server.Addr()}})
	s := newSource()
	cfg := own(t)
	cfg.Absences, cfg.NegativeTTL, cfg.TTL, cfg.StoreTimeout = 512, time.Hour, time.Hour, time.Minute
	registry := prometheus.NewRegistry()
	here := newCache(t, cfg, s, rdb, linkcache.WithRegisterer(registry))
	there := newCache(t, cfg, s, rdb)
	run(t, here, registry)

	if _, err := here.Lookup(t.Context(), "absent"); link.KindOf(err) != link.KindNotFound {
		t.Fatalf("error = %v, want not_found", err)
	}
	eventually(t, "no further absence can be remembered", func() bool {
		for i := range 2000 {
			_, _ = here.Lookup(t.Context(), fmt.Sprintf("scan-%d", i))
		}
		_, err := here.Lookup(t.Context(), "refused")
		return link.KindOf(err) == link.KindUnavailable
	})
	for i, code := range []string{"absent", "refused"} {
		s.put(testLink(int64(i+1), code, "https://example.org/"))
		if err := there.Forget(t.Context(), code); err != nil {
			t.Fatal(err)
		}
		eventually(t, code+" is found", func() bool {
			l, err := here.Lookup(t.Context(), code)
			return err == nil && l.ID == int64(i+1)
		})
	}

	t.Run("OK what is in Redis is found although nothing can be remembered", func(t *testing.T) {
		s.put(testLink(9, "shared", "https://example.org/"))
		mustLookup(t, there, "shared")
		eventually(t, "it is in Redis", func() bool { return server.Exists(cfg.KeyPrefix + "link:shared") })
		before := s.reads.Load()
		mustLookup(t, here, "shared")
		if s.reads.Load() != before || !here.Known("shared") {
			t.Error("the store was asked, or the code is not known")
		}
	})
}
