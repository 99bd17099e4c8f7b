package journal

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"
)

// MustOpen opens a journal of small segments, which is closed at the test's end.
func MustOpen(t testing.TB, c Config) *Journal {
	t.Helper()
	j, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return j
}

func small(t testing.TB) Config {
	return Config{Dir: t.TempDir(), SegmentBytes: minSegmentBytes, MaxBytes: 8 * minSegmentBytes}
}

// numbered is a record that tells its number; its size differs from that of the next.
func numbered(n int) *Record {
	state, _ := trace.ParseTraceState("a=1")
	r := &Record{
		Appended: time.Unix(1782900000, int64(n)),
		Parent: trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: trace.TraceID{1, 15: byte(n)}, SpanID: trace.SpanID{2, 7: byte(n)}, TraceFlags: trace.FlagsSampled, TraceState: state,
		}),
		Value: fmt.Appendf(nil, "%d %s", n, strings.Repeat("v", n%300)),
	}
	binary.BigEndian.PutUint64(r.ID[:], uint64(n))
	return r
}

func numberOf(r Record) int { return int(binary.BigEndian.Uint64(r.ID[:])) }

func MustAppend(t testing.TB, j *Journal, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		if err := j.Append(numbered(n)); err != nil {
			t.Fatalf("record %d: %v", n, err)
		}
	}
}

// drain reads all that is there now and says that it is done.
func drain(j *Journal) (numbers []int) {
	for {
		chunk := j.Read(100)
		if chunk == nil {
			return numbers
		}
		for _, r := range chunk.Records {
			numbers = append(numbers, numberOf(r))
		}
		for range chunk.Records {
			chunk.Done()
		}
	}
}

func sequence(from, to int) (numbers []int) {
	for n := from; n < to; n++ {
		numbers = append(numbers, n)
	}
	return numbers
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"+extension))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestJournal(t *testing.T) {
	t.Run("OK what goes in comes out, in order and whole", func(t *testing.T) {
		j := MustOpen(t, small(t))
		MustAppend(t, j, 0, 3)
		chunk := j.Read(2)
		if len(chunk.Records) != 2 {
			t.Fatalf("%d records", len(chunk.Records))
		}
		got, want := chunk.Records[1], *numbered(1)
		if !got.Appended.Equal(want.Appended) || got.ID != want.ID || !got.Parent.Equal(want.Parent) || string(got.Value) != string(want.Value) {
			t.Errorf("%+v, want %+v", got, want)
		}
		if diff := cmp.Diff([]int{2}, drain(j)); diff != "" {
			t.Error(diff)
		}
		if j.Read(1) != nil {
			t.Error("there is more")
		}
	})

	t.Run("OK what is not done is read again by the next process, in order", func(t *testing.T) {
		c := small(t)
		j := MustOpen(t, c)
		MustAppend(t, j, 0, 1000)
		first, second, third := j.Read(100), j.Read(100), j.Read(100)
		for range first.Records {
			first.Done()
		}
		for range third.Records { // out of order: the second is not done
			third.Done()
		}
		again := len(second.Records) + len(third.Records)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		j = MustOpen(t, c)
		if diff := cmp.Diff(sequence(len(first.Records), 1000), drain(j)); diff != "" {
			t.Error(diff)
		}
		if n := j.counts.repeated.Load(); int(n) != again {
			t.Errorf("%d are repeated, want %d", n, again)
		}
	})

	t.Run("OK segments go once all in them is done", func(t *testing.T) {
		c := small(t)
		j := MustOpen(t, c)
		for from := 0; from < 5000; from += 500 {
			MustAppend(t, j, from, from+500)
			if diff := cmp.Diff(sequence(from, from+500), drain(j)); diff != "" {
				t.Fatal(diff)
			}
		}
		if n := len(files(t, c.Dir)); n > 3 { // the one that is written, a spare, and one to be used again
			t.Errorf("%d segments are left", n)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if left := files(t, c.Dir); len(left) != 0 {
			t.Errorf("an empty journal leaves %v", left)
		}
	})

	t.Run("OK many at once", func(t *testing.T) {
		j := MustOpen(t, Config{Dir: t.TempDir(), SegmentBytes: minSegmentBytes, MaxBytes: 64 << 20})
		const writers, each = 8, 2000
		seen := make(map[int]int)
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				for n := range each {
					if err := j.Append(numbered(w*each + n)); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		last := make([]int, writers)
		deadline := time.Now().Add(time.Minute)
		for len(seen) < writers*each && time.Now().Before(deadline) && !t.Failed() {
			for _, n := range drain(j) {
				seen[n]++
				if w := n / each; n < last[w] {
					t.Fatalf("%d comes after %d", n, last[w])
				} else {
					last[w] = n
				}
			}
		}
		all.Wait()
		if len(seen) != writers*each {
			t.Errorf("%d of %d records", len(seen), writers*each)
		}
		for n, times := range seen {
			if times != 1 {
				t.Errorf("record %d came %d times", n, times)
			}
		}
	})

	t.Run("OK on the disk", func(t *testing.T) {
		c := small(t)
		c.Sync = true
		j := MustOpen(t, c)
		var all sync.WaitGroup
		for n := range 50 {
			all.Go(func() {
				if err := j.Append(numbered(n)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := len(drain(j)); n != 50 {
			t.Errorf("%d records", n)
		}
	})

	t.Run("Err another process has it open", func(t *testing.T) {
		c := small(t)
		MustOpen(t, c)
		if _, err := Open(c); err == nil || !strings.Contains(err.Error(), "another process") {
			t.Errorf("%v", err)
		}
	})

	t.Run("Err closed", func(t *testing.T) {
		j := MustOpen(t, small(t))
		if err := errors.Join(j.Close(), j.Close()); err != nil {
			t.Fatal(err)
		}
		if err := j.Append(numbered(0)); !errors.Is(err, ErrClosed) {
			t.Errorf("%v", err)
		}
	})

	t.Run("Err too large", func(t *testing.T) {
		j := MustOpen(t, small(t))
		if err := j.Append(&Record{Value: make([]byte, minSegmentBytes)}); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%v", err)
		}
	})
}

// TestFresh has records come while a backlog is read: they are read soon, and nothing is read twice or left out.
func TestFresh(t *testing.T) {
	c := Config{Dir: t.TempDir(), SegmentBytes: minSegmentBytes, MaxBytes: 1 << 30}
	const backlog, limit = 3000, 20
	j := MustOpen(t, c)
	MustAppend(t, j, 0, backlog)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}

	// Some by another process, which dies.
	j = MustOpen(t, c)
	seen := make(map[int]int)
	next := backlog
	var longest, undone int // how many turns a fresh record has waited; how many were read and not done
	appended := make(map[int]int)
	var inOrder [2]int
	turn := func(round int, done bool) (more bool) {
		for lane, chunk := range []*Chunk{j.Read(limit), j.ReadFresh(limit)} {
			if chunk == nil {
				continue
			}
			more = true
			for _, r := range chunk.Records {
				n := numberOf(r)
				if n < inOrder[lane] {
					t.Fatalf("%d is read after %d", n, inOrder[lane])
				}
				inOrder[lane] = n
				if n >= backlog {
					longest = max(longest, round-appended[n])
				}
				if done {
					seen[n]++
					chunk.Done()
				} else {
					undone++
				}
			}
		}
		return more
	}
	for round := range 60 {
		for range 10 {
			appended[next] = round
			MustAppend(t, j, next, next+1)
			next++
		}
		turn(round, round < 50)
	}
	if len(seen) == next || seen[0] == 0 || seen[backlog] == 0 {
		t.Fatalf("%d of %d are read: there is no backlog and nothing fresh", len(seen), next)
	}
	if longest > 1 { // one where a segment ends
		t.Errorf("a fresh record has waited for %d turns", longest)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}

	// The rest by the next.
	j, inOrder = MustOpen(t, c), [2]int{}
	for turn(0, true) {
	}
	for n := range next {
		if seen[n] != 1 {
			t.Fatalf("record %d is done %d times, of %d", n, seen[n], next)
		}
	}
	if n := j.counts.repeated.Load(); int(n) != undone || undone < 20 {
		t.Errorf("%d are repeated, want %d", n, undone)
	}
	if n := len(files(t, c.Dir)); n > 3 {
		t.Errorf("%d segments are left", n)
	}
}

func TestFull(t *testing.T) {
	const records = 5000 // more than the journal holds
	t.Run("OK the oldest goes", func(t *testing.T) {
		c := small(t)
		j := MustOpen(t, c)
		MustAppend(t, j, 0, 100)
		chunk := j.Read(10) // on its way: its segment stays
		first := string(chunk.Records[9].Value)
		MustAppend(t, j, 100, records)
		if got := string(chunk.Records[9].Value); got != first {
			t.Errorf("what was read is now %q", got)
		}
		if n := len(files(t, c.Dir)); int64(n)*minSegmentBytes > c.MaxBytes || j.Bytes() > c.MaxBytes {
			t.Errorf("%d segments and %d bytes, of %d", n, j.Bytes(), c.MaxBytes)
		}
		got := drain(j)
		kept := 0 // of the segment whose first records are on their way
		for kept < len(got) && got[kept] == 10+kept {
			kept++
		}
		if diff := cmp.Diff(append(sequence(10, 10+kept), sequence(records-len(got)+kept, records)...), got); diff != "" || kept == 0 || kept == len(got) {
			t.Errorf("%d records, of the first segment %d: %s", len(got), kept, diff)
		}
		if n := int(j.counts.overwritten.Load()); n != records-len(got)-10 {
			t.Errorf("%d dropped, %d read", n, len(got)+10)
		}
		for range chunk.Records {
			chunk.Done()
		}
		if n := j.Waiting(); n != 0 {
			t.Errorf("%d wait", n)
		}
	})

	t.Run("Err the new one is refused", func(t *testing.T) {
		c := small(t)
		c.Full = FullRefuseNew
		j := MustOpen(t, c)
		taken := 0
		for ; taken < records; taken++ {
			if err := j.Append(numbered(taken)); err != nil {
				if !errors.Is(err, ErrFull) {
					t.Fatal(err)
				}
				break
			}
		}
		if taken == records {
			t.Fatal("it holds everything")
		}
		if diff := cmp.Diff(sequence(0, taken), drain(j)); diff != "" {
			t.Error(diff)
		}
		MustAppend(t, j, taken, taken+100) // there is room again
		if diff := cmp.Diff(sequence(taken, taken+100), drain(j)); diff != "" {
			t.Error(diff)
		}
	})
}

// TestDamage damages a journal that lies still, as disks and crashes do, and reads it.
func TestDamage(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, segments []string) (lost int){
		"OK the end is cut off": func(t *testing.T, segments []string) int {
			last := segments[len(segments)-1]
			s, err := openSegment(last, sequenceOf(last))
			if err != nil {
				t.Fatal(err)
			}
			s.scan(nil)
			tail := s.tail
			_ = s.close()
			if err := os.Truncate(last, int64(tail)-5); err != nil {
				t.Fatal(err)
			}
			return 1
		},
		"OK a bit of a value":  flip(headerSize+recordHead+fixed+2, 1),
		"OK a bit of a length": flip(headerSize, 1),
		"OK a checksum":        flip(headerSize+5, 1),
		"OK the mark of what is done": func(t *testing.T, segments []string) int {
			return flip(atShipped+1, 0)(t, segments)
		},
		"OK a file that is none": func(t *testing.T, segments []string) int {
			if err := os.WriteFile(filepath.Join(filepath.Dir(segments[0]), fmt.Sprintf("%016x%s", 0xffff, extension)), []byte("hello"), 0o600); err != nil {
				t.Fatal(err)
			}
			return 0
		},
		"OK zeros in the middle": func(t *testing.T, segments []string) int {
			file, err := os.OpenFile(segments[0], os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := file.WriteAt(make([]byte, 4096), 4096); err != nil {
				t.Fatal(err)
			}
			_ = file.Close()
			return -1
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := small(t)
			j := MustOpen(t, c)
			MustAppend(t, j, 0, 1500)
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			lost := damage(t, files(t, c.Dir))
			j = MustOpen(t, c)
			got := drain(j)
			if lost >= 0 && len(got) != 1500-lost {
				t.Errorf("%d of 1500 records, want all but %d", len(got), lost)
			}
			if len(got) < 1450 {
				t.Errorf("%d of 1500 records", len(got))
			}
			last := -1
			for _, n := range got {
				if n <= last || n >= 1500 {
					t.Fatalf("record %d after %d", n, last)
				}
				last = n
			}
			MustAppend(t, j, 1500, 1600)
			if diff := cmp.Diff(sequence(1500, 1600), drain(j)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func sequenceOf(path string) (n uint64) {
	_, _ = fmt.Sscanf(filepath.Base(path), "%016x", &n)
	return n
}

// flip flips a bit of the first segment's byte at a place.
func flip(at int64, lost int) func(*testing.T, []string) int {
	return func(t *testing.T, segments []string) int {
		t.Helper()
		file, err := os.OpenFile(segments[0], os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = file.Close() }()
		var b [1]byte
		if _, err := file.ReadAt(b[:], at); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 1 << rand.IntN(8)
		if _, err := file.WriteAt(b[:], at); err != nil {
			t.Fatal(err)
		}
		return lost
	}
}

// TestMain makes this program, where it is told to, a process that appends and says what it has appended until it is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("LINKTRAIL_TEST_JOURNAL"); dir != "" {
		appendUntilKilled(dir)
	}
	os.Exit(m.Run())
}

func appendUntilKilled(dir string) {
	j, err := Open(Config{Dir: dir, SegmentBytes: minSegmentBytes, MaxBytes: 1 << 30})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for range 4 {
		go func() {
			for {
				r := numbered(rand.IntN(1 << 20))
				r.ID = uuid.New()
				if err := j.Append(r); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				_, _ = os.Stdout.WriteString(r.ID.String() + "\n") // one call a line, so that no buffer dies with the process
			}
		}()
	}
	select {}
}

func TestKilled(t *testing.T) {
	dir := t.TempDir()
	appended := make(map[string]bool)
	for round := range 5 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), "LINKTRAIL_TEST_JOURNAL="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(out)
		for n := 0; ; n++ {
			line, err := lines.ReadString('\n')
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			appended[strings.TrimSpace(line)] = true
			if n == 1000+300*round {
				_ = cmd.Process.Kill()
			}
		}
		_ = cmd.Wait()
	}
	j := MustOpen(t, Config{Dir: dir, SegmentBytes: minSegmentBytes, MaxBytes: 1 << 30})
	found := 0
	for chunk := j.Read(100); chunk != nil; chunk = j.Read(100) {
		for _, r := range chunk.Records {
			if appended[r.ID.String()] {
				delete(appended, r.ID.String())
				found++
			}
			chunk.Done()
		}
	}
	if len(appended) > 0 || found < 5000 {
		t.Errorf("%d of the records that were appended are gone, %d are there", len(appended), found)
	}
	if n := j.counts.damaged.Load(); n > 0 {
		t.Errorf("%d places are damaged", n)
	}
}

// FuzzOpen reads whatever may lie in a segment's file.
func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	j, err := Open(Config{Dir: dir, SegmentBytes: minSegmentBytes, MaxBytes: 8 * minSegmentBytes})
	if err != nil {
		f.Fatal(err)
	}
	for n := range 5 {
		if err := j.Append(numbered(n)); err != nil {
			f.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		f.Fatal(err)
	}
	seed, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("%016x%s", 1, extension)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed[:1024])
	f.Add(seed[:headerSize])
	f.Add([]byte("ltjournl"))
	f.Fuzz(func(t *testing.T, content []byte) {
		c := small(t)
		if err := os.WriteFile(filepath.Join(c.Dir, fmt.Sprintf("%016x%s", 1, extension)), content, 0o600); err != nil {
			t.Fatal(err)
		}
		j := MustOpen(t, c)
		drain(j)
		MustAppend(t, j, 0, 10)
		if diff := cmp.Diff(sequence(0, 10), drain(j)); diff != "" {
			t.Error(diff)
		}
	})
}

// BenchmarkAppend appends to one large segment, and reads nothing: run it with -benchtime 1000000x.
func BenchmarkAppend(b *testing.B) {
	for _, goroutines := range []int{1, 4, 16, 64} {
		b.Run(fmt.Sprint(goroutines), func(b *testing.B) {
			j := MustOpen(b, Config{Dir: b.TempDir(), SegmentBytes: maxSegmentBytes, MaxBytes: 4 * maxSegmentBytes})
			MustAppend(b, j, 0, 1) // the segment is there
			r := numbered(1)
			r.Parent = r.Parent.WithTraceState(trace.TraceState{})
			r.Value = make([]byte, 400)
			b.ReportAllocs()
			b.ResetTimer()
			var all sync.WaitGroup
			for range goroutines {
				all.Go(func() {
					for range b.N / goroutines {
						if err := j.Append(r); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
		})
	}
}
