// Package journal keeps clicks on the local disk between the redirect and Kafka. A click is in the journal before its
// redirect is answered, and leaves it when Kafka has acknowledged it. It promises that
//
//   - what Append has taken survives the death of the process, however that dies: it lies in the page cache. With
//     Config.Sync it survives the death of the machine too;
//   - Append makes no system call as a rule, waits for nobody who ships, and never makes the disk fuller than Config.MaxBytes;
//   - records are read in the order in which they were taken, but that those of now need not wait for those of a long outage
//     (ReadFresh); one that was not done is read again by the next process: repeated, never skipped;
//   - what a crash or a disk has damaged is cut out and counted, and what follows it is read.
//
// A flipped bit costs one record at most. Whoever cuts a file short while it is open ends the process (SIGBUS, which nothing
// recovers); the next one reads what is left.
//
// A journal is a folder of segments, files of one size, and a lock: one process at a time has it open.
package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// What Open and Append may return.
var (
	// ErrFull says that the journal holds as many bytes as it may, or that the disk has no space.
	ErrFull = errors.New("the journal is full")
	// ErrOpen says that another process has the journal open.
	ErrOpen = errors.New("another process has this journal open")
	// ErrClosed says that the journal is closed.
	ErrClosed = errors.New("the journal is closed")
	// ErrNotSynced says that a record was taken, and that the disk did not say that it has it.
	ErrNotSynced = errors.New("the disk does not take the journal")
	// ErrTooLarge says that a record is larger than a segment.
	ErrTooLarge = errors.New("the record is larger than a segment of the journal")
)

// retry is how long the journal waits before it asks a full disk for space again.
const retry = time.Second

// Journal is an open journal. Make it with Open. Safe for concurrent use.
type Journal struct {
	config Config
	dir    string
	lock   *os.File
	counts counts

	syncTime prometheus.Histogram
	sync     func(*os.File) error // syncFile with Config.Sync, else nil

	mu       sync.Mutex
	segments []*segment // those that are needed, by sequence; the last one is written to
	spare    *segment   // made ahead; nil while there is none
	used     *segment   // all of it is done: to be made a spare; nil while there is none
	sequence uint64     // the last one that was given out
	refused  time.Time  // when the disk had no space
	closed   bool

	prepare  chan struct{} // holds one token: a spare is wanted
	stop     chan struct{}
	prepared sync.WaitGroup

	oldest  *segment   // where Read goes on; nil before the first and behind the last
	fresh   *segment   // where ReadFresh goes on; nil while Read is not behind
	leaving []*segment // that were given up, and are still in use
}

// counts are what happened since Open.
type counts struct {
	found, appended, shipped, repeated, refused, overwritten, damaged, lost, unsynced atomic.Uint64
}

// Open opens the journal of a folder, which it makes where there is none, and reads what an earlier process has left.
// Close must be called. The error is ErrOpen when another process still has it open after a quarter of a second: Inspect
// holds the lock for an instant.
func Open(c Config) (*Journal, error) {
	c = c.withDefaults()
	if c.Dir == "" {
		return nil, wrong("Dir", c.Dir, "a folder")
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Dir, 0o750); err != nil {
		return nil, err
	}
	lock, err := lockFolder(c.Dir)
	if err != nil {
		return nil, err
	}
	j := &Journal{
		config: c, dir: c.Dir, lock: lock, syncTime: newSyncTime(), prepare: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	if c.Sync {
		j.sync = syncFile
	}
	if err := j.recover(); err != nil {
		return nil, errors.Join(err, j.unmap(), lock.Close())
	}
	j.prepared.Go(j.keepSpare)
	return j, nil
}

// recover opens the segments that are there. One that is none is put aside under another name, for people to look at.
func (j *Journal) recover() error {
	sequences, err := list(j.dir)
	if err != nil {
		return err
	}
	for _, sequence := range sequences {
		path := j.path(sequence)
		s, err := openSegment(path, sequence)
		if errors.Is(err, errUnfinished) {
			continue
		}
		if errors.Is(err, errNoSegment) {
			j.counts.damaged.Add(1)
			if err := os.Rename(path, path+putAside); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		j.sequence = sequence
		if s.beheaded {
			j.counts.damaged.Add(1)
		}
		found := s.scan(nil)
		j.counts.damaged.Add(found.damaged)
		j.counts.found.Add(found.waiting)
		if found.waiting == 0 {
			if err := s.discard(); err != nil {
				return err
			}
			continue
		}
		j.segments = append(j.segments, s)
	}
	return nil
}

// Append takes a record. It returns when the record is in the page cache or, with Config.Sync, on the disk.
func (j *Journal) Append(r *Record) error {
	n := r.size()
	if align(n+recordHead) > j.config.SegmentBytes-headerSize {
		j.counts.refused.Add(1)
		return ErrTooLarge
	}
	j.mu.Lock()
	s, at, err := j.reserve(n)
	j.mu.Unlock()
	if err != nil {
		j.counts.refused.Add(1)
		return err
	}
	s.write(at, r)
	if j.config.Sync {
		if err = s.syncs.wait(s.file); err != nil {
			j.counts.unsynced.Add(1)
			err = fmt.Errorf("%w: %w", ErrNotSynced, err)
		}
	}
	s.writers.Add(-1)
	j.counts.appended.Add(1)
	return err
}

// reserve makes room for a record of n bytes, whose writer the segment then waits for. The caller holds mu.
func (j *Journal) reserve(n int) (*segment, int, error) {
	if j.closed {
		return nil, 0, ErrClosed
	}
	if len(j.segments) > 0 {
		if s := j.segments[len(j.segments)-1]; s.reserve(n) {
			return s, s.tail - align(n+recordHead), nil
		}
	}
	s, err := j.next()
	if err != nil {
		return nil, 0, err
	}
	s.reserve(n)
	return s, headerSize, nil
}

// next begins the next segment. The caller holds mu.
func (j *Journal) next() (*segment, error) {
	if n := len(j.segments); n > 0 {
		j.segments[n-1].seal()
	}
	s := j.spare
	j.spare = nil
	if s == nil {
		if j.used == nil && time.Since(j.refused) < retry {
			return nil, ErrFull
		}
		for j.used == nil && j.full() {
			if !j.dropOldest() {
				return nil, ErrFull
			}
		}
		var err error
		if s, err = j.allocate(); isNoSpace(err) && j.dropOldest() {
			s, err = j.allocate()
		}
		if err != nil {
			j.refused = time.Now()
			return nil, fmt.Errorf("%w: %w", ErrFull, err)
		}
	}
	j.segments = append(j.segments, s)
	j.wantSpare()
	return s, nil
}

// full reports whether another segment would be more than the journal may hold. Those of an earlier process may have another
// size. The caller holds mu.
func (j *Journal) full() bool {
	held := int64(j.config.SegmentBytes)
	for _, s := range j.segments {
		held += int64(len(s.memory))
	}
	return held > j.config.MaxBytes
}

func (j *Journal) wantSpare() {
	select {
	case j.prepare <- struct{}{}:
	default:
	}
}

// allocate makes a segment. The caller holds mu.
func (j *Journal) allocate() (*segment, error) {
	j.sequence++
	used := j.used
	j.used = nil
	return j.make(used, j.sequence)
}

// make makes a segment, of one that is used up where there is one.
func (j *Journal) make(used *segment, sequence uint64) (*segment, error) {
	var s *segment
	var err error
	if used != nil {
		s, err = used.renew(j.path(sequence), sequence, j.sync)
	} else {
		s, err = newSegment(j.path(sequence), sequence, j.config.SegmentBytes)
	}
	if err != nil || !j.config.Sync {
		return s, err
	}
	s.syncs.duration = j.syncTime.Observe
	if err := syncFolder(j.dir); err != nil { // its name survives the machine too
		return nil, errors.Join(err, s.discard())
	}
	return s, nil
}

// dropOldest gives up the oldest segment where the configuration wants that, and reports whether there was one: what is on
// its way to Kafka is not dropped, as its space would not be free. The caller holds mu.
func (j *Journal) dropOldest() bool {
	if j.config.Full != FullDropOldest || len(j.segments) < 2 {
		return false
	}
	i := slices.IndexFunc(j.segments[:len(j.segments)-1], func(s *segment) bool { return len(s.chunks) == 0 && s.writers.Load() == 0 })
	if i < 0 {
		return false
	}
	s := j.segments[i]
	j.segments = slices.Delete(j.segments, i, i+1)
	j.leaving = append(j.leaving, s)
	s.dropped = true
	j.counts.overwritten.Add(s.unread)
	_ = os.Remove(s.path) // it lasts until it is unmapped
	j.tidy()
	return true
}

// tidy deletes the segments whose records are all done, and unmaps those that nobody uses any more. The caller holds mu.
func (j *Journal) tidy() {
	j.segments = slices.DeleteFunc(j.segments, func(s *segment) bool {
		if !s.left || len(s.chunks) > 0 {
			return false
		}
		if j.used == nil && !s.earlier { // of an earlier one nobody knows how far it was written
			j.used = s
			return true
		}
		j.leaving = append(j.leaving, s)
		_ = os.Remove(s.path)
		return true
	})
	j.leaving = slices.DeleteFunc(j.leaving, func(s *segment) bool {
		if s == j.oldest || s == j.fresh || len(s.chunks) > 0 || s.writers.Load() > 0 {
			return false
		}
		_ = s.close()
		return true
	})
}

// keepSpare makes a segment ahead each time one is begun, so that Append need not, while there is room for it.
func (j *Journal) keepSpare() {
	for {
		select {
		case <-j.stop:
			return
		case <-j.prepare:
		}
		s, err := j.ahead()
		if s == nil || err != nil {
			continue // Append makes one, and says what is wrong
		}
		j.mu.Lock()
		late := len(j.segments) > 0 && j.segments[len(j.segments)-1].sequence > s.sequence // Append did not wait
		if !late {
			j.spare = s
		}
		j.mu.Unlock()
		if late {
			_ = s.discard()
		}
	}
}

// ahead makes a segment if one is wanted and there is room, without holding up anybody.
func (j *Journal) ahead() (*segment, error) {
	j.mu.Lock()
	used := j.used
	wanted := j.spare == nil && (used != nil || !j.full())
	if wanted {
		j.used = nil
		j.sequence++
	}
	sequence := j.sequence
	j.mu.Unlock()
	if !wanted {
		return nil, nil
	}
	return j.make(used, sequence)
}

// Close ends the journal: records that are not done stay for the next process. Nobody may append, or use what was read,
// any more.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return nil
	}
	j.closed = true
	j.mu.Unlock()
	close(j.stop)
	j.prepared.Wait()
	j.mu.Lock()
	defer j.mu.Unlock()
	return errors.Join(j.unmap(), j.lock.Close())
}

// unmap lets go of all segments; those that hold nothing are deleted. The caller holds mu, as metrics may still be asked for.
func (j *Journal) unmap() error {
	var errs []error
	for _, s := range []*segment{j.spare, j.used} {
		if s != nil {
			errs = append(errs, s.discard())
		}
	}
	for _, s := range append(j.leaving, j.segments...) {
		switch {
		case len(s.chunks) > 0 || s.writers.Load() > 0: // somebody may still be at it: it stays mapped until the process ends
			errs = append(errs, s.file.Close())
		case s.dropped || s.shipped() < s.tail:
			errs = append(errs, s.close())
		default:
			errs = append(errs, s.discard())
		}
	}
	j.segments, j.leaving, j.spare, j.used = nil, nil, nil, nil
	return errors.Join(errs...)
}

// A segment's name ends with extension, that of a file that is none and was put aside with putAside behind it.
const (
	extension = ".journal"
	putAside  = ".damaged"
)

func (j *Journal) path(sequence uint64) string { return filepath.Join(j.dir, nameOf(sequence)) }

func nameOf(sequence uint64) string { return fmt.Sprintf("%016x%s", sequence, extension) }

// list returns the sequences of a folder's segments, the oldest first.
func list(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var sequences []uint64
	for _, e := range entries {
		number, ok := strings.CutSuffix(e.Name(), extension)
		if n, err := strconv.ParseUint(number, 16, 64); ok && err == nil && len(number) == 16 {
			sequences = append(sequences, n)
		}
	}
	slices.Sort(sequences)
	return sequences, nil
}
