package load

import (
	"math"
	"math/bits"
	"time"
)

// precision is how many bits of a value a bucket keeps: values in one bucket differ by less than one in 128.
const precision = 7

// A Histogram counts durations, exactly up to 127 ns and to less than one per cent beyond. The zero value is empty. Not
// safe for concurrent use.
type Histogram struct {
	counts [(64 - precision + 1) << precision]uint32
	total  int
	sum    time.Duration
	max    time.Duration
}

// Add counts one duration; a negative one counts as 0.
func (h *Histogram) Add(d time.Duration) {
	d = max(d, 0)
	h.counts[bucket(uint64(d))]++
	h.total++
	h.sum += d
	h.max = max(h.max, d)
}

// Merge adds what another has counted.
func (h *Histogram) Merge(other *Histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.total += other.total
	h.sum += other.sum
	h.max = max(h.max, other.max)
}

// Count is how many durations were added.
func (h *Histogram) Count() int { return h.total }

// Max is the longest.
func (h *Histogram) Max() time.Duration { return h.max }

// Mean is their mean, 0 when there is none.
func (h *Histogram) Mean() time.Duration {
	if h.total == 0 {
		return 0
	}
	return h.sum / time.Duration(h.total)
}

// Quantile returns a duration that the share q of all did not exceed, as in 0.99; 0 when there is none.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := int(math.Ceil(q * float64(h.total)))
	for i, seen := 0, 0; i < len(h.counts); i++ {
		if seen += int(h.counts[i]); seen >= rank && seen > 0 {
			return min(highest(i), h.max)
		}
	}
	return h.max
}

// bucket keeps the highest bits of a value and how far they were moved.
func bucket(v uint64) int {
	shift := max(0, bits.Len64(v)-precision-1)
	return shift<<precision + int(v>>shift)
}

// highest is the highest value of a bucket.
func highest(i int) time.Duration {
	if i < 2<<precision {
		return time.Duration(i)
	}
	shift := i>>precision - 1
	mantissa := i - shift<<precision
	return time.Duration((uint64(mantissa)+1)<<shift - 1)
}
