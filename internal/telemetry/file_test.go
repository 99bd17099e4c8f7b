package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// MustLines returns the lines of files in order, each of which must be JSON.
func MustLines(t *testing.T, files ...string) (lines []string) {
	t.Helper()
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(content)) {
			if !json.Valid([]byte(line)) {
				t.Errorf("%s has the line %q", file, line)
			}
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

func TestFileBatcher(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spans", "url-api.jsonl")
	p, err := newProvider(Config{Name: "url-api", Batcher: BatcherFile, Endpoint: path, Sampler: 1})
	if err != nil {
		t.Fatal(err)
	}
	end(p, "GET /{code}")
	end(p, "send click-events")
	if err := p.Shutdown(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	lines := MustLines(t, path)
	if len(lines) != 2 || !strings.Contains(lines[0], `"Name":"GET /{code}"`) || !strings.Contains(lines[1], `"Name":"send click-events"`) {
		t.Errorf("got %q", lines)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v (%v), want 0600", info.Mode(), err)
	}
}

// TestFileBatcherPipe holds the promises of a collector that never answers against a pipe that nobody reads.
func TestFileBatcherPipe(t *testing.T) {
	const spans = 2000
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := newProvider(Config{Name: "url-api", Batcher: BatcherFile, Endpoint: path, Sampler: 1})
	if err != nil {
		t.Fatal(err)
	}
	for range spans {
		end(p, strings.Repeat("long", 100))
	}
	old := p.processor.current.Load()
	if err := p.Shutdown(within(t, 300*time.Millisecond)); !errors.Is(err, errUndelivered) {
		t.Errorf("error is %v", err)
	}
	eventually(t, "the exporter ends", func() bool {
		select {
		case <-old.export.closed:
			return true
		default:
			return false
		}
	})
	if exported, dropped := p.counts.exported.Load(), p.counts.dropped[dropStopped].Load(); exported+dropped != spans {
		t.Errorf("%d spans were exported and %d dropped, of %d", exported, dropped, spans)
	}
}

func TestFileBatcherCannotWrite(t *testing.T) {
	dir := t.TempDir()
	MustWriteFile(t, filepath.Join(dir, "file"), "")
	_, err := newProvider(Config{Batcher: BatcherFile, Endpoint: filepath.Join(dir, "file", "spans.jsonl"), Sampler: 1})
	if err == nil || !strings.Contains(err.Error(), "Telemetry.Endpoint: cannot write to ") {
		t.Errorf("got %v, want the key", err)
	}
}

func TestSpanFile(t *testing.T) {
	open := func(t *testing.T, path string) *spanFile {
		t.Helper()
		f, err := openSpanFile(path, 100, 2)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	write := func(t *testing.T, f *spanFile, lines string) {
		t.Helper()
		if _, err := f.write(t.Context(), []byte(lines)); err != nil {
			t.Fatal(err)
		}
	}

	t.Run("rotation", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "spans.jsonl")
		f := open(t, path)
		for i := range 20 {
			write(t, f, fmt.Sprintf("{\"i\": %2d, \"filling\": \"%s\"}\n", i, strings.Repeat("x", 20))) // 42 bytes
		}
		lines := MustLines(t, path+".2", path+".1", path)
		if len(lines) != 6 || !strings.Contains(lines[0], "14") || !strings.Contains(lines[5], "19") {
			t.Errorf("got %q, want the last six lines in order", lines)
		}
		for _, name := range []string{path, path + ".1", path + ".2"} {
			if info, err := os.Stat(name); err != nil || info.Size() > 100 {
				t.Errorf("%s: %v, %v; want at most the limit", name, info, err)
			}
		}
		if _, err := os.Stat(path + ".3"); err == nil {
			t.Error("there is a third predecessor")
		}
	})
	t.Run("a batch beyond the limit", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "spans.jsonl")
		f := open(t, path)
		large := fmt.Sprintf("%q\n", strings.Repeat("x", 300))
		write(t, f, large)
		write(t, f, large)
		if n := len(MustLines(t, path, path+".1")); n != 2 {
			t.Errorf("%d lines, want both", n)
		}
	})
	t.Run("goes on after a torn line", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "spans.jsonl")
		MustWriteFile(t, path, "{\"a\": 1}\n{\"b\": ")
		f := open(t, path)
		write(t, f, "{\"c\": 3}\n")
		write(t, f, "{\"d\": 4}\n")
		content, err := os.ReadFile(path)
		if want := "{\"a\": 1}\n{\"b\": \n{\"c\": 3}\n{\"d\": 4}\n"; err != nil || string(content) != want {
			t.Errorf("got %q, %v; want the torn line alone on its line", content, err)
		}
	})
	t.Run("removed from outside", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "spans.jsonl")
		f := open(t, path)
		write(t, f, "1\n")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		write(t, f, "2\n")
		if lines := MustLines(t, path); len(lines) != 1 || lines[0] != "2" {
			t.Errorf("got %q, want the line in a new file", lines)
		}
	})
	t.Run("two writers", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "spans.jsonl")
		var writing sync.WaitGroup
		for range 2 {
			f, err := openSpanFile(path, 1<<20, 2)
			if err != nil {
				t.Fatal(err)
			}
			writing.Go(func() {
				defer func() { _ = f.Close() }()
				line := append(bytes.Repeat([]byte{'7'}, 500), '\n')
				for range 500 {
					if _, err := f.write(t.Context(), line); err != nil {
						t.Error(err)
					}
				}
			})
		}
		writing.Wait()
		if n := len(MustLines(t, path)); n != 1000 {
			t.Errorf("%d whole lines, want 1000", n)
		}
	})
	t.Run("another is just writing a line", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "spans.jsonl")
		other, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = other.Close() }()
		if err := syscall.Flock(int(other.Fd()), syscall.LOCK_SH); err != nil {
			t.Fatal(err)
		}
		if _, err := other.WriteString(`{"half":`); err != nil {
			t.Fatal(err)
		}
		opened := make(chan *spanFile)
		go func() {
			f, err := openSpanFile(path, 1<<20, 2)
			if err != nil {
				t.Error(err)
			}
			opened <- f
		}()
		select {
		case <-opened:
			t.Fatal("the file's end was looked at while a line was being written")
		case <-time.After(50 * time.Millisecond):
		}
		if _, err := other.WriteString("1}\n"); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Flock(int(other.Fd()), syscall.LOCK_UN); err != nil {
			t.Fatal(err)
		}
		f := <-opened
		defer func() { _ = f.Close() }()
		write(t, f, "2\n")
		if lines := MustLines(t, path); len(lines) != 2 {
			t.Errorf("got %q, want two lines", lines)
		}
	})
	t.Run("two writers rotate", func(t *testing.T) {
		const limit, each = 5000, 500
		path := filepath.Join(t.TempDir(), "spans.jsonl")
		var writing sync.WaitGroup
		for range 2 {
			f, err := openSpanFile(path, limit, 2*each)
			if err != nil {
				t.Fatal(err)
			}
			writing.Go(func() {
				defer func() { _ = f.Close() }()
				line := append(bytes.Repeat([]byte{'7'}, 100), '\n')
				for range each {
					if _, err := f.write(t.Context(), line); err != nil {
						t.Error(err)
					}
				}
			})
		}
		writing.Wait()
		files, err := filepath.Glob(path + "*")
		if err != nil {
			t.Fatal(err)
		}
		if n := len(MustLines(t, files...)); n != 2*each {
			t.Errorf("%d lines, want %d", n, 2*each)
		}
		for _, file := range files {
			info, err := os.Stat(file)
			if err != nil || file != path && info.Size() < limit/2 {
				t.Errorf("%s was rotated with %d bytes in it (%v)", file, info.Size(), err)
			}
		}
	})
	t.Run("ErrClosed", func(t *testing.T) {
		f := open(t, filepath.Join(t.TempDir(), "spans.jsonl"))
		_ = f.Close()
		if _, err := f.write(t.Context(), []byte("1\n")); err == nil {
			t.Error("a write after Close succeeds")
		}
	})
}
