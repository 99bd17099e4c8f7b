package journal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/linktrail/linktrail/hack/testenv"
)

// lain is a journal of one segment that lies still, with its content up to the end of the last record, and where each record
// ends.
func lain(t *testing.T, records int) (content []byte, ends []int) {
	t.Helper()
	c := small(t)
	j := MustOpen(t, c)
	for n := range records {
		MustAppend(t, j, n, n+1)
		ends = append(ends, j.segments[0].tail)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(files(t, c.Dir)[0])
	if err != nil {
		t.Fatal(err)
	}
	return content[:ends[records-1]], ends
}

// reopen opens a journal whose one segment has this content and size, and returns what is read from it. It can be written to.
func reopen(t *testing.T, content []byte, size int64) (numbers []int, damaged uint64) {
	t.Helper()
	c := small(t)
	path := filepath.Join(c.Dir, fmt.Sprintf("%016x%s", 1, extension))
	if err := errors.Join(os.WriteFile(path, content, 0o600), os.Truncate(path, size)); err != nil {
		t.Fatal(err)
	}
	j, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	for chunk := j.Read(3); chunk != nil; chunk = j.Read(3) {
		for _, r := range chunk.Records {
			n := numberOf(r)
			if want := numbered(n); string(want.Value) != string(r.Value) || !want.Parent.Equal(r.Parent) || !want.Appended.Equal(r.Appended) {
				t.Fatalf("record %d is %+v", n, r)
			}
			numbers = append(numbers, n)
			chunk.Done()
		}
	}
	if n := j.Waiting(); n != 0 {
		t.Errorf("%d records wait, and none can be read", n)
	}
	MustAppend(t, j, 900, 903)
	if diff := cmp.Diff([]int{900, 901, 902}, drain(j)); diff != "" {
		t.Error(diff)
	}
	damaged = j.counts.damaged.Load()
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	return numbers, damaged
}

// TestEachBit flips one bit of each byte of a segment, and each bit of those that matter most.
func TestEachBit(t *testing.T) {
	const records = 8
	content, ends := lain(t, records)
	for at := range content {
		for bit := range 8 {
			if (at >= headerSize+recordHead || at >= atShipped && at < headerSize) && bit != at%8 {
				continue
			}
			spoilt := append([]byte(nil), content...)
			spoilt[at] ^= 1 << bit
			got, damaged := reopen(t, spoilt, minSegmentBytes)
			lost := records
			for i, n := range got {
				if n >= records || i > 0 && n <= got[i-1] {
					t.Fatalf("bit %d of byte %d: records %v", bit, at, got)
				}
				lost--
			}
			if lost > 1 || lost == 1 && (damaged != 1 || at < headerSize) {
				t.Errorf("bit %d of byte %d, records end at %v: %d are lost, %d places are damaged", bit, at, ends, lost, damaged)
			}
		}
	}
}

// TestCutAnywhere cuts a segment at each length.
func TestCutAnywhere(t *testing.T) {
	content, ends := lain(t, 6)
	for size := range content {
		whole := 0
		for whole < len(ends) && ends[whole] <= size {
			whole++
		}
		got, _ := reopen(t, content[:size], int64(size))
		if diff := cmp.Diff(sequence(0, whole), got); diff != "" {
			t.Errorf("cut at %d: %s", size, diff)
		}
	}
}

// TestHalfMade opens what a process leaves that dies while it makes a segment: nothing that anybody could miss.
func TestHalfMade(t *testing.T) {
	content, _ := lain(t, 3)
	word := func(value uint64) func([]byte) {
		return func(b []byte) { *(&segment{memory: b}).word(0) = value }
	}
	for name, make := range map[string]func(b []byte){
		"no header":        func(b []byte) { clear(b) },
		"half a header":    func(b []byte) { clear(b[headerSize:]); word(0)(b) },
		"not cleared":      word(spent),
		"partly cleared":   func(b []byte) { clear(b[headerSize:120]); word(spent)(b) },
		"header all there": func(b []byte) { clear(b[headerSize:]) },
	} {
		t.Run("OK "+name, func(t *testing.T) {
			b := append([]byte(nil), content...)
			make(b)
			got, damaged := reopen(t, b, minSegmentBytes)
			if len(got) > 0 || damaged > 0 {
				t.Errorf("%v, %d places are damaged", got, damaged)
			}
		})
	}
}

// TestPowerCut has the machine die when a segment has become another one, of which the disk has the name and no more.
func TestPowerCut(t *testing.T) {
	c := small(t)
	old, err := newSegment(filepath.Join(c.Dir, nameOf(1)), 1, c.SegmentBytes)
	if err != nil {
		t.Fatal(err)
	}
	r := numbered(1)
	old.reserve(r.size())
	old.write(headerSize, r)
	var disk []byte
	j := MustOpen(t, Config{Dir: t.TempDir(), Sync: true})
	if j.sync == nil {
		t.Error("Sync does not sync")
	}
	path := filepath.Join(c.Dir, nameOf(2))
	next, err := old.renew(path, 2, func(file *os.File) (err error) {
		disk, err = os.ReadFile(file.Name()) // it has its old name
		return errors.Join(err, j.sync(file))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := next.close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, disk, 0o640); err != nil {
		t.Fatal(err)
	}
	MustOpen(t, c)
	if state, _ := MustInspect(t, c.Dir); state.Damaged() != 0 || len(state.Segments) != 0 {
		t.Errorf("%+v", state)
	}
}

// TestStrangeFiles opens a folder in which others have put something.
func TestStrangeFiles(t *testing.T) {
	c := small(t)
	folder := filepath.Join(c.Dir, fmt.Sprintf("%016x%s", 7, extension))
	largest := filepath.Join(c.Dir, fmt.Sprintf("%016x%s", ^uint64(0), extension))
	newer := filepath.Join(c.Dir, fmt.Sprintf("%016x%s", 9, extension))
	content, _ := lain(t, 3)
	(&segment{memory: content}).setMark(atVersion, version+1)
	for _, err := range []error{
		os.MkdirAll(filepath.Join(folder, "below"), 0o700), os.WriteFile(largest, []byte("hello"), 0o600),
		os.WriteFile(newer, content, 0o600), os.WriteFile(filepath.Join(c.Dir, "notes.txt"), []byte("hello"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	j := MustOpen(t, c)
	if n := j.counts.damaged.Load(); n != 3 {
		t.Errorf("%d places are damaged", n)
	}
	MustAppend(t, j, 0, 1500)
	if diff := cmp.Diff(sequence(0, 1500), drain(j)); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{folder + ".damaged", largest + ".damaged", newer + ".damaged", filepath.Join(c.Dir, "notes.txt")} {
		if _, err := os.Stat(name); err != nil {
			t.Error(err)
		}
	}
}

// TestDamagedMeanwhile damages a segment that is being written to.
func TestDamagedMeanwhile(t *testing.T) {
	for name, at := range map[string]int{"a value": recordHead + fixed + 4, "a length": 0, "the mark of the unwritten": 3, "a checksum": 6} {
		t.Run("OK "+name, func(t *testing.T) {
			c := small(t)
			j := MustOpen(t, c)
			MustAppend(t, j, 0, 3)
			third := j.segments[0].tail
			MustAppend(t, j, 3, 10)
			file, err := os.OpenFile(files(t, c.Dir)[0], os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = file.Close() }()
			var b [1]byte
			if _, err := file.ReadAt(b[:], int64(third+at)); err != nil {
				t.Fatal(err)
			}
			b[0] ^= 0x80
			if _, err := file.WriteAt(b[:], int64(third+at)); err != nil {
				t.Fatal(err)
			}
			got := append(drain(j), drain(j)...)
			MustAppend(t, j, 10, 20)
			got = append(got, drain(j)...)
			if diff := cmp.Diff(append(sequence(0, 3), sequence(4, 20)...), got); diff != "" {
				t.Error(diff)
			}
			if n, waiting := j.counts.damaged.Load(), j.Waiting(); n != 1 || waiting != 0 {
				t.Errorf("%d places are damaged, %d records wait", n, waiting)
			}
		})
	}
}

// TestCutMeanwhile cuts a segment that a process writes to, which is its death: there is no memory behind the end of a file.
// The next process reads what is left.
func TestCutMeanwhile(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "LINKTRAIL_TEST_JOURNAL="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	testenv.Eventually(t, time.Minute, func() error {
		segments := files(t, dir)
		if len(segments) < 4 {
			return fmt.Errorf("%d segments", len(segments))
		}
		for _, path := range segments { // it may just have begun another
			_ = os.Truncate(path, 4096)
		}
		select {
		case err := <-ended:
			if err == nil {
				t.Error("it ended in order")
			}
			return nil
		default:
			return errors.New("the process goes on")
		}
	})
	j := MustOpen(t, Config{Dir: dir, SegmentBytes: minSegmentBytes, MaxBytes: 1 << 30})
	found := 0
	for chunk := j.Read(100); chunk != nil; chunk = j.Read(100) {
		found += len(chunk.Records)
		for range chunk.Records {
			chunk.Done()
		}
	}
	if least := 4096 / 500; found < least { // of each of the first segments there are so many
		t.Errorf("%d records", found)
	}
	MustAppend(t, j, 0, 10)
}

// TestFolderGone takes the folder away from a journal, and gives it back.
func TestFolderGone(t *testing.T) {
	c := small(t)
	j := MustOpen(t, c)
	MustAppend(t, j, 0, 1)
	moved := c.Dir + "-moved"
	if err := os.Rename(c.Dir, moved); err != nil {
		t.Fatal(err)
	}
	taken := 1
	var err error
	for ; err == nil && taken < 5000; taken++ {
		err = j.Append(numbered(taken))
	}
	if !errors.Is(err, ErrFull) || !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("%v", err)
	}
	taken--
	if n := j.counts.refused.Load(); n != 1 {
		t.Errorf("%d are refused", n)
	}
	if err := os.Rename(moved, c.Dir); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, time.Minute, func() error { return j.Append(numbered(taken)) })
	if diff := cmp.Diff(sequence(0, taken+1), drain(j)); diff != "" {
		t.Error(diff)
	}
}

// TestSizes appends records around the largest, and the smallest.
func TestSizes(t *testing.T) {
	j := MustOpen(t, small(t))
	const largest = minSegmentBytes - headerSize - recordHead - fixed
	for _, size := range []int{0, 1, largest - 9, largest - 8, largest - 1, largest, largest + 1, largest + 7, largest + 8, largest + 9} {
		err := j.Append(&Record{Value: make([]byte, size)})
		if size > largest {
			if !errors.Is(err, ErrTooLarge) {
				t.Errorf("%d bytes: %v", size, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		chunk := j.Read(1)
		if chunk == nil || len(chunk.Records[0].Value) != size {
			t.Fatalf("%d bytes are %v", size, chunk)
		}
		chunk.Done()
	}
}

// TestReadOnce reads a full journal of which nothing is done: what is on its way is not read again.
func TestReadOnce(t *testing.T) {
	c := small(t)
	c.Full = FullRefuseNew
	j := MustOpen(t, c)
	taken := 0
	for j.Append(numbered(taken)) == nil {
		taken++
	}
	var chunks []*Chunk
	var got []int
	for chunk := j.Read(100); chunk != nil && len(got) <= taken; chunk = j.Read(100) {
		chunks = append(chunks, chunk)
		for _, r := range chunk.Records {
			got = append(got, numberOf(r))
		}
	}
	if diff := cmp.Diff(sequence(0, taken), got); diff != "" {
		t.Error(diff)
	}
	for _, chunk := range chunks {
		for range chunk.Records {
			chunk.Done()
		}
	}
}

// TestSmaller opens a journal that had larger segments, and more of them.
func TestSmaller(t *testing.T) {
	c := small(t)
	c.SegmentBytes, c.MaxBytes = 4*minSegmentBytes, 16*minSegmentBytes
	j := MustOpen(t, c)
	MustAppend(t, j, 0, 3500)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	c.SegmentBytes, c.MaxBytes = minSegmentBytes, 6*minSegmentBytes
	j = MustOpen(t, c)
	MustAppend(t, j, 3500, 6000)
	if n := j.Bytes(); n > c.MaxBytes {
		t.Errorf("%d bytes, of %d", n, c.MaxBytes)
	}
	got := drain(j)
	if diff := cmp.Diff(sequence(6000-len(got), 6000), got); diff != "" {
		t.Error(diff)
	}
	if lost := int(j.counts.overwritten.Load()); lost+len(got) != 6000 {
		t.Errorf("%d are read and %d overwritten, of 6000", len(got), lost)
	}
}

// TestAllAtOnce appends to a small journal, reads it in both ways and says what is done out of order, while metrics are asked
// for until the end and beyond: what was taken is read once or counted as overwritten.
func TestAllAtOnce(t *testing.T) {
	c := small(t)
	j := MustOpen(t, c)
	const writers, each = 4, 5000
	var writing, rest sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for n := range each {
				_ = j.Append(numbered(w*each + n)) // one that is refused is counted
			}
		})
	}
	var stop atomic.Bool
	rest.Go(func() {
		for !stop.Load() {
			_, _, _ = j.Oldest(), j.Bytes(), j.Waiting()
		}
	})
	random := rand.New(rand.NewPCG(1, 2))
	seen := make(map[int]bool)
	var inHand []*Chunk
	done := func(i int) {
		chunk := inHand[i]
		inHand = append(inHand[:i], inHand[i+1:]...)
		for range chunk.Records {
			chunk.Done()
		}
	}
	read := func() bool {
		next := j.Read
		if random.IntN(2) == 0 {
			next = j.ReadFresh
		}
		chunk := next(1 + random.IntN(100))
		if chunk == nil {
			return false
		}
		inHand = append(inHand, chunk)
		for _, r := range chunk.Records {
			n := numberOf(r)
			if seen[n] {
				t.Fatalf("record %d is read again", n)
			}
			seen[n] = true
		}
		return true
	}
	ended := make(chan struct{})
	go func() { writing.Wait(); close(ended) }()
	for running := true; running; {
		select {
		case <-ended:
			running = false
		default:
			read()
		}
		for len(inHand) > 20 {
			done(random.IntN(len(inHand)))
		}
	}
	for idle := 0; idle < 100; idle++ {
		if read() {
			idle = 0
		}
	}
	for len(inHand) > 0 {
		done(0)
	}
	lost := int(j.counts.refused.Load() + j.counts.overwritten.Load())
	if len(seen)+lost != writers*each {
		t.Errorf("%d are read and %d counted as lost, of %d", len(seen), lost, writers*each)
	}
	if n := j.Waiting(); n != 0 {
		t.Errorf("%d records wait", n)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	_, _ = j.Oldest(), j.Bytes()
	stop.Store(true)
	rest.Wait()
}
