package storetest

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/internal/apikey"
	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/store"
)

func testSpans(t *testing.T, fresh func(*testing.T) store.Config) {
	s := MustFresh(t, fresh)
	MustCreate(t, s, "here")
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	key, _, err := apikey.New("spans", apikey.Scopes(), noon)
	if err != nil {
		t.Fatal(err)
	}
	stats := click.StatsQuery{LinkID: 1, From: noon, To: noon.AddDate(0, 0, 1)}
	title := "t"
	// spanOf runs f below a span and returns the one span it made, or nil.
	spanOf := func(t *testing.T, f func(context.Context) error) (sdktrace.ReadOnlySpan, trace.SpanContext, error) {
		t.Helper()
		recorder.Reset()
		ctx, parent := provider.Tracer("test").Start(t.Context(), "parent")
		err := f(ctx)
		ended := recorder.Ended()
		parent.End()
		if len(ended) > 1 {
			t.Fatalf("%d spans, want at most one", len(ended))
		}
		if len(ended) == 0 {
			return nil, parent.SpanContext(), err
		}
		return ended[0], parent.SpanContext(), err
	}
	for _, c := range []struct {
		method, operation, table string
		call                     func(context.Context) error
	}{
		{"CreateLink", "INSERT", "links", func(ctx context.Context) error {
			_, err := s.CreateLink(ctx, link.Link{Code: "new", RedirectStatus: 302})
			return err
		}},
		{"LinkByCode", "SELECT", "links", func(ctx context.Context) error { _, err := s.LinkByCode(ctx, "here"); return err }},
		{"Links", "SELECT", "links", func(ctx context.Context) error { _, err := s.Links(ctx, link.Filter{Limit: 1}); return err }},
		{"UpdateLink", "UPDATE", "links", func(ctx context.Context) error {
			_, err := s.UpdateLink(ctx, "here", link.Change{Title: &title})
			return err
		}},
		{"DeleteLink", "DELETE", "links", func(ctx context.Context) error { return s.DeleteLink(ctx, "new") }},
		{"PurgeLink", "DELETE", "links", func(ctx context.Context) error {
			if _, err := s.CreateLink(context.Background(), link.Link{Code: "private", RedirectStatus: 302}); err != nil {
				return err
			}
			return s.PurgeLink(ctx, "private")
		}},
		{"ClickStats", "SELECT", "click_rollups", func(ctx context.Context) error { _, err := s.ClickStats(ctx, stats); return err }},
		{"LatestClicks", "SELECT", "clicks", func(ctx context.Context) error { _, err := s.LatestClicks(ctx, 1, uuid.Nil, 1); return err }},
		{"LatestClicks of all links", "SELECT", "clicks", func(ctx context.Context) error {
			_, err := s.LatestClicks(ctx, click.AllLinks, uuid.Nil, 1)
			return err
		}},
		{"CreateKey", "INSERT", "api_keys", func(ctx context.Context) error { return s.CreateKey(ctx, key) }},
		{"KeyByID", "SELECT", "api_keys", func(ctx context.Context) error { _, err := s.KeyByID(ctx, key.ID); return err }},
		{"Keys", "SELECT", "api_keys", func(ctx context.Context) error { _, err := s.Keys(ctx); return err }},
		{"RevokeKey", "UPDATE", "api_keys", func(ctx context.Context) error { return s.RevokeKey(ctx, key.ID, noon) }},
	} {
		t.Run("OK "+c.method, func(t *testing.T) {
			span, parent, err := spanOf(t, c.call)
			if err != nil || span == nil {
				t.Fatalf("span %v, error %v", span, err)
			}
			if want := c.operation + " " + c.table; span.Name() != want || span.SpanKind() != trace.SpanKindClient {
				t.Errorf("%s %s, want client %s", span.SpanKind(), span.Name(), want)
			}
			if span.Parent().SpanID() != parent.SpanID() || span.SpanContext().TraceID() != parent.TraceID() {
				t.Error("the span is no child of the caller's")
			}
			if span.Status().Code != codes.Unset {
				t.Errorf("status is %v", span.Status())
			}
			attributes := attribute.NewSet(span.Attributes()...)
			for name, want := range map[attribute.Key]string{"db.system.name": s.System(), "db.operation.name": c.operation,
				"db.collection.name": c.table, "db.query.summary": c.operation + " " + c.table, "db.namespace": s.Database().Namespace} {
				if got, _ := attributes.Value(name); got.AsString() != want || want == "" {
					t.Errorf("%s is %q, want %q", name, got.AsString(), want)
				}
			}
			if got, _ := attributes.Value("server.address"); got.AsString() != s.Database().Address {
				t.Errorf("server.address is %q, want %q", got.AsString(), s.Database().Address)
			}
			if got, _ := attributes.Value("server.port"); got.AsInt64() != int64(s.Database().Port) {
				t.Errorf("server.port is %d, want %d", got.AsInt64(), s.Database().Port)
			}
		})
	}
	t.Run("OK WriteClicks makes none", func(t *testing.T) {
		span, _, err := spanOf(t, func(ctx context.Context) error { _, err := s.WriteClicks(ctx, clicksAt(1, noon, 1)); return err })
		if err != nil || span != nil {
			t.Errorf("span %v, error %v", span, err)
		}
	})
	t.Run("OK no such link is no failure of the database", func(t *testing.T) {
		span, _, err := spanOf(t, func(ctx context.Context) error { _, err := s.LinkByCode(ctx, "nothing"); return err })
		wantError(t, err, link.KindNotFound, "")
		if span.Status().Code != codes.Unset {
			t.Errorf("status is %v", span.Status())
		}
	})
	t.Run("OK a call that failed says so", func(t *testing.T) {
		span, _, err := spanOf(t, func(ctx context.Context) error {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			_, err := s.LinkByCode(ctx, "here")
			return err
		})
		if err == nil || span.Status().Code != codes.Error {
			t.Fatalf("status is %v, error %v", span.Status(), err)
		}
		if kind, ok := attributeOf(span, "error.type"); !ok || kind == "" {
			t.Error("error.type is missing")
		}
	})
	t.Run("OK nothing without a span of the caller", func(t *testing.T) {
		recorder.Reset()
		if _, err := s.LinkByCode(t.Context(), "here"); err != nil || len(recorder.Ended()) != 0 {
			t.Errorf("%d spans, error %v", len(recorder.Ended()), err)
		}
	})
}

func attributeOf(span sdktrace.ReadOnlySpan, name attribute.Key) (string, bool) {
	set := attribute.NewSet(span.Attributes()...)
	value, ok := set.Value(name)
	return value.AsString(), ok
}
