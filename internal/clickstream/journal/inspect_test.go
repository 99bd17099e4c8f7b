package journal

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// MustInspect returns the state of a journal and the numbers of the records that wait.
func MustInspect(t *testing.T, dir string) (State, []int) {
	t.Helper()
	var numbers []int
	state, err := Inspect(dir, func(r Record) error {
		numbers = append(numbers, numberOf(r))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return state, numbers
}

func TestInspect(t *testing.T) {
	t.Run("OK one that is open, and is not touched", func(t *testing.T) {
		c := small(t)
		j := MustOpen(t, c)
		MustAppend(t, j, 0, 1000)
		first, second := j.Read(100), j.Read(100)
		for range first.Records {
			first.Done()
		}
		state, numbers := MustInspect(t, c.Dir)
		if !state.Open || state.Damaged() != 0 || state.Waiting() != 1000-len(first.Records) || len(state.Segments) < 2 {
			t.Errorf("%+v", state)
		}
		if s := state.Segments[0]; s.Done != len(first.Records) || s.Sent != len(second.Records) || s.Bytes != c.SegmentBytes {
			t.Errorf("%+v", s)
		}
		if diff := cmp.Diff(sequence(len(first.Records), 1000), numbers); diff != "" {
			t.Error(diff)
		}
		if oldest := numbered(len(first.Records)).Appended; !state.Oldest().Equal(oldest) {
			t.Errorf("the oldest is of %v, want %v", state.Oldest(), oldest)
		}
		for range second.Records {
			second.Done()
		}
		if diff := cmp.Diff(sequence(len(first.Records)+len(second.Records), 1000), drain(j)); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("OK while it is written and read", func(t *testing.T) {
		c := small(t)
		j := MustOpen(t, c)
		stop, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := j.Append(numbered(n)); err != nil {
					t.Error(err)
					return
				}
				if n%50 == 0 {
					drain(j)
				}
			}
		}()
		for range 300 {
			state, numbers := MustInspect(t, c.Dir)
			if state.Damaged() != 0 {
				t.Errorf("%+v", state)
			}
			for i := 1; i < len(numbers); i++ {
				if numbers[i] <= numbers[i-1] {
					t.Fatalf("record %d after %d", numbers[i], numbers[i-1])
				}
			}
		}
		close(stop)
		<-ended
	})

	t.Run("OK while it is opened", func(t *testing.T) {
		c := small(t)
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				select {
				case <-stop:
					return
				default:
					_, _ = isOpen(c.Dir)
				}
			}
		}()
		defer func() {
			close(stop)
			<-stopped
		}()
		for range 200 {
			j, err := Open(c)
			if err != nil {
				t.Fatal(err)
			}
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("OK one that nobody has open and nobody may write", func(t *testing.T) {
		c := small(t)
		j := MustOpen(t, c)
		MustAppend(t, j, 0, 10)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		for _, name := range append(files(t, c.Dir), filepath.Join(c.Dir, lockName)) {
			if err := os.Chmod(name, 0o400); err != nil {
				t.Fatal(err)
			}
		}
		state, numbers := MustInspect(t, c.Dir)
		if diff := cmp.Diff(sequence(0, 10), numbers); diff != "" || state.Open {
			t.Errorf("open %v, %s", state.Open, diff)
		}
	})

	t.Run("Err a folder without a journal", func(t *testing.T) {
		if _, err := Inspect(t.TempDir(), nil); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v", err)
		}
	})

	t.Run("Err of who looks", func(t *testing.T) {
		c := small(t)
		MustAppend(t, MustOpen(t, c), 0, 10)
		enough := errors.New("enough")
		if _, err := Inspect(c.Dir, func(Record) error { return enough }); !errors.Is(err, enough) {
			t.Errorf("%v", err)
		}
	})
}

// TestInspectDamage damages a journal and has it inspected, before it is opened and afterwards.
func TestInspectDamage(t *testing.T) {
	for name, tt := range map[string]struct {
		damage func(t *testing.T, file *os.File)
		want   string
	}{
		"OK a bit of a value": {func(t *testing.T, file *os.File) { write(t, file, headerSize+recordHead+fixed, 0xff) }, "no record with a right checksum"},
		"OK the magic":        {func(t *testing.T, file *os.File) { write(t, file, 0, 'x') }, "a damaged header"},
		"OK another version": {func(t *testing.T, file *os.File) {
			other := binary.NativeEndian.AppendUint64(nil, bothWays(9))
			if _, err := file.WriteAt(other, atVersion); err != nil {
				t.Fatal(err)
			}
		}, "the format has version 9, and this linktrail reads 1"},
		"OK a bit of the version": {func(t *testing.T, file *os.File) { write(t, file, atVersion, 9) }, "a damaged header"},
		"OK the sequence":         {func(t *testing.T, file *os.File) { write(t, file, atSequence, 7) }, "a damaged header"},
		"OK the mark":             {func(t *testing.T, file *os.File) { write(t, file, atShipped, 1) }, "all is sent again"},
		"OK cut off": {func(t *testing.T, file *os.File) {
			if err := file.Truncate(4000); err != nil {
				t.Fatal(err)
			}
		}, "no record with a right checksum"},
		"OK hardly there": {func(t *testing.T, file *os.File) {
			if err := file.Truncate(10); err != nil {
				t.Fatal(err)
			}
		}, "the file has"},
	} {
		t.Run(name, func(t *testing.T) {
			c := small(t)
			j := MustOpen(t, c)
			MustAppend(t, j, 0, 100)
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			file, err := os.OpenFile(files(t, c.Dir)[0], os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			tt.damage(t, file)
			_ = file.Close()
			state, seen := MustInspect(t, c.Dir)
			if state.Damaged() != 1 || !strings.Contains(state.Segments[0].Damage[0].What, tt.want) {
				t.Fatalf("%+v, want %q", state.Segments, tt.want)
			}
			// What is shown is what is read.
			j = MustOpen(t, c)
			if diff := cmp.Diff(seen, drain(j)); diff != "" {
				t.Error(diff)
			}
			if n := len(seen); name == "OK a bit of a value" && n != 99 || (name == "OK the mark" || tt.want == "a damaged header") && n != 100 {
				t.Errorf("%d records", n)
			}
			MustAppend(t, j, 100, 101)
			state, _ = MustInspect(t, c.Dir)
			if aside := strings.Contains(tt.want, "the f"); aside != (len(state.PutAside) == 1) {
				t.Errorf("put aside: %v", state.PutAside)
			}
		})
	}
}

func write(t *testing.T, file *os.File, at int64, b byte) {
	t.Helper()
	if _, err := file.WriteAt([]byte{b}, at); err != nil {
		t.Fatal(err)
	}
}
