package linkcache

import "math"

// ways is how many entries a bucket of the tables below has.
const ways = 8

// pending marks a place that is kept for a look-up which is under way.
const pending = math.MaxInt64

// absences are the codes of a shard of which the store has said that there is no link. A code is kept as its hash, in
// 16 bytes; the seed of the hash is the process's own, so that nobody can choose codes that collide, and by chance two
// of a million codes have the same hash once in tens of millions of processes.
//
// An entry is never given up before its time: who wants to ask the store for an unknown code reserves a place first, and
// without one does not ask. So a code is asked for once per NegativeTTL however many codes are scanned.
//
// A code may lie in either of two buckets and goes into the emptier one, which fills the table by nine tenths and more
// before a code finds no place.
type absences struct {
	epoch   uint64
	buckets [][ways]absence
	size    int // buckets, a power of two; they are made when the first is needed
}

type absence struct {
	hash  uint64 // 0 is empty
	until int64  // nanoseconds since 1970
}

// follow empties the table when what it holds is of an earlier epoch.
func (a *absences) follow(epoch uint64) {
	if a.epoch == epoch {
		return
	}
	a.epoch = epoch
	clear(a.buckets)
}

func (a *absences) choices(hash uint64) (first, second *[ways]absence) {
	mask := uint64(len(a.buckets) - 1)
	return &a.buckets[hash>>6&mask], &a.buckets[hash>>35&mask]
}

func (a *absences) find(hash uint64) *absence {
	if a.buckets == nil {
		return nil
	}
	first, second := a.choices(hash)
	for _, bucket := range [...]*[ways]absence{first, second} {
		for i := range bucket {
			if bucket[i].hash == hash {
				return &bucket[i]
			}
		}
	}
	return nil
}

// has reports whether a code is known to have no link.
func (a *absences) has(hash uint64, now int64) bool {
	e := a.find(hash)
	return e != nil && e.until != pending && now < e.until
}

// reserve keeps a place for a code, and reports false when there is none.
func (a *absences) reserve(hash uint64, now int64) bool {
	if e := a.find(hash); e != nil {
		e.until = pending
		return true
	}
	if a.buckets == nil {
		a.buckets = make([][ways]absence, a.size)
	}
	first, second := a.choices(hash)
	place, taken := free(first, now)
	if other, n := free(second, now); n < taken {
		place = other
	}
	if place == nil {
		return false
	}
	*place = absence{hash: hash, until: pending}
	return true
}

// free returns a place of a bucket, or nil, and how many are taken.
func free(bucket *[ways]absence, now int64) (place *absence, taken int) {
	for i := range bucket {
		if e := &bucket[i]; e.hash != 0 && now < e.until {
			taken++
		} else {
			place = e
		}
	}
	return place, taken
}

// settle puts an absence into the place that was reserved for it.
func (a *absences) settle(hash uint64, until int64) {
	if e := a.find(hash); e != nil {
		e.until = until
	}
}

// release gives up a code's place.
func (a *absences) release(hash uint64) {
	if e := a.find(hash); e != nil {
		*e = absence{}
	}
}

// count returns how many places are taken.
func (a *absences) count(now int64) (n int) {
	for i := range a.buckets {
		_, taken := free(&a.buckets[i], now)
		n += taken
	}
	return n
}

// knowns are the codes of a shard of which the process has seen that there is a link, as hashes of 8 bytes. They
// outlive the links in the cache by far. Where there is no more place the one that was seen longest ago goes.
type knowns struct {
	buckets [][ways]uint64 // each in the order in which its codes were seen last
	size    int
}

func (k *knowns) bucket(hash uint64) *[ways]uint64 {
	return &k.buckets[hash>>6&uint64(len(k.buckets)-1)]
}

func (k *knowns) has(hash uint64) bool {
	if k.buckets == nil {
		return false
	}
	for _, h := range k.bucket(hash) {
		if h == hash {
			return true
		}
	}
	return false
}

func (k *knowns) add(hash uint64) {
	if k.buckets == nil {
		k.buckets = make([][ways]uint64, k.size)
	}
	b := k.bucket(hash)
	last := ways - 1
	for i, h := range b {
		if h == hash || h == 0 {
			last = i
			break
		}
	}
	copy(b[1:last+1], b[:last])
	b[0] = hash
}

func (k *knowns) remove(hash uint64) {
	if k.buckets == nil {
		return
	}
	b := k.bucket(hash)
	for i, h := range b {
		if h == hash {
			copy(b[i:], b[i+1:])
			b[ways-1] = 0
			return
		}
	}
}

func (k *knowns) count() (n int) {
	for i := range k.buckets {
		for _, h := range k.buckets[i] {
			if h != 0 {
				n++
			}
		}
	}
	return n
}

// bucketsFor returns how many buckets each shard needs for so many entries in all: a power of two.
func bucketsFor(entries, shards int) int {
	n := 1
	for n*ways*shards < entries {
		n *= 2
	}
	return n
}
