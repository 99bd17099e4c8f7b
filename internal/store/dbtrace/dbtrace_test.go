package dbtrace_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/store/dbtrace"
)

func TestStart(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	database := dbtrace.Database{System: dbtrace.SystemPostgreSQL, Namespace: "lt", Address: "db.example", Port: 5432}
	for _, c := range []struct {
		name                string
		err                 error
		code                codes.Code
		errorType, response string
	}{
		{"OK", nil, codes.Unset, "", ""},
		{"OK an answer", fmt.Errorf("x: %w", link.NotFound("a")), codes.Unset, "", ""},
		{"Err of PostgreSQL", fmt.Errorf("x: %w", &pgconn.PgError{Code: "23505", Message: "secret"}), codes.Error, "23505", "23505"},
		{"Err deadline", fmt.Errorf("x: %w", context.DeadlineExceeded), codes.Error, "timeout", ""},
		{"Err canceled", context.Canceled, codes.Error, "canceled", ""},
		{"Err of a type", fmt.Errorf("x: %w", errors.New("secret")), codes.Error, "*errors.errorString", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			recorder.Reset()
			ctx, parent := provider.Tracer("test").Start(t.Context(), "parent")
			_, end := database.Start(ctx, "SELECT", "links")
			end(c.err)
			parent.End()
			span := recorder.Ended()[0]
			attributes := attribute.NewSet(span.Attributes()...)
			errorType, _ := attributes.Value("error.type")
			response, _ := attributes.Value("db.response.status_code")
			if span.Status().Code != c.code || errorType.AsString() != c.errorType || response.AsString() != c.response {
				t.Errorf("status %v, error.type %q, db.response.status_code %q", span.Status(), errorType.AsString(), response.AsString())
			}
			if port, _ := attributes.Value("server.port"); port.AsInt64() != 5432 {
				t.Errorf("server.port is %d", port.AsInt64())
			}
		})
	}
}
