package journal

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"
)

// Record is a click on its way to Kafka.
type Record struct {
	// ID is the click's.
	ID uuid.UUID
	// Appended is when it was taken, in nanoseconds.
	Appended time.Time
	// Parent is the span below which it is sent; it may be invalid.
	Parent trace.SpanContext
	// Value is what Kafka gets.
	Value []byte
}

// fixed is how many bytes of a record have always the same place:
//
//	time u64 · id 16 · trace id 16 · span id 8 · trace flags 1 · unused 1 · length of the trace state u16
//
// The trace state follows, and then the value. Numbers are in the byte order of the machine.
const fixed = 52

func (r *Record) size() int { return fixed + len(r.state()) + len(r.Value) }

// state is the trace state, which is dropped when it is longer than the 512 characters that all must be able to carry
// (Trace Context, 3.3.1.5).
func (r *Record) state() string {
	if ts := r.Parent.TraceState(); ts.Len() > 0 {
		if s := ts.String(); len(s) <= 512 {
			return s
		}
	}
	return ""
}

// put writes a record into b, which has its size.
func (r *Record) put(b []byte) {
	traceID, spanID, state := r.Parent.TraceID(), r.Parent.SpanID(), r.state()
	binary.NativeEndian.PutUint64(b, uint64(r.Appended.UnixNano()))
	copy(b[8:], r.ID[:])
	copy(b[24:], traceID[:])
	copy(b[40:], spanID[:])
	b[48], b[49] = byte(r.Parent.TraceFlags()), 0
	binary.NativeEndian.PutUint16(b[50:], uint16(len(state)))
	copy(b[fixed:], state)
	copy(b[fixed+len(state):], r.Value)
}

var errNoRecord = errors.New("not a record of a journal")

// parse reads a record. Its value lies in b.
func parse(b []byte) (Record, error) {
	if len(b) < fixed {
		return Record{}, errNoRecord
	}
	n := int(binary.NativeEndian.Uint16(b[50:]))
	if fixed+n > len(b) {
		return Record{}, errNoRecord
	}
	state, err := trace.ParseTraceState(string(b[fixed : fixed+n]))
	if err != nil {
		return Record{}, errNoRecord
	}
	return Record{
		ID:       uuid.UUID(b[8:24]),
		Appended: time.Unix(0, int64(binary.NativeEndian.Uint64(b))),
		Parent: trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: trace.TraceID(b[24:40]), SpanID: trace.SpanID(b[40:48]), TraceFlags: trace.TraceFlags(b[48]), TraceState: state,
		}),
		Value: b[fixed+n : len(b) : len(b)],
	}, nil
}
