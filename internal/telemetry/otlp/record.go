package otlp

import (
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/encoding/protowire"
)

// Limit is the most attributes, events and links of one span, which is the SDK's. What is more is counted as dropped.
const Limit = 128

// Head is what a Record does not hold of its span while that goes on.
type Head struct {
	Name         string
	Context      trace.SpanContext
	Parent       trace.SpanID // none for a root
	ParentRemote bool
	Kind         trace.SpanKind
	Start        time.Time
}

// Record is a span that goes on. What is said of it becomes the bytes that the protocol has for it, when it is said: a
// fifth of the memory of an attribute.KeyValue, written once and copied as it is from there on, and nothing in it for the
// garbage collector to follow. Not safe for concurrent use.
type Record struct {
	fields []byte // of a Span message
	status sdktrace.Status
	span   Span // once it has ended

	// marks are of the keys of attributes; a key whose mark is not there is new.
	marks  [24]uint16
	marked int // how many there are; those beyond marks are not kept

	attributes, events, links                      int
	droppedAttributes, droppedEvents, droppedLinks int
}

// Begin forgets all, and writes into room as long as it lasts.
func (r *Record) Begin(room []byte) { *r = Record{fields: room[:0]} }

// SetAttribute sets an attribute, in place of one of the same key.
func (r *Record) SetAttribute(kv *attribute.KeyValue) {
	if !kv.Valid() {
		r.droppedAttributes++
		return
	}
	if !r.mark(kv.Key) {
		if from, to := r.find(kv.Key); from < to {
			r.fields = slices.Replace(r.fields, from, to, appendKeyValue(nil, attributesField, *kv)...)
			return
		}
	}
	if r.attributes == Limit {
		r.droppedAttributes++
		return
	}
	r.attributes++
	r.fields = appendKeyValue(r.fields, attributesField, *kv)
}

// SetWritten sets attributes, by copying them where that is all there is to do.
func (r *Record) SetWritten(a *Attributes) {
	if r.attributes > 0 || a.record.droppedAttributes > 0 {
		for i := range a.list {
			r.SetAttribute(&a.list[i])
		}
		return
	}
	r.fields = append(r.fields, a.record.fields...)
	r.attributes, r.marked = a.record.attributes, a.record.marked
	copy(r.marks[:], a.record.marks[:min(a.record.marked, len(r.marks))])
}

// mark marks a key and reports whether it is new for certain.
func (r *Record) mark(key attribute.Key) bool {
	n := len(key)
	mark := uint16(n)<<10 ^ uint16(key[0])<<8 ^ uint16(key[n/2])<<5 ^ uint16(key[max(0, n-2)])<<3 ^ uint16(key[n-1])
	known := r.marked > len(r.marks) || slices.Contains(r.marks[:r.marked], mark)
	if !known {
		if r.marked < len(r.marks) {
			r.marks[r.marked] = mark
		}
		r.marked++
	}
	return !known
}

// find returns where the attribute of a key stands; from is to where there is none.
func (r *Record) find(key attribute.Key) (from, to int) {
	text := valid(string(key))
	for at := 0; at < len(r.fields); {
		number, _, tag := protowire.ConsumeTag(r.fields[at:])
		message, n := protowire.ConsumeBytes(r.fields[at+tag:]) // all that is written before the end is messages
		if number == attributesField && string(keyOf(message)) == text {
			return at, at + tag + n
		}
		at += tag + n
	}
	return len(r.fields), len(r.fields)
}

// keyOf returns the key of a KeyValue.
func keyOf(message []byte) []byte {
	number, _, tag := protowire.ConsumeTag(message)
	if number != 1 { // an empty one is not written
		return nil
	}
	key, _ := protowire.ConsumeBytes(message[tag:])
	return key
}

// AddEvent adds an event.
func (r *Record) AddEvent(e sdktrace.Event) {
	if r.events == Limit {
		r.droppedEvents++
		return
	}
	r.events++
	r.fields = appendEvent(r.fields, e)
}

// AddLink adds a link.
func (r *Record) AddLink(l sdktrace.Link) {
	if r.links == Limit {
		r.droppedLinks++
		return
	}
	r.links++
	r.fields = appendLink(r.fields, l)
}

// SetStatus sets the outcome: OK is final, and nothing goes back to unset.
func (r *Record) SetStatus(code codes.Code, description string) {
	if r.status.Code > code {
		return
	}
	r.status = sdktrace.Status{Code: code}
	if code == codes.Error {
		r.status.Description = description
	}
}

// End writes what is left, and returns the span, good until the next Begin.
func (r *Record) End(origin *Origin, head *Head, end time.Time) *Span {
	b := appendIDs(r.fields, head.Context)
	b = appendParent(b, head.Parent)
	b = appendString(b, 5, head.Name)
	b = appendVarint(b, 6, kind(head.Kind))
	b = appendTime(b, 7, head.Start)
	b = appendTime(b, 8, end)
	b = appendCount(b, 10, r.droppedAttributes)
	b = appendCount(b, 12, r.droppedEvents)
	b = appendCount(b, 14, r.droppedLinks)
	b = appendStatus(b, r.status)
	r.fields = appendFlags(b, 16, head.Context.TraceFlags(), head.ParentRemote)
	r.span = Span{origin: origin, fields: r.fields}
	return &r.span
}
