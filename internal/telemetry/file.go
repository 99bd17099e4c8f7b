package telemetry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// The file batcher holds at most (filePredecessors+1) * fileLimit bytes of spans,
// and one batch more: ENDPOINT, ENDPOINT.1, ENDPOINT.2, ENDPOINT.3.
const (
	fileLimit        = 16 << 20
	filePredecessors = 3
)

// fileExporter writes spans as lines of JSON, the form of the SDK's stdouttrace,
// a batch at a time.
type fileExporter struct {
	encoder *stdouttrace.Exporter
	file    *spanFile

	mu    sync.Mutex // of batch
	batch bytes.Buffer
}

func newFileExporter(path string, limit int64, predecessors int) (*fileExporter, error) {
	file, err := openSpanFile(path, limit, predecessors)
	if err != nil {
		return nil, fmt.Errorf("Telemetry.Endpoint: cannot write to %q: %w", path, err)
	}
	e := &fileExporter{file: file}
	if e.encoder, err = stdouttrace.New(stdouttrace.WithWriter(&e.batch)); err != nil {
		_ = file.Close()
		return nil, err
	}
	return e, nil
}

func (e *fileExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.batch.Reset()
	if err := e.encoder.ExportSpans(ctx, spans); err != nil {
		return err
	}
	_, err := e.file.write(ctx, e.batch.Bytes())
	if err != nil {
		return fmt.Errorf("spans to file: %w", err)
	}
	return nil
}

func (e *fileExporter) Shutdown(ctx context.Context) error {
	return errors.Join(e.encoder.Shutdown(ctx), e.file.Close())
}

// spanFile is a file which is appended to in whole lines and rotated at a limit.
// Other processes may read it at any time, and write it too: all append whole
// lines, one at a time rotates, and the others follow. Who appends holds the file's
// lock with others, who rotates or looks at its end holds it alone.
type spanFile struct {
	path         string
	limit        int64
	predecessors int

	mu   sync.Mutex
	file *os.File // nil after Close, or when the last attempt to open it failed
	pipe bool     // or a device: it cannot be looked at, and a write may wait
	torn bool     // the file does not end with a line's end
	shut bool
}

func openSpanFile(path string, limit int64, predecessors int) (*spanFile, error) {
	f := &spanFile{path: path, limit: limit, predecessors: predecessors}
	if err := f.open(); err != nil {
		return nil, err
	}
	return f, nil
}

// write appends whole lines with one call to the system, so that a reader and a
// crash find them whole. Where there is a pipe that nobody reads from, it waits
// until ctx ends.
func (f *spanFile) write(ctx context.Context, lines []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shut {
		return 0, os.ErrClosed
	}
	if err := f.prepare(int64(len(lines))); err != nil {
		return 0, err
	}
	if f.torn {
		lines = append([]byte{'\n'}, lines...)
	}
	file := f.file
	if !f.pipe {
		if err := syscall.Flock(int(file.Fd()), syscall.LOCK_SH); err != nil {
			return 0, fmt.Errorf("lock: %w", err)
		}
		defer func() { _ = syscall.Flock(int(file.Fd()), syscall.LOCK_UN) }()
	}
	_ = file.SetWriteDeadline(time.Time{}) // a file that is no pipe has none, and does not wait
	defer context.AfterFunc(ctx, func() { _ = file.SetWriteDeadline(time.Now()) })()
	n, err := file.Write(lines)
	if n > 0 {
		f.torn = lines[n-1] != '\n'
	}
	return n, err
}

// prepare makes sure that the open file is the one at the path and has room.
func (f *spanFile) prepare(size int64) error {
	if !f.current() {
		if err := f.open(); err != nil { // the file was removed or rotated from outside
			return err
		}
	}
	if !f.full(size) {
		return nil
	}
	// The lock is on this very file: who waited for it finds another at the path.
	if err := syscall.Flock(int(f.file.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	if f.current() && f.full(size) {
		if err := f.rotate(); err != nil {
			return errors.Join(err, syscall.Flock(int(f.file.Fd()), syscall.LOCK_UN))
		}
	}
	return f.open() // closing the file lets the lock go
}

// current says whether the open file is the one at the path.
func (f *spanFile) current() bool {
	if f.file == nil {
		return false
	}
	now, err := os.Stat(f.path)
	if err != nil {
		return false
	}
	opened, err := f.file.Stat()
	return err == nil && os.SameFile(opened, now)
}

// full says whether so many bytes more exceed the limit.
func (f *spanFile) full(size int64) bool {
	info, err := f.file.Stat()
	return err == nil && info.Size() > 0 && info.Size()+size > f.limit
}

// rotate renames the file to its first predecessor, that one to the second, and
// so on; the last is overwritten.
func (f *spanFile) rotate() error {
	for i := f.predecessors - 1; i > 0; i-- {
		err := os.Rename(fmt.Sprintf("%s.%d", f.path, i), fmt.Sprintf("%s.%d", f.path, i+1))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return os.Rename(f.path, f.path+".1")
}

// open opens the file at the path to append to it. Spans tell what users do, so
// the file is for its owner alone.
func (f *spanFile) open() error {
	f.closeFile()
	if err := os.MkdirAll(filepath.Dir(f.path), 0o750); err != nil {
		return err
	}
	file, err := os.OpenFile(f.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	f.file = file
	info, err := file.Stat()
	f.pipe = err == nil && !info.Mode().IsRegular()
	f.torn = !f.pipe && endsInsideLine(file)
	return nil
}

// endsInsideLine says whether whoever wrote the file before was stopped in the
// middle of a line. Who is just writing one is waited for.
func endsInsideLine(file *os.File) bool {
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return false
	}
	defer func() { _ = syscall.Flock(int(file.Fd()), syscall.LOCK_UN) }()
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return false
	}
	last := make([]byte, 1)
	_, err = file.ReadAt(last, size-1)
	return err == nil && last[0] != '\n'
}

func (f *spanFile) closeFile() {
	if f.file != nil {
		_ = f.file.Close()
		f.file = nil
	}
}

// Close closes the file. What was written stays.
func (f *spanFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shut = true
	f.closeFile()
	return nil
}
