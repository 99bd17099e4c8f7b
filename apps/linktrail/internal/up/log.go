package up

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// logLimit is how large a service's log grows before it becomes NAME.log.1, in place of the one that had that name.
	logLimit = 8 << 20
	// maxLine is the longest line that is looked at whole.
	maxLine = 64 << 10
	// shownLines is how many lines a service may put on the terminal within shownWindow; all are in its log.
	shownLines  = 10
	shownWindow = 10 * time.Second
	// tailLines is how many lines of its log tell why a service did not start.
	tailLines = 12
	// shownText is how much of a line the terminal gets, in bytes.
	shownText = 300
)

// serviceLog takes what a service writes, keeps it in a file, and shows its errors.
type serviceLog struct {
	name, path string
	term       *terminal

	mu      sync.Mutex
	file    *os.File
	size    int64
	partial []byte   // of a line
	recent  []string // the last lines, for tail
	window  time.Time
	shown   int
}

func openLog(name, path string, term *terminal) (*serviceLog, error) {
	l := &serviceLog{name: name, path: path, term: term}
	return l, l.open()
}

func (l *serviceLog) open() error {
	file, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	l.file, l.size = file, info.Size()
	return nil
}

// Write never fails: a full disk must not stop a service.
func (l *serviceLog) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size+int64(len(text)) > logLimit {
		l.rotate()
	}
	if l.file != nil {
		n, _ := l.file.Write(text)
		l.size += int64(n)
	}
	rest := text
	for {
		line, after, ended := bytes.Cut(rest, []byte{'\n'})
		if room := maxLine - len(l.partial); len(line) > room {
			line = line[:room]
		}
		l.partial = append(l.partial, line...)
		if !ended {
			return len(text), nil
		}
		l.line(string(l.partial))
		l.partial, rest = l.partial[:0], after
	}
}

func (l *serviceLog) rotate() {
	if l.file != nil {
		_ = l.file.Close()
		l.file = nil
	}
	if err := os.Rename(l.path, l.path+".1"); err != nil {
		l.term.warn("%s: its log cannot be rotated: %v", l.name, err)
		return
	}
	if err := l.open(); err != nil {
		l.term.warn("%s: its log cannot be opened: %v", l.name, err)
	}
}

// line remembers a line and shows it when it is an error, or no log line at all, such as a panic.
func (l *serviceLog) line(line string) {
	text, isError := readLine(line)
	if text == "" {
		return
	}
	if len(l.recent) == tailLines {
		l.recent = slices.Delete(l.recent, 0, 1)
	}
	l.recent = append(l.recent, text)
	if !isError {
		return
	}
	now := time.Now()
	if now.Sub(l.window) > shownWindow {
		l.window, l.shown = now, 0
	}
	l.shown++
	switch {
	case l.shown <= shownLines:
		l.term.warn("%s | %s", l.name, cut(text))
	case l.shown == shownLines+1:
		l.term.warn("%s | … more in %s", l.name, shownPath(l.path))
	}
}

// readLine makes one of go-zero's JSON lines readable.
func readLine(line string) (text string, isError bool) {
	var entry map[string]any
	if json.Unmarshal([]byte(line), &entry) != nil {
		text = strings.TrimRight(line, " \r")
		return text, text != ""
	}
	level, _ := entry["level"].(string)
	text = fmt.Sprint(entry["content"])
	for _, key := range []string{"@timestamp", "level", "content", "caller", "service", "trace", "span"} {
		delete(entry, key)
	}
	keys := make([]string, 0, len(entry))
	for key := range entry {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		text += fmt.Sprintf(" %s=%v", key, entry[key])
	}
	return text, level == "error" || level == "fatal" || level == "alert" || level == "severe"
}

func cut(text string) string {
	if len(text) <= shownText {
		return text
	}
	return strings.ToValidUTF8(text[:shownText], "") + "…"
}

// tail is the last lines, indented.
func (l *serviceLog) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	w := bufio.NewWriter(&b)
	for _, line := range l.recent {
		fmt.Fprintf(w, "\n    %s", line)
	}
	_ = w.Flush()
	return b.String()
}

func (l *serviceLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		_ = l.file.Close()
		l.file = nil
	}
}
