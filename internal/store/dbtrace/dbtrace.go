// Package dbtrace makes the CLIENT spans of database calls, as OpenTelemetry's stable database conventions name them.
// A span is made only below a span that is recording, by that span's own provider: a call without a trace costs nothing.
package dbtrace

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/internal/link"
)

const tracerName = "github.com/linktrail/linktrail/internal/store/dbtrace"

// The values of db.system.name.
const (
	SystemPostgreSQL = "postgresql"
	SystemSQLite     = "sqlite"
)

// Database says which database the calls go to. Fields that are not known are left out of the spans.
type Database struct {
	// System is db.system.name.
	System string
	// Namespace is the database's name, for SQLite the file's.
	Namespace string
	// Address and Port are those of the server; a Unix socket has its path as Address and no Port.
	Address string
	Port    int
}

// SpanName is the name of the span of an operation on a table, such as "SELECT links". It is db.query.summary, too.
func SpanName(operation, table string) string { return operation + " " + table }

// Attributes returns the attributes of a span of an operation, such as "INSERT", on a table. Whoever makes a span of its
// own for what a store does, such as the consumer for every click of a batch, takes them from here.
func (d Database) Attributes(operation, table string) []attribute.KeyValue {
	attrs := make([]attribute.KeyValue, 0, 7)
	attrs = append(attrs,
		semconv.DBSystemNameKey.String(d.System),
		semconv.DBOperationName(operation),
		semconv.DBCollectionName(table),
		semconv.DBQuerySummary(SpanName(operation, table)))
	if d.Namespace != "" {
		attrs = append(attrs, semconv.DBNamespace(d.Namespace))
	}
	if d.Address != "" {
		attrs = append(attrs, semconv.ServerAddress(d.Address))
	}
	if d.Port != 0 {
		attrs = append(attrs, semconv.ServerPort(d.Port))
	}
	return attrs
}

// Start begins the span of an operation on a table and returns the function that ends it with the operation's error.
func (d Database) Start(ctx context.Context, operation, table string) (context.Context, func(error)) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, ignore
	}
	ctx, span := parent.TracerProvider().Tracer(tracerName, trace.WithSchemaURL(semconv.SchemaURL)).Start(ctx,
		SpanName(operation, table), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(d.Attributes(operation, table)...))
	return ctx, func(err error) {
		Fail(span, err)
		span.End()
	}
}

func ignore(error) {}

// Fail marks a span as failed by err. An answer such as "there is no such link" is none of the database's failures, and
// so are nil errors: they leave the span as it is.
func Fail(span trace.Span, err error) {
	if err == nil || !span.IsRecording() {
		return
	}
	if _, ok := errors.AsType[*link.Error](err); ok {
		return
	}
	kind, status := classify(err)
	span.SetAttributes(semconv.ErrorTypeKey.String(kind))
	if status != "" {
		span.SetAttributes(semconv.DBResponseStatusCode(status))
	}
	span.SetStatus(codes.Error, kind)
}

// classify returns error.type and, where the database gave one, db.response.status_code. Neither holds the error's text,
// which may quote what a person typed.
func classify(err error) (kind, status string) {
	if e, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		return e.SQLState(), e.SQLState()
	}
	if e, ok := errors.AsType[interface {
		error
		Code() int
	}](err); ok {
		status = strconv.Itoa(e.Code())
		return status, status
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout", ""
	case errors.Is(err, context.Canceled):
		return "canceled", ""
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return fmt.Sprintf("%T", err), ""
}
