package tracequery

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Files reads from a folder with files of the `file` batcher: every NAME.jsonl and
// its predecessors NAME.jsonl.1 and on. They may be written to and rotated
// meanwhile; a line that is torn or is no span is passed over. The files are read
// from beginning to end for each trace, a line at a time.
func Files(dir string, opts ...Option) Reader { return files{dir, newLimits(opts)} }

type files struct {
	dir    string
	limits limits
}

// maxLine is the longest line that is read; a longer one is passed over.
const maxLine = 4 << 20

func (f files) Trace(ctx context.Context, traceID string) (Trace, error) {
	id, err := ParseTraceID(traceID)
	if err != nil {
		return Trace{}, err
	}
	open, err := f.open()
	if err != nil {
		return Trace{}, fmt.Errorf("files of spans: %w", err)
	}
	defer func() {
		for _, file := range open {
			_ = file.Close()
		}
	}()
	var spans []Span
	var size int64
	for _, file := range open {
		for line, err := range wholeLines(file) {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return Trace{}, fmt.Errorf("files of spans: %s: %w", file.Name(), err)
			}
			span, ok := parseSpan(line, id)
			if !ok {
				continue
			}
			size += int64(len(line))
			if spans = append(spans, span); len(spans) > f.limits.spans || size > f.limits.bytes {
				return Trace{}, f.limits.exceeded(id)
			}
		}
	}
	if len(spans) == 0 {
		return Trace{}, fmt.Errorf("%w: %s is in no file of %s, which keep the newest spans only", ErrNotFound, id, f.dir)
	}
	return newTrace(id, spans), nil
}

// open opens all files before any is read, each before its predecessors: a
// rotation in between then shows a file twice and never hides one.
func (f files) open() ([]*os.File, error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, err
	}
	name := regexp.MustCompile(`^(.+\.jsonl)(?:\.([0-9]{1,6}))?$`)
	type source struct {
		path string
		age  int
	}
	var sources []source
	for _, entry := range entries {
		match := name.FindStringSubmatch(entry.Name())
		if match == nil || entry.IsDir() {
			continue
		}
		age, _ := strconv.Atoi(match[2]) // 0 for the current one
		sources = append(sources, source{filepath.Join(f.dir, entry.Name()), age})
	}
	slices.SortStableFunc(sources, func(a, b source) int { return a.age - b.age })
	var open []*os.File
	for _, s := range sources {
		file, err := os.Open(s.path)
		if errors.Is(err, os.ErrNotExist) {
			continue // rotated away
		}
		if err != nil {
			for _, file := range open {
				_ = file.Close()
			}
			return nil, err
		}
		open = append(open, file)
	}
	return open, nil
}

// wholeLines yields the lines of a file that are not too long. A line is valid
// until the next.
func wholeLines(r io.Reader) func(yield func([]byte, error) bool) {
	return func(yield func([]byte, error) bool) {
		reader := bufio.NewReaderSize(r, 64<<10)
		var line []byte
		tooLong := false
		for {
			part, err := reader.ReadSlice('\n')
			if tooLong = tooLong || len(line)+len(part) > maxLine; !tooLong {
				line = append(line, part...)
			}
			if errors.Is(err, bufio.ErrBufferFull) {
				continue
			}
			if err != nil && !errors.Is(err, io.EOF) {
				yield(nil, err)
				return
			}
			if !tooLong && len(line) > 0 && !yield(line, nil) {
				return
			}
			if err != nil {
				return
			}
			line, tooLong = line[:0], false
		}
	}
}

// fileSpan is a line of the SDK's stdouttrace exporter, as far as it is used.
type fileSpan struct {
	Name        string
	SpanContext fileContext
	Parent      fileContext
	SpanKind    int
	StartTime   time.Time
	EndTime     time.Time
	Attributes  []fileAttribute
	Links       []struct{ SpanContext fileContext }
	Status      struct{ Code, Description string }
	Resource    []fileAttribute
}

type fileContext struct{ TraceID, SpanID string }

type fileAttribute struct {
	Key   string
	Value struct {
		Type  string
		Value any
	}
}

// parseSpan reads a line if it is a span of that trace.
func parseSpan(line []byte, traceID string) (Span, bool) {
	if !bytes.Contains(line, []byte(traceID)) {
		return Span{}, false // the cheap answer for nearly every line
	}
	var from fileSpan
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.UseNumber()
	if decoder.Decode(&from) != nil || from.SpanContext.TraceID != traceID || from.SpanContext.SpanID == "" {
		return Span{}, false
	}
	span := Span{
		Name:       from.Name,
		Kind:       kindOf(from.SpanKind),
		SpanID:     from.SpanContext.SpanID,
		Links:      make([]Link, 0, len(from.Links)),
		Start:      from.StartTime.UTC(),
		DurationUS: from.EndTime.Sub(from.StartTime).Microseconds(),
		Attributes: make(map[string]any, len(from.Attributes)),
	}
	if strings.Trim(from.Parent.SpanID, "0") != "" {
		span.ParentID = from.Parent.SpanID
	}
	for _, link := range from.Links {
		span.Links = append(span.Links, Link{TraceID: link.SpanContext.TraceID, SpanID: link.SpanContext.SpanID})
	}
	for _, attr := range from.Attributes {
		span.Attributes[attr.Key] = attr.value()
	}
	for _, attr := range from.Resource {
		if attr.Key == "service.name" {
			span.Service, _ = attr.Value.Value.(string)
		}
	}
	if code := strings.ToUpper(from.Status.Code); code == "OK" || code == "ERROR" {
		span.Attributes[StatusCode] = code
		if from.Status.Description != "" {
			span.Attributes[StatusDescription] = from.Status.Description
		}
	}
	return span, true
}

func (a fileAttribute) value() any {
	number, ok := a.Value.Value.(json.Number)
	if !ok {
		return a.Value.Value
	}
	return typed(strings.ToLower(a.Value.Type), number.String())
}

// kindOf names the OpenTelemetry SDK's numbers.
func kindOf(kind int) string {
	switch kind {
	case 2:
		return KindServer
	case 3:
		return KindClient
	case 4:
		return KindProducer
	case 5:
		return KindConsumer
	}
	return KindInternal
}
