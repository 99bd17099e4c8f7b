package up

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// terminal is where the supervisor talks to people, a line at a time. It is safe for concurrent use.
type terminal struct {
	mu       sync.Mutex
	out, err io.Writer
}

func newTerminal(out, err io.Writer) *terminal { return &terminal{out: out, err: err} }

// say tells of progress.
func (t *terminal) say(format string, args ...any) { t.line(t.out, format, args...) }

// warn tells of what went wrong while the rest goes on.
func (t *terminal) warn(format string, args ...any) { t.line(t.err, format, args...) }

// ready tells that a part runs.
func (t *terminal) ready(part, what string, began time.Time) {
	t.say("  %-18s ready after %-6s  %s", part, shownSeconds(time.Since(began)), what)
}

func (t *terminal) line(w io.Writer, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _ = fmt.Fprintf(w, format+"\n", args...) // a terminal that is gone is nobody's fault
}

// Write lets longer texts through, such as a tree.
func (t *terminal) Write(text []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.out.Write(text)
}
