package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// State is what a folder's journal holds, as Inspect finds it.
type State struct {
	// Dir is the folder.
	Dir string
	// Open reports that a process has the journal open: what is said of it may be over by now.
	Open bool
	// Segments are those that are there, the oldest first.
	Segments []SegmentState
	// PutAside are files that an earlier start could not read and has left for people to look at.
	PutAside []string
}

// SegmentState is what one file holds.
type SegmentState struct {
	File     string
	Sequence uint64
	// Bytes is the file's size, Used up to where there are records.
	Bytes, Used int
	// Done records are acknowledged, or refused by the broker for good; Waiting ones are not, and of those Sent ones were
	// read to be sent.
	Done, Waiting, Sent int
	// Oldest and Newest are when the first and the last of the records that wait were appended.
	Oldest, Newest time.Time
	// Damage is what could not be read; the records that were there are lost.
	Damage []Damage
}

// Damage is a part of a file that holds no records, and should.
type Damage struct {
	// At is where it begins, and Bytes how long it is.
	At, Bytes int
	// What is wrong there.
	What string
}

// Waiting is how many records are not done.
func (s State) Waiting() (n int) {
	for _, segment := range s.Segments {
		n += segment.Waiting
	}
	return n
}

// Oldest is when the oldest record that is not done was appended; the zero time when there is none.
func (s State) Oldest() (oldest time.Time) {
	for _, segment := range s.Segments {
		if t := segment.Oldest; !t.IsZero() && (oldest.IsZero() || t.Before(oldest)) {
			oldest = t
		}
	}
	return oldest
}

// Damaged is how many parts of the journal's files are damaged, files that were put aside among them.
func (s State) Damaged() int {
	n := len(s.PutAside)
	for _, segment := range s.Segments {
		n += len(segment.Damage)
	}
	return n
}

// Inspect looks at the journal of a folder, changes nothing in it, and needs no right to write. Another process may have
// it open. each, where given, is called for each record that waits, the oldest segment first; its error ends Inspect. A
// folder without a journal is fs.ErrNotExist.
func Inspect(dir string, each func(Record) error) (State, error) {
	state := State{Dir: dir}
	sequences, err := list(dir)
	if err != nil {
		return state, err
	}
	if state.PutAside, err = filepath.Glob(filepath.Join(dir, "*"+extension+putAside)); err != nil {
		return state, err
	}
	state.Open, err = isOpen(dir)
	if err != nil && (!errors.Is(err, fs.ErrNotExist) || len(sequences) == 0) { // files may have been copied without the lock
		return state, err
	}
	for _, sequence := range sequences {
		path := filepath.Join(dir, nameOf(sequence))
		memory, err := read(path, sequence, state.Open)
		if errors.Is(err, fs.ErrNotExist) {
			continue // shipped meanwhile
		}
		if err != nil {
			return state, err
		}
		segment, err := inspect(path, sequence, memory, state.Open, each)
		if err != nil {
			return state, err
		}
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			continue // what was read may be of two times
		}
		state.Segments = append(state.Segments, segment)
	}
	return state, nil
}

// looks is how often a segment of an open journal is looked at that seems damaged.
const looks = 5

// read copies a segment, which a process that has the journal open may write meanwhile and use again. What is written while it
// is copied looks like damage, but not for long.
func read(path string, sequence uint64, open bool) (memory []byte, err error) {
	for range looks {
		if memory, err = os.ReadFile(path); err != nil || !open {
			break
		}
		if state, _ := inspect(path, sequence, memory, open, nil); len(state.Damage) == 0 {
			break
		}
	}
	return memory, err
}

// isOpen reports whether a process holds the lock of a folder.
func isOpen(dir string) (bool, error) {
	file, err := os.Open(filepath.Join(dir, lockName))
	if err != nil {
		return false, err
	}
	defer func() { _ = file.Close() }()
	err = unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}

// inspect looks at a copy of a segment. In a journal that is open the last records may be in the making.
func inspect(path string, sequence uint64, memory []byte, open bool, each func(Record) error) (SegmentState, error) {
	state := SegmentState{File: path, Sequence: sequence, Bytes: len(memory)}
	memory = memory[:len(memory)&^7]
	s := &segment{path: path, sequence: sequence, seed: seedOf(sequence), memory: memory, tail: len(memory), earlier: true}
	if len(memory) == 0 || open && *s.word(0) == 0 {
		return state, nil // it is being made
	}
	if len(memory) < headerSize || len(memory) > maxSegmentBytes {
		what := fmt.Sprintf("the file has %d bytes, and should have %d to %d", len(memory), headerSize, maxSegmentBytes)
		state.Damage = append(state.Damage, Damage{0, state.Bytes, what})
		return state, nil
	}
	switch err := s.identify(); {
	case errors.Is(err, errUnfinished):
		return state, nil // it was being made when its process died
	case errors.Is(err, errNoSegment):
		state.Damage = append(state.Damage, Damage{0, state.Bytes, s.otherwise()})
		return state, nil
	case s.beheaded:
		state.Damage = append(state.Damage, Damage{0, headerSize, "a damaged header: the records are read all the same"})
	}
	if !s.beheaded && s.mark(atShipped) == headerSize && *s.word(atShipped) != bothWays(headerSize) {
		state.Damage = append(state.Damage, Damage{atShipped, 8, "the mark of what is done is damaged: all is sent again"})
	}
	shipped, read := s.shipped(), s.readUpTo()
	state.Used = headerSize
	for at := headerSize; at < s.tail; {
		body, next, ok := s.at(at)
		if !ok {
			next = s.after(at)
			// What a crash has left unfinished, and the zeros behind the last record, were never answered.
			if !s.unfinished(at, next) && at >= shipped && (!open || next < s.tail) {
				state.Damage = append(state.Damage, Damage{at, next - at, "no record with a right checksum"})
			}
			at = next
			continue
		}
		state.Used = next
		switch {
		case at < shipped:
			state.Done++
		default:
			state.Waiting++
			if at < read {
				state.Sent++
			}
			r, err := parse(body)
			if err != nil {
				state.Damage = append(state.Damage, Damage{at, next - at, "a record of another form"})
				break
			}
			if state.Oldest.IsZero() {
				state.Oldest = r.Appended
			}
			state.Newest = r.Appended
			if each != nil {
				if err := each(r); err != nil {
					return state, err
				}
			}
		}
		at = next
	}
	return state, nil
}

// otherwise says what a file is that is no segment.
func (s *segment) otherwise() string {
	if v := *s.word(atVersion); *s.word(0) == magic && uint32(v) == ^uint32(v>>32) && uint32(v) != version {
		return fmt.Sprintf("the format has version %d, and this linktrail reads %d", uint32(v), version)
	}
	return "the file is no segment of a journal, or nothing of it can be read"
}
