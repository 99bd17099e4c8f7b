package linkcache

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// places are what flights, or look-ups in the store, have so many of at once. Those of unknown codes, of which the
// process has never seen that there is a link, have their own part; the rest is for known ones alone, which may also
// have what unknown ones leave.
type places struct {
	known, unknown chan struct{}
}

// newPlaces splits n. Each part has one place at least, unless n is 1, which both share.
func newPlaces(n int, unknownShare float64) places {
	unknown := min(max(1, int(float64(n)*unknownShare)), max(1, n-1))
	return places{known: make(chan struct{}, n-unknown), unknown: make(chan struct{}, unknown)}
}

// try takes a place, to be given back by receiving from it, or returns nil.
func (p places) try(known bool) chan struct{} {
	if known {
		select {
		case p.known <- struct{}{}:
			return p.known
		default:
		}
	}
	select {
	case p.unknown <- struct{}{}:
		return p.unknown
	default:
		return nil
	}
}

func (p places) taken() int { return len(p.known) + len(p.unknown) }

// turns are the places at the store, for which look-ups wait.
type turns struct {
	places
	waiting atomic.Int64 // unknown codes
	pace    atomic.Int64 // what a look-up takes, in nanoseconds: a mean that forgets
}

// errBusy says that a look-up's turn would not come in time.
var errBusy = errors.New("too many unknown codes are waiting for the store")

// take waits for a turn, for as long as patience. An unknown code for which that will not do, as the pace of the last
// look-ups has it, is refused at once.
func (t *turns) take(ctx context.Context, known bool, patience time.Duration) (place chan struct{}, err error) {
	if place := t.try(known); place != nil {
		return place, nil
	}
	own := t.known
	if !known {
		own = nil
		ahead := t.waiting.Add(1)
		defer t.waiting.Add(-1)
		if time.Duration(ahead*t.pace.Load()/int64(cap(t.unknown))) > patience {
			return nil, errBusy
		}
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case own <- struct{}{}:
		return t.known, nil
	case t.unknown <- struct{}{}:
		return t.unknown, nil
	case <-timer.C:
		if !known {
			return nil, errBusy
		}
		return nil, fmt.Errorf("waiting for a turn at the store: %w", context.DeadlineExceeded)
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for a turn at the store: %w", ctx.Err())
	}
}

// give returns a turn in which a look-up took so long.
func (t *turns) give(place chan struct{}, took time.Duration) {
	<-place
	old := t.pace.Load()
	t.pace.Store(old + (int64(took)-old)/8) // one of two at once may be lost: it is a mean
}
