package otlp

import (
	"math"
	"slices"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/protobuf/encoding/protowire"
)

// attributesField is the number of a Span's attributes.
const attributesField = 9

// Attributes are a span's attributes, kept as the bytes that the protocol has for them: each is written once, when it is
// set, takes a fifth of the memory of an attribute.KeyValue, and holds nothing for the garbage collector to follow. Those
// that are lists or maps are kept as they are.
type Attributes struct {
	encoded []byte // fields of a Span
	scalars int    // how many encoded holds
	others  []attribute.KeyValue
}

// Setter sets attributes. Not safe for concurrent use.
type Setter struct {
	Attributes
	// marks are of the keys that were set; a key whose mark is not there is new.
	marks  [24]uint16
	marked int // how many there are; those beyond marks are not kept
}

// Carrier is a span that keeps its attributes so.
type Carrier interface {
	sdktrace.ReadOnlySpan
	// EncodedAttributes may be called once the span has ended.
	EncodedAttributes() *Attributes
}

// Begin begins with no attributes, and room for the first ones.
func (a *Setter) Begin(room []byte) {
	a.Attributes = Attributes{encoded: room[:0]}
	a.marked = 0
}

// CopyTo appends the bytes to room, which it returns, and makes a copy of the attributes that lies there.
func (a *Attributes) CopyTo(room []byte) (Attributes, []byte) {
	at := len(room)
	room = append(room, a.encoded...)
	return Attributes{encoded: room[at:len(room):len(room)], scalars: a.scalars, others: a.others}, room
}

// Len is how many there are.
func (a *Attributes) Len() int { return a.scalars + len(a.others) }

// Set sets an attribute, in place of one of the same key. A new one is refused when there are limit already; Set then
// returns false.
func (a *Setter) Set(kv *attribute.KeyValue, limit int) bool {
	from, to := len(a.encoded), len(a.encoded)
	if !a.mark(kv.Key) {
		from, to = a.take(kv.Key)
	}
	if a.Len() >= limit {
		return false
	}
	switch kv.Value.Type() {
	case attribute.STRING, attribute.BOOL, attribute.INT64, attribute.FLOAT64:
		a.scalars++
		if from == len(a.encoded) {
			a.encoded = appendKeyValue(a.encoded, attributesField, *kv)
		} else {
			a.encoded = slices.Replace(a.encoded, from, to, appendKeyValue(nil, attributesField, *kv)...)
		}
	default:
		a.encoded = slices.Delete(a.encoded, from, to)
		a.others = append(a.others, *kv)
	}
	return true
}

// mark marks a key and reports whether it is new for certain.
func (a *Setter) mark(key attribute.Key) bool {
	n := len(key)
	mark := uint16(n)<<9 ^ uint16(key[n/2])<<6 ^ uint16(key[max(0, n-2)])<<3 ^ uint16(key[n-1])
	known := a.marked > len(a.marks) || slices.Contains(a.marks[:a.marked], mark)
	if !known {
		if a.marked < len(a.marks) {
			a.marks[a.marked] = mark
		}
		a.marked++
	}
	return !known
}

// take counts an attribute out, if there is one of that key, and returns where in encoded it stands; the end, where it
// does not.
func (a *Setter) take(key attribute.Key) (from, to int) {
	a.others = slices.DeleteFunc(a.others, func(kv attribute.KeyValue) bool { return kv.Key == key })
	text := valid(string(key))
	for at := 0; at < len(a.encoded); {
		_, _, tag := protowire.ConsumeTag(a.encoded[at:])
		message, n := protowire.ConsumeBytes(a.encoded[at+tag:])
		if string(keyOf(message)) == text {
			a.scalars--
			return at, at + tag + n
		}
		at += tag + n
	}
	return len(a.encoded), len(a.encoded)
}

// keyOf returns the key of a KeyValue.
func keyOf(message []byte) []byte {
	_, _, tag := protowire.ConsumeTag(message)
	key, _ := protowire.ConsumeBytes(message[tag:])
	return key
}

// List returns them all. Text that was not UTF-8 has become so.
func (a *Attributes) List() []attribute.KeyValue {
	list := make([]attribute.KeyValue, 0, a.Len())
	for rest := a.encoded; len(rest) > 0; {
		_, _, tag := protowire.ConsumeTag(rest)
		message, n := protowire.ConsumeBytes(rest[tag:])
		rest = rest[tag+n:]
		list = append(list, decodeKeyValue(message))
	}
	return append(list, a.others...)
}

// decodeKeyValue reads a KeyValue that appendKeyValue has written, of the types that are encoded.
func decodeKeyValue(message []byte) attribute.KeyValue {
	kv := attribute.KeyValue{Key: attribute.Key(keyOf(message))}
	message = message[1+protowire.SizeBytes(len(kv.Key)):]
	_, _, tag := protowire.ConsumeTag(message)
	value, _ := protowire.ConsumeBytes(message[tag:])
	number, _, tag := protowire.ConsumeTag(value)
	value = value[tag:]
	switch number {
	case 1:
		text, _ := protowire.ConsumeBytes(value)
		kv.Value = attribute.StringValue(string(text))
	case 2:
		v, _ := protowire.ConsumeVarint(value)
		kv.Value = attribute.BoolValue(protowire.DecodeBool(v))
	case 3:
		v, _ := protowire.ConsumeVarint(value)
		kv.Value = attribute.Int64Value(int64(v))
	case 4:
		v, _ := protowire.ConsumeFixed64(value)
		kv.Value = attribute.Float64Value(math.Float64frombits(v))
	}
	return kv
}

// appendAttributes appends a span's attributes.
func appendAttributes(b []byte, span sdktrace.ReadOnlySpan) []byte {
	if carrier, ok := span.(Carrier); ok {
		a := carrier.EncodedAttributes()
		return appendKeyValues(append(b, a.encoded...), attributesField, a.others)
	}
	return appendKeyValues(b, attributesField, span.Attributes())
}
