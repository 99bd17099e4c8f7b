package svc

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/zeromicro/go-zero/core/logc"
	"github.com/zeromicro/go-zero/core/logx"

	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/tracequery"
)

// What one answer with a trace may hold, and how many traces are read at a time: each is held in memory, and files of
// spans are read from beginning to end.
const (
	MaxTraceSpans = 2000
	MaxTraceBytes = 8 << 20 // of what Jaeger or the files have of it
	traceReads    = 4
)

// Traces reads the traces that the API shows. It is safe for concurrent use.
type Traces struct {
	reader  tracequery.Reader
	service string
	timeout time.Duration
	reads   chan struct{}
}

// NewTraces returns Traces over a reader, nil for none. service is the name of url-api's own spans: a trace without one
// is somebody else's and not shown. A read ends within timeout.
func NewTraces(reader tracequery.Reader, service string, timeout time.Duration) *Traces {
	return &Traces{reader: reader, service: service, timeout: timeout, reads: make(chan struct{}, traceReads)}
}

// Trace returns the trace of an id. Errors are *link.Error, tracequery.ErrTooLarge or the context's own.
func (t *Traces) Trace(ctx context.Context, id string) (tracequery.Trace, error) {
	// Upper case and blanks, which are fine on a command line, would be a second address of the same trace.
	if parsed, err := tracequery.ParseTraceID(id); err != nil || parsed != id {
		return tracequery.Trace{}, link.Invalid("trace_id", "must be 32 hex digits in lower case, not all zero, got %q", id)
	}
	if t == nil || t.reader == nil {
		return tracequery.Trace{}, &link.Error{Kind: link.KindNotFound,
			Message: "this server shows no traces: TraceQuery is not set in its configuration"}
	}
	found, err := t.read(ctx, id)
	switch {
	case err == nil && !slices.Contains(found.Services(), t.service), errors.Is(err, tracequery.ErrNotFound):
		return tracequery.Trace{}, &link.Error{Kind: link.KindNotFound,
			Message: "there is no such trace, or not yet: spans arrive some seconds after a request, and only of sampled ones"}
	case err == nil, errors.Is(err, tracequery.ErrTooLarge), errors.Is(ctx.Err(), context.Canceled):
		return found, err
	}
	logc.Errorw(ctx, "traces cannot be read", logx.Field("trace_id", id), logx.Field("error", err.Error()))
	return tracequery.Trace{}, &link.Error{Kind: link.KindUnavailable, Message: "traces cannot be read at the moment; try again later"}
}

// read waits for its turn and reads, both within the timeout.
func (t *Traces) read(ctx context.Context, id string) (tracequery.Trace, error) {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	select {
	case t.reads <- struct{}{}:
	case <-ctx.Done():
		return tracequery.Trace{}, ctx.Err()
	}
	defer func() { <-t.reads }()
	return t.reader.Trace(ctx, id)
}
