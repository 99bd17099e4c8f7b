package click

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
)

// NewID returns the UUIDv7 (RFC 9562, 5.7) of a click that was taken at now. The 12 bits behind the milliseconds hold
// the fraction of the millisecond (6.2, method 3), so ids order as their times do down to a quarter of a microsecond;
// the other 62 bits are random. It needs no system call, no lock and no allocation. Ids are unique, not secret.
func NewID(now time.Time) uuid.UUID {
	nanos := now.UnixNano()
	millis := nanos / int64(time.Millisecond)
	fraction := uint64(nanos%int64(time.Millisecond)) << 12 / uint64(time.Millisecond)
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[0:8], uint64(millis)<<16|7<<12|fraction)
	binary.BigEndian.PutUint64(id[8:16], rand.Uint64()&(1<<62-1)|1<<63)
	return id
}

// TimeOf returns the time in a UUIDv7, UTC with milliseconds.
func TimeOf(id uuid.UUID) time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(id[0:8]) >> 16)).UTC()
}

// FirstID is lower than every id that NewID returns at t or later, and higher than all that it returned before, to the
// millisecond.
func FirstID(t time.Time) uuid.UUID {
	var id uuid.UUID
	if millis := t.UnixMilli(); millis > 0 {
		binary.BigEndian.PutUint64(id[0:8], uint64(min(millis, 1<<48-1))<<16)
	}
	return id
}
