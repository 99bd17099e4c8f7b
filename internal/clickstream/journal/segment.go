package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A segment is a file that is mapped into memory: a header, and records one after the other, each on a boundary of 8
// bytes, in the byte order of the machine.
//
//	header   magic 8 · version 8 · sequence 8 · shipped 8 · read 8 · unused, up to 64 bytes
//	record   length u32 · checksum u32 · as many bytes as length says · up to 7 of padding
//
// shipped and read are how far records are done and were read. They and the version have 32 bits, and beside them the same
// ones the other way round. The checksum is CRC-32C of the sequence, the length and the bytes. The sequence is that of the
// file's name too, so that the records tell whose they are when the header is damaged. While a record is being written its
// length has the top bit set and no checksum: a process that dies meanwhile has not answered, and the length leads on to
// what others have written behind it. The rest of the file is zeros.
const (
	magic      = 0x6c6e72756f6a746c // "ltjournl" where the low byte comes first
	spent      = 0x746e6570736a746c // "ltjspent", while a segment is made to another one
	version    = 1
	headerSize = 64
	recordHead = 8
	unwritten  = 1 << 31

	atVersion, atSequence, atShipped, atRead = 8, 16, 24, 32
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	// errNoSegment says that a file is no segment.
	errNoSegment = errors.New("not a segment of a journal")
	// errUnfinished says that a segment was being made when its process died; it is deleted.
	errUnfinished = errors.New("an unfinished segment of a journal")
)

type segment struct {
	path     string
	sequence uint64
	seed     uint32 // the checksum of the sequence
	earlier  bool   // another process wrote it
	beheaded bool   // its header was damaged
	file     *os.File
	memory   []byte

	tail   int         // where the next record goes; the journal's mutex guards it
	sealed atomic.Bool // tail changes no more
	syncs  group

	writers atomic.Int64 // those who write a record that they have reserved

	// The journal's mutex guards these too.
	unread  uint64   // records that this process has not read
	next    int      // where this process reads on
	again   int      // up to where an earlier process had read
	chunks  []*Chunk // that were read and are not done, the oldest first
	left    bool     // the reader is through
	dropped bool     // given up before all was done
}

// newSegment makes a file whose space is allocated: to write into a hole of a full disk would be a SIGBUS.
func newSegment(path string, sequence uint64, size int) (_ *segment, err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = file.Close()
			_ = os.Remove(path)
		}
	}()
	if err := allocate(file, int64(size)); err != nil {
		return nil, fmt.Errorf("%s: allocating %d bytes: %w", path, size, err)
	}
	s, err := mapSegment(file, path, sequence, size)
	if err != nil {
		return nil, err
	}
	populate(s.memory)
	s.begin()
	return s, nil
}

// begin writes the header before zeros.
func (s *segment) begin() {
	s.setMark(atVersion, version)
	binary.NativeEndian.PutUint64(s.memory[atSequence:], s.sequence)
	s.setShipped(headerSize)
	s.setReadUpTo(headerSize)
	atomic.StoreUint64(s.word(0), magic) // it is a segment now
	s.tail, s.next = headerSize, headerSize
}

// renew makes a new segment of one of this process in which all is done: its space and its pages are there, which is most of
// the work. sync, where given, puts the file on the disk before it is renamed: a machine that dies then must not leave the
// old records under the new name.
func (s *segment) renew(path string, sequence uint64, sync func(*os.File) error) (*segment, error) {
	atomic.StoreUint64(s.word(0), spent) // it is none while it is cleared
	clear(s.memory[headerSize:s.tail])
	if sync != nil {
		if err := sync(s.file); err != nil {
			return nil, errors.Join(err, s.discard())
		}
	}
	if err := os.Rename(s.path, path); err != nil {
		return nil, errors.Join(err, s.discard())
	}
	next := &segment{path: path, sequence: sequence, seed: seedOf(sequence), file: s.file, memory: s.memory}
	next.begin()
	return next, nil
}

// openSegment opens a segment of an earlier process, which is sealed. Its tail is the file's end.
func openSegment(path string, sequence uint64) (*segment, error) {
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return nil, errNoSegment
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	size := info.Size() &^ 7 // a file that was cut short anywhere
	switch {
	case info.Size() == 0:
		return nil, errors.Join(errUnfinished, file.Close(), os.Remove(path))
	case size < headerSize || size > maxSegmentBytes:
		_ = file.Close()
		return nil, errNoSegment
	}
	s, err := mapSegment(file, path, sequence, int(size))
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	s.tail, s.next, s.again = int(size), s.shipped(), s.readUpTo()
	s.earlier = true
	s.sealed.Store(true)
	switch err := s.identify(); {
	case errors.Is(err, errUnfinished):
		return nil, errors.Join(err, s.discard())
	case err != nil:
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// identify says what is wrong with a segment of an earlier process. One of which only the header is damaged is a segment: its
// records tell.
func (s *segment) identify() error {
	if *s.word(0) == spent {
		return errUnfinished
	}
	if v := *s.word(atVersion); uint32(v) == ^uint32(v>>32) && uint32(v) != version {
		return errNoSegment // another version of linktrail wrote it, and another must read it
	}
	if *s.word(0) == magic && *s.word(atVersion) == bothWays(version) && *s.word(atSequence) == s.sequence {
		return nil
	}
	if _, _, ok := s.at(headerSize); ok || s.after(headerSize) < s.tail {
		s.beheaded = true
		return nil
	}
	if *s.word(0) == 0 && s.unfinished(headerSize, s.tail) {
		return errUnfinished
	}
	return errNoSegment
}

func mapSegment(file *os.File, path string, sequence uint64, size int) (*segment, error) {
	memory, err := unix.Mmap(int(file.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("%s: mapping: %w", path, err)
	}
	return &segment{path: path, sequence: sequence, seed: seedOf(sequence), file: file, memory: memory}, nil
}

func seedOf(sequence uint64) uint32 {
	var number [8]byte
	binary.NativeEndian.PutUint64(number[:], sequence)
	return crc32.Checksum(number[:], castagnoli)
}

// word is a number in the segment, for atomic access.
func (s *segment) word(at int) *uint64 { return (*uint64)(unsafe.Pointer(&s.memory[at])) }

func (s *segment) shipped() int       { return s.mark(atShipped) }
func (s *segment) setShipped(at int)  { s.setMark(atShipped, at) }
func (s *segment) readUpTo() int      { return s.mark(atRead) }
func (s *segment) setReadUpTo(at int) { s.setMark(atRead, at) }

// setMark writes a number of the header.
func (s *segment) setMark(word, n int) { atomic.StoreUint64(s.word(word), bothWays(n)) }

// bothWays is a number, and beside it all its bits the other way round.
func bothWays(n int) uint64 { return uint64(^uint32(n))<<32 | uint64(uint32(n)) }

// mark reads a place. One that is damaged is the first: better twice than never.
func (s *segment) mark(word int) int {
	value := atomic.LoadUint64(s.word(word))
	if at := uint32(value); at == ^uint32(value>>32) && at >= headerSize && at%8 == 0 && int(at) <= len(s.memory) {
		return int(at)
	}
	return headerSize
}

// seal ends the segment. The caller holds the journal's mutex.
func (s *segment) seal() { s.sealed.Store(true) }

// reserve makes room for a record and counts its writer, unless there is none. The caller holds the journal's mutex, so
// that a length is there before anybody can write behind it.
func (s *segment) reserve(n int) bool {
	need := align(n + recordHead)
	if s.sealed.Load() || s.tail+need > len(s.memory) {
		return false
	}
	atomic.StoreUint64(s.word(s.tail), uint64(n|unwritten))
	s.writers.Add(1)
	s.unread++
	s.tail += need
	return true
}

// write writes a record where room was reserved for it; its head comes last.
func (s *segment) write(at int, r *Record) {
	n := r.size()
	body := s.memory[at+recordHead : at+recordHead+n]
	r.put(body)
	atomic.StoreUint64(s.word(at), uint64(s.checksum(body))<<32|uint64(n))
}

func (s *segment) checksum(body []byte) uint32 {
	sum := ^s.seed
	for n, i := uint32(len(body)), 0; i < 4; i, n = i+1, n>>8 { // crc32.Update would need the length in memory of its own
		sum = castagnoli[byte(sum)^byte(n)] ^ sum>>8
	}
	return crc32.Update(^sum, castagnoli, body)
}

// at returns the record at a place, and where the next one is. ok is false when there is none, it is damaged, or it is not
// yet written.
func (s *segment) at(at int) (body []byte, next int, ok bool) {
	if at+recordHead > len(s.memory) {
		return nil, at, false
	}
	head := atomic.LoadUint64(s.word(at))
	n, sum := int(uint32(head)), uint32(head>>32)
	if n == 0 || n&unwritten != 0 || n > len(s.memory)-at-recordHead {
		return nil, at, false
	}
	body = s.memory[at+recordHead : at+recordHead+n]
	if s.checksum(body) != sum {
		return nil, at, false
	}
	return body, at + align(n+recordHead), true
}

// after returns where the next record behind at is, of a segment that nobody writes any more: what at holds is damaged, or
// was never finished. It is the segment's end when there is none.
func (s *segment) after(at int) int {
	if at+recordHead <= s.tail {
		if n := int(uint32(atomic.LoadUint64(s.word(at)))); n&unwritten != 0 {
			if next := at + align(n&^unwritten+recordHead); next <= s.tail && next > at {
				if _, _, ok := s.at(next); ok || next == s.tail {
					return next
				}
			}
		}
	}
	for at += 8; at+recordHead <= s.tail; at += 8 {
		if _, _, ok := s.at(at); ok {
			return at
		}
	}
	return s.tail
}

// found is what a segment of an earlier process holds.
type found struct {
	waiting uint64 // records that are not done
	damaged uint64 // places where something else was in the way
}

// scan looks at all records that are not done, and makes the last one's end that of the segment. each, where given, is
// called for each of them.
func (s *segment) scan(each func(at int, body []byte)) found {
	var f found
	end := s.shipped()
	for at := end; at < s.tail; {
		body, next, ok := s.at(at)
		if !ok {
			next = s.after(at)
			if !s.unfinished(at, next) {
				f.damaged++
			}
			at = next
			continue
		}
		if each != nil {
			each(at, body)
		}
		f.waiting++
		at, end = next, next
	}
	s.tail, s.unread = end, f.waiting
	return f
}

// unfinished reports whether what is between two places is nothing that was ever answered: a record that nobody has
// finished, or zeros.
func (s *segment) unfinished(from, to int) bool {
	if head := atomic.LoadUint64(s.word(from)); head>>32 == 0 && head&unwritten != 0 {
		return true
	}
	for at := from; at < to; at += 8 {
		if *s.word(at) != 0 {
			return false
		}
	}
	return true
}

// close unmaps the segment and leaves the file.
func (s *segment) close() error {
	memory := s.memory
	s.memory = nil
	return errors.Join(unix.Munmap(memory), s.file.Close())
}

// discard unmaps the segment and deletes the file.
func (s *segment) discard() error { return errors.Join(os.Remove(s.path), s.close()) }

func align(n int) int { return (n + 7) &^ 7 }

// writeZeros allocates a file's space where the system has no call for it.
func writeZeros(file *os.File, size int64) error {
	zeros := make([]byte, 256<<10)
	for at := int64(0); at < size; at += int64(len(zeros)) {
		if _, err := file.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at); err != nil {
			return err
		}
	}
	_, err := file.Seek(0, io.SeekStart)
	return err
}
