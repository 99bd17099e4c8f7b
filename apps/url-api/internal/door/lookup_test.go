package door_test

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/linktrail/linktrail/apps/url-api/internal/door"
	"github.com/linktrail/linktrail/internal/linkcache"
)

// TestScanner has a scanner ask for codes of a store that does not answer, and visitors for links meanwhile.
func TestScanner(t *testing.T) {
	h := open(t, func(c *door.Config, _ *door.Deps, cache *linkcache.Config) {
		c.MaxLookups, c.MaxUnknownLookups = 40, 20
		cache.StoreConcurrency, cache.StoreTimeout, cache.Grace = 4, time.Hour, time.Nanosecond
	})
	h.ask("GET", "/found")
	h.ask("GET", "/moved")
	gate := make(chan struct{})
	h.store.set(func(s *store) { s.gate = gate })

	const scanned = 200
	var scanners sync.WaitGroup
	var refused, notFound atomic.Int64
	for i := range scanned {
		scanners.Go(func() {
			switch a := h.ask("GET", fmt.Sprintf("/scan-%d", i)); {
			case a.StatusCode == http.StatusServiceUnavailable && a.Header.Get("Retry-After") == "1":
				refused.Add(1)
			case a.StatusCode == http.StatusNotFound:
				notFound.Add(1)
			default:
				t.Errorf("a scanned code: %s, Retry-After %q", a.Status, a.Header.Get("Retry-After"))
			}
		})
	}
	// Two of four turns at the store are for unknown codes, and all others but twenty are refused at once.
	eventually(t, "the scanner has all that it may have", func() bool { return refused.Load() == scanned-20 && h.store.reads.Load() == 4 })
	if n := h.metric("linktrail_redirects_shed_total", "unknown"); n != scanned-20 {
		t.Errorf("%v requests counted as shed for unknown codes, want %d", n, scanned-20)
	}

	h.store.set(func(s *store) { s.gate = nil })
	if a := h.ask("GET", "/found"); a.StatusCode != http.StatusFound {
		t.Errorf("a link in memory: %s", a.Status)
	}
	h.now.Add(int64(time.Minute)) // nothing in memory is fresh
	if a := h.ask("GET", "/moved"); a.StatusCode != http.StatusMovedPermanently {
		t.Errorf("a link that is known and has to be looked up again: %s", a.Status)
	}
	close(gate)
	scanners.Wait()
	if notFound.Load() != 20 {
		t.Errorf("%d scanned codes were not found in the end, want 20", notFound.Load())
	}
}
