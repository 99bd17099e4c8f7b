package tracequery

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// TreeOption changes how WriteTree draws.
type TreeOption func(*treeStyle)

type treeStyle struct{ color bool }

// WithColor uses the colours of a terminal.
func WithColor() TreeOption { return func(s *treeStyle) { s.color = true } }

// Limits of a line.
const (
	shownAttributes = 5
	shownValue      = 48 // characters
	shownDepth      = 40 // deeper spans are drawn at this depth
)

// keyAttributes are what is worth a place in a line, the most telling first.
var keyAttributes = [...]string{
	"error.type", "http.response.status_code", "url.path", "http.route", "rpc.method", "rpc.response.status_code",
	"messaging.consumer.group.name", "messaging.destination.partition.id", "messaging.kafka.offset", "messaging.system",
	"db.system.name", "db.collection.name", "db.operation.batch.size", "db.response.returned_rows", "db.query.summary",
	"server.address", "http.request.method", "http.status_code", "db.system", "db.operation", "db.statement",
}

// WriteTree draws a trace as a tree, a line a span: name, service, kind, duration,
// its most telling attributes, its links and, where its status is an error, that
// error. What others put into names and attributes cannot reach the terminal as a
// control character.
func WriteTree(w io.Writer, t Trace, opts ...TreeOption) error {
	var style treeStyle
	for _, opt := range opts {
		opt(&style)
	}
	out := bufio.NewWriter(w)
	_, _ = fmt.Fprintf(out, "trace %s  %s\n", printable(t.TraceID), summary(t))

	forest := newForest(t.Spans)
	lines := make([]treeLine, 0, len(t.Spans))
	var nameWidth, serviceWidth int
	var open []bool // at each depth: whether a line goes on to a later sibling
	for node := range forest.walk() {
		depth := min(node.depth, shownDepth)
		open = append(open[:min(depth, len(open))], !node.last)
		line := treeLine{span: node.span, head: branch(open) + printable(node.span.Name), notes: forest.notes(t, node)}
		nameWidth = max(nameWidth, utf8.RuneCountInString(line.head))
		serviceWidth = max(serviceWidth, utf8.RuneCountInString(printable(node.span.Service)))
		lines = append(lines, line)
	}
	for _, line := range lines {
		text := fmt.Sprintf("%s  %s  %-8s  %9s", fill(line.head, nameWidth), fill(printable(line.span.Service), serviceWidth),
			printable(line.span.Kind), shownDuration(line.span.Duration()))
		if line.span.Failed() {
			text = style.paint("31", text+"  "+failure(line.span))
		}
		if line.notes != "" {
			text += "  " + style.paint("2", line.notes)
		}
		_, _ = fmt.Fprintln(out, strings.TrimRight(text, " "))
	}
	return out.Flush()
}

type treeLine struct {
	span  *Span
	head  string // branches and name
	notes string
}

func (s treeStyle) paint(code, text string) string {
	if !s.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// summary tells size and time of a trace.
func summary(t Trace) string {
	spans := strconv.Itoa(len(t.Spans)) + " spans"
	if len(t.Spans) == 1 {
		spans = "1 span"
	}
	if len(t.Spans) == 0 {
		return spans
	}
	first, last := t.Spans[0].Start, t.Spans[0].Start
	for _, span := range t.Spans {
		if span.Start.Before(first) {
			first = span.Start
		}
		if end := span.Start.Add(span.Duration()); end.After(last) {
			last = end
		}
	}
	services := t.Services()
	for i := range services {
		services[i] = printable(services[i])
	}
	return fmt.Sprintf("%s  %s  %s", spans, shownDuration(last.Sub(first)), strings.Join(services, ", "))
}

// branch draws what leads to a span: nothing for a root.
func branch(open []bool) string {
	var b strings.Builder
	for i, more := range open[1:] {
		leads := i == len(open)-2
		switch {
		case leads && more:
			b.WriteString("├─ ")
		case leads:
			b.WriteString("└─ ")
		case more:
			b.WriteString("│  ")
		default:
			b.WriteString("   ")
		}
	}
	return b.String()
}

// notes are a span's attributes and relations in a few words.
func (f *forest) notes(t Trace, n node) string {
	var notes []string
	for _, key := range f.chosen(n.span) {
		notes = append(notes, key+"="+short(fmt.Sprint(n.span.Attributes[key])))
	}
	for _, link := range n.span.Links {
		notes = append(notes, "link→"+f.linked(t, n.span, link))
	}
	switch parent := n.span.ParentID; {
	case parent == "":
	case f.byID[parent] == nil:
		notes = append(notes, "(parent "+printable(parent)+" is not in the trace)")
	case n.depth == 0:
		notes = append(notes, "(its parents form a circle)")
	}
	return strings.Join(notes, " ")
}

func (f *forest) chosen(span *Span) []string {
	var keys []string
	for _, key := range keyAttributes {
		if _, ok := span.Attributes[key]; ok && len(keys) < shownAttributes {
			keys = append(keys, key)
		}
	}
	if len(keys) > 0 {
		return keys
	}
	for key := range span.Attributes {
		if key != StatusCode && key != StatusDescription && printable(key) == key {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys[:min(len(keys), shownAttributes)]
}

func (f *forest) linked(t Trace, span *Span, link Link) string {
	if link.TraceID != t.TraceID {
		return "trace " + printable(link.TraceID)
	}
	target := f.byID[link.SpanID]
	switch {
	case target == nil:
		return "span " + printable(link.SpanID)
	case link.SpanID == span.ParentID:
		return "parent"
	}
	return printable(target.Name)
}

// failure is the error of a span.
func failure(span *Span) string {
	if text, ok := span.Attributes[StatusDescription].(string); ok && text != "" {
		return "ERROR: " + short(text)
	}
	return "ERROR"
}

func shownDuration(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d >= time.Second:
		return fmt.Sprintf("%.2fs", d.Seconds())
	case d >= time.Millisecond:
		return fmt.Sprintf("%.2fms", float64(d.Microseconds())/1000)
	}
	return fmt.Sprintf("%dµs", d.Microseconds())
}

// short is a value on one line, cut to a readable length, in quotes when it has
// spaces.
func short(text string) string {
	if runes := []rune(text); len(runes) > shownValue {
		text = string(runes[:shownValue-1]) + "…"
	}
	if strings.ContainsRune(text, ' ') && printable(text) == text {
		return `"` + text + `"`
	}
	return printable(text)
}

// printable escapes a text that has a character no terminal should get.
func printable(text string) string {
	if utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return text
	}
	return strconv.Quote(text)
}

// fill pads a text with spaces.
func fill(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
}
