package click_test

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/linktrail/linktrail/internal/click"
)

func TestNewID(t *testing.T) {
	at := time.Date(2026, 5, 1, 12, 30, 15, 123456789, time.UTC)
	t.Run("OKVersionAndTime", func(t *testing.T) {
		for _, at := range []time.Time{at, time.UnixMilli(0), time.UnixMilli(1), at.Truncate(time.Millisecond).Add(time.Millisecond - 1)} {
			id := click.NewID(at)
			if id.Version() != 7 || id.Variant() != uuid.RFC4122 {
				t.Fatalf("%s is version %d, variant %s", id, id.Version(), id.Variant())
			}
			if want := at.UTC().Truncate(time.Millisecond); !click.TimeOf(id).Equal(want) {
				t.Fatalf("time %s, want %s", click.TimeOf(id), want)
			}
		}
	})
	t.Run("OKOrderedByTime", func(t *testing.T) {
		last := click.NewID(at)
		for i := 1; i < 5000; i++ {
			id := click.NewID(at.Add(time.Duration(i) * time.Microsecond))
			if bytes.Compare(last[:], id[:]) >= 0 {
				t.Fatalf("%s does not come before %s, a microsecond later", last, id)
			}
			last = id
		}
	})
	t.Run("OKUnique", func(t *testing.T) {
		const workers, each = 8, 10_000
		ids := make([][]uuid.UUID, workers)
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for range each {
					ids[w] = append(ids[w], click.NewID(at))
				}
			})
		}
		wg.Wait()
		seen := make(map[uuid.UUID]bool, workers*each)
		for _, some := range ids {
			for _, id := range some {
				if seen[id] {
					t.Fatalf("%s came twice", id)
				}
				seen[id] = true
			}
		}
	})
	t.Run("OKNoAllocation", func(t *testing.T) {
		if n := testing.AllocsPerRun(100, func() { click.NewID(at) }); n != 0 {
			t.Fatalf("%v allocations", n)
		}
	})
}

func BenchmarkNewID(b *testing.B) {
	at := time.Now()
	for b.Loop() {
		click.NewID(at)
	}
}
