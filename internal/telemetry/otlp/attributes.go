package otlp

import (
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// Attributes are attributes which many spans have, written once for all of them. Safe for concurrent use.
type Attributes struct {
	list   []attribute.KeyValue
	record Record
}

// NewAttributes writes attributes.
func NewAttributes(list ...attribute.KeyValue) *Attributes {
	a := &Attributes{list: list}
	for i := range list {
		a.record.SetAttribute(&list[i])
	}
	return a
}

// Written is a span that takes attributes which are written already.
type Written interface {
	SetWritten(*Attributes)
}

// SetOn sets the attributes on any span. On one that is Written, and has none yet, it is cheap.
func (a *Attributes) SetOn(span trace.Span) {
	if w, ok := span.(Written); ok {
		w.SetWritten(a)
		return
	}
	span.SetAttributes(a.list...)
}
