package tracequery_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/telemetry"
	"github.com/linktrail/linktrail/internal/tracequery"
	"github.com/linktrail/linktrail/internal/tracequery/tracetest"
)

// caller is a span of somebody else.
func caller() trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{0xca, 0x11}, SpanID: trace.SpanID{0xca, 0x12}, TraceFlags: trace.FlagsSampled, Remote: true,
	})
}

// MustTraceClick makes the spans of a click, exports them as cfg says and returns
// the id of their trace.
func MustTraceClick(t *testing.T, cfg telemetry.Config) string {
	t.Helper()
	before := otel.GetTracerProvider()
	defer otel.SetTracerProvider(before)
	cfg.Name, cfg.Sampler = "url-api", 1
	provider, err := telemetry.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	tracer := provider.TracerProvider().Tracer("test")

	ctx, server := tracer.Start(context.Background(), "GET /{code}", trace.WithSpanKind(trace.SpanKindServer),
		trace.WithLinks(trace.Link{SpanContext: caller()}),
		trace.WithAttributes(attribute.Int("http.response.status_code", 302), attribute.Bool("linktrail.bot", false), attribute.Float64("ratio", 0.5)))
	sent, send := tracer.Start(ctx, "send click-events", trace.WithSpanKind(trace.SpanKindProducer))
	send.End()
	processed, process := tracer.Start(sent, "process click-events", trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithLinks(trace.LinkFromContext(sent)))
	_, insert := tracer.Start(processed, "INSERT clicks", trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.Int64("db.operation.batch.size", 1<<60)))
	insert.SetStatus(codes.Error, "connection refused")
	insert.End()
	_, inner := tracer.Start(processed, "count")
	inner.SetStatus(codes.Ok, "")
	inner.End()
	process.End()
	server.End()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := provider.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	return server.SpanContext().TraceID().String()
}

// click is what a trace of MustTraceClick looks like, whatever it is read from.
func click() []tracetest.Expect {
	return []tracetest.Expect{
		{
			Service: "url-api", Name: "GET /{code}", Kind: tracequery.KindServer, Times: 1,
			LinkTo: "remote:" + caller().TraceID().String() + "/" + caller().SpanID().String(),
			Attributes: map[string]any{
				"http.response.status_code": 302, "linktrail.bot": false, "ratio": 0.5,
				"span.kind": tracetest.Absent{}, "otel.scope.name": tracetest.Absent{}, tracequery.StatusCode: tracetest.Absent{},
			},
		},
		{Service: "url-api", Name: "send click-events", Kind: tracequery.KindProducer, Parent: "GET /{code}", LinkTo: tracetest.NoLink},
		{Service: "url-api", Name: "process click-events", Kind: tracequery.KindConsumer, Parent: "send click-events", LinkTo: "send click-events"},
		{
			Service: "url-api", Name: "INSERT clicks", Kind: tracequery.KindClient, Parent: "process click-events", LinkTo: tracetest.NoLink,
			Attributes: map[string]any{
				"db.operation.batch.size": int64(1 << 60), "error": tracetest.Absent{},
				tracequery.StatusCode: "ERROR", tracequery.StatusDescription: "connection refused",
			},
		},
		{Name: "count", Kind: tracequery.KindInternal, Parent: "process click-events", Attributes: map[string]any{tracequery.StatusCode: "OK"}},
	}
}

func names(trace tracequery.Trace) (names []string) {
	for _, span := range trace.Spans {
		names = append(names, span.Name)
	}
	return names
}

func TestReaders(t *testing.T) {
	jaeger := testenv.Jaeger(t)
	dir := t.TempDir()
	for name, tc := range map[string]struct {
		cfg    telemetry.Config
		source string
	}{
		"Jaeger": {telemetry.Config{Batcher: telemetry.BatcherOTLPGRPC, Endpoint: jaeger.OTLPGRPC}, jaeger.Query},
		"files":  {telemetry.Config{Batcher: telemetry.BatcherFile, Endpoint: filepath.Join(dir, "url-api.jsonl")}, dir},
	} {
		t.Run(name, func(t *testing.T) {
			reader, err := tracequery.Open(tc.source)
			if err != nil {
				t.Fatal(err)
			}
			started := time.Now()
			id := MustTraceClick(t, tc.cfg)
			got := tracetest.WaitFor(t, reader, id, 20*time.Second, click()...)

			want := []string{"GET /{code}", "send click-events", "process click-events", "INSERT clicks", "count"}
			if diff := cmp.Diff(want, names(got)); diff != "" {
				t.Errorf("order: -want +got\n%s", diff)
			}
			for _, span := range got.Spans {
				if span.Start.Before(started.Add(-time.Second)) || span.Start.After(time.Now().Add(time.Second)) || span.Duration() < 0 || span.Duration() > time.Minute {
					t.Errorf("%s started %v and took %v", span.Name, span.Start, span.Duration())
				}
			}
			t.Run("OKUpperCase", func(t *testing.T) {
				if again, err := reader.Trace(t.Context(), strings.ToUpper(id)); err != nil || again.TraceID != id {
					t.Errorf("got %q, %v", again.TraceID, err)
				}
			})
			t.Run("ErrNotFound", func(t *testing.T) {
				_, err := reader.Trace(t.Context(), "0123456789abcdef0123456789abcdef")
				if !errors.Is(err, tracequery.ErrNotFound) || !strings.Contains(err.Error(), tc.source) {
					t.Errorf("got %v, want not found and the source", err)
				}
			})
			t.Run("ErrTraceID", func(t *testing.T) {
				for _, id := range []string{"", "xyz", strings.Repeat("0", 32), strings.Repeat("g", 32), "../" + id} {
					if _, err := reader.Trace(t.Context(), id); !errors.Is(err, tracequery.ErrTraceID) {
						t.Errorf("%q: got %v, want that it is no trace id", id, err)
					}
				}
			})
		})
	}
}

func TestJSON(t *testing.T) {
	got, err := json.Marshal(tracequery.Trace{TraceID: "t", Spans: []tracequery.Span{{
		Service: "url-api", Name: "GET /{code}", Kind: tracequery.KindServer, SpanID: "s", Links: []tracequery.Link{{TraceID: "l", SpanID: "m"}},
		Start: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), DurationUS: 7, Attributes: map[string]any{"a": int64(1)},
	}}})
	want := `{"trace_id":"t","spans":[{"service":"url-api","name":"GET /{code}","kind":"SERVER","span_id":"s","parent_id":"",` +
		`"links":[{"trace_id":"l","span_id":"m"}],"start":"2026-01-02T03:04:05.000006Z","duration_us":7,"attributes":{"a":1}}]}`
	if err != nil || string(got) != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
}

func TestJaegerUnreachable(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef"
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/page/api/traces/" + id:
			_, _ = w.Write([]byte("<!doctype html>"))
		case "/broken/api/traces/" + id:
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write([]byte(`{"errors":[{"code":500,"msg":"storage is away"}]}`))
		case "/empty/api/traces/" + id:
			_, _ = w.Write([]byte(`{"data":[]}`))
		default:
			http.Error(w, `{"message":"no such page"}`, http.StatusNotFound)
		}
	}))
	defer page.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()

	for name, tc := range map[string]struct {
		base, want string
		notFound   bool
	}{
		"ErrGone":     {gone.URL, "Jaeger at " + gone.URL + ": no answer: ", false},
		"ErrPage":     {page.URL + "/page", "answered 200 OK and not what Jaeger's query API answers", false},
		"ErrOther404": {page.URL, "answered 404 Not Found and not what", false},
		"ErrBroken":   {page.URL + "/broken", "500 Internal Server Error: storage is away", false},
		"ErrEmpty":    {page.URL + "/empty", "is not known to Jaeger", true},
		"ErrURL":      {"localhost:16686", `"localhost:16686" is not the URL of a Jaeger query service`, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tracequery.Jaeger(tc.base).Trace(t.Context(), id)
			if err == nil || !strings.Contains(err.Error(), tc.want) || errors.Is(err, tracequery.ErrNotFound) != tc.notFound {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}

func TestJaegerLimits(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef"
	answer := `{"data":[{"spans":[{"traceID":"` + id + `","spanID":"1"},{"traceID":"` + id + `","spanID":"2"}]}]}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(answer)) }))
	defer server.Close()
	size := int64(len(answer))
	for name, tc := range map[string]struct {
		limit tracequery.Option
		want  error
	}{
		"OK":       {tracequery.WithLimits(2, size), nil},
		"ErrSpans": {tracequery.WithLimits(1, size), tracequery.ErrTooLarge},
		"ErrBytes": {tracequery.WithLimits(2, size-1), tracequery.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := tracequery.Jaeger(server.URL, tc.limit).Trace(t.Context(), id); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}

// Jaeger leaves zeros before an id out, and older ones keep a tag for what OTLP
// has a field for.
func TestJaegerForms(t *testing.T) {
	const id = "00000000000000000123456789abcdef"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"data":[{"traceID":"0123456789abcdef","processes":{"p1":{"serviceName":"url-api"}},"spans":[
			{"traceID":"0123456789abcdef","spanID":"2","operationName":"b","processID":"p1","startTime":1700000000000002,"duration":3,
			 "references":[{"refType":"CHILD_OF","traceID":"0123456789abcdef","spanID":"1"},{"refType":"FOLLOWS_FROM","traceID":"0123456789abcdef","spanID":"1"}],
			 "tags":[{"key":"span.kind","type":"string","value":"client"},{"key":"nan","type":"float64","value":"NaN"},{"key":"large","type":"int64","value":"9007199254740993"},
			         {"key":"internal.span.format","type":"string","value":"otlp"},{"key":"error","type":"bool","value":true}]},
			{"traceID":"0123456789abcdef","spanID":"1","operationName":"a","processID":"p1","startTime":1700000000000001,"duration":9,
			 "tags":[{"key":"span.kind","type":"string","value":"local"}]},
			{"traceID":"0123456789abcdef","spanID":"1","operationName":"a","processID":"p1","startTime":1700000000000001,"duration":9}]}]}`))
	}))
	defer server.Close()
	got, err := tracequery.Jaeger(server.URL).Trace(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	want := tracequery.Trace{TraceID: id, Spans: []tracequery.Span{
		{
			Service: "url-api", Name: "a", Kind: "INTERNAL", SpanID: "0000000000000001", Links: []tracequery.Link{},
			Start: time.UnixMicro(1700000000000001).UTC(), DurationUS: 9, Attributes: map[string]any{"span.kind": "local"},
		},
		{
			Service: "url-api", Name: "b", Kind: "CLIENT", SpanID: "0000000000000002", ParentID: "0000000000000001",
			Links: []tracequery.Link{{TraceID: id, SpanID: "0000000000000001"}},
			Start: time.UnixMicro(1700000000000002).UTC(), DurationUS: 3,
			Attributes: map[string]any{"large": int64(9007199254740993), "nan": "NaN", "error": true},
		},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestFiles(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef"
	span := func(name, spanID, parentID string, second int) string {
		return fmt.Sprintf(`{"Name":%q,"SpanContext":{"TraceID":%q,"SpanID":%q},"Parent":{"TraceID":%q,"SpanID":%q},"SpanKind":2,`+
			`"StartTime":"2026-01-02T03:04:%02d.000000001Z","EndTime":"2026-01-02T03:04:%02d.001Z","Resource":[{"Key":"service.name","Value":{"Type":"STRING","Value":"url-api"}}]}`,
			name, id, spanID, id, parentID, second, second)
	}
	write := func(t *testing.T, dir, name string, lines ...string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Join(lines, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	t.Run("OK", func(t *testing.T) {
		dir := t.TempDir()
		root := span("root", "1111111111111111", "0000000000000000", 1)
		write(t, dir, "a.jsonl", "garbage", root, `{"Name":"`+id+`"}`, `{"half": "`+id, `["`+id+`"]`, "", root)
		write(t, dir, "a.jsonl.1", strings.Repeat("x", 5<<20), span("rotated", "2222222222222222", "1111111111111111", 3))
		write(t, dir, "b.jsonl.12", span("oldest", "3333333333333333", "1111111111111111", 2), span("torn", "4444444444444444", "", 4)[:200])
		write(t, dir, "notes.txt", span("elsewhere", "5555555555555555", "", 5))
		write(t, dir, "other.jsonl", strings.ReplaceAll(root, id, "fedcba9876543210fedcba9876543210"))
		if err := os.Mkdir(filepath.Join(dir, "folder.jsonl"), 0o700); err != nil {
			t.Fatal(err)
		}
		got, err := tracequery.Files(dir).Trace(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"root", "oldest", "rotated"}, names(got)); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
		if s := got.Spans[0]; s.ParentID != "" || s.DurationUS != 999 || s.Start.Nanosecond() != 1 || s.Links == nil {
			t.Errorf("got %+v", s)
		}
	})
	t.Run("ErrNotFound", func(t *testing.T) {
		if _, err := tracequery.Files(t.TempDir()).Trace(t.Context(), id); !errors.Is(err, tracequery.ErrNotFound) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("ErrNoFolder", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "missing")
		if _, err := tracequery.Files(dir).Trace(t.Context(), id); err == nil || errors.Is(err, tracequery.ErrNotFound) || !strings.Contains(err.Error(), dir) {
			t.Errorf("got %v, want the folder's name", err)
		}
	})
	t.Run("ErrTooLarge", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, "a.jsonl", strings.Repeat(span("x", "1111111111111111", "", 1)+"\n", tracequery.MaxSpans+1))
		if _, err := tracequery.Files(dir).Trace(t.Context(), id); !errors.Is(err, tracequery.ErrTooLarge) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("ErrLimits", func(t *testing.T) {
		dir := t.TempDir()
		one := span("x", "1111111111111111", "", 1)
		write(t, dir, "a.jsonl", one, span("x", "2222222222222222", "", 1))
		for name, limit := range map[string]tracequery.Option{
			"spans": tracequery.WithLimits(1, 1<<20), "bytes": tracequery.WithLimits(10, int64(len(one)+2)),
		} {
			if _, err := tracequery.Files(dir, limit).Trace(t.Context(), id); !errors.Is(err, tracequery.ErrTooLarge) {
				t.Errorf("%s: got %v", name, err)
			}
		}
		if got, err := tracequery.Files(dir, tracequery.WithLimits(2, 1<<20)).Trace(t.Context(), id); err != nil || len(got.Spans) != 2 {
			t.Errorf("within the limits: %v, %v", got, err)
		}
	})
	t.Run("ErrCancelled", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, "a.jsonl", "1", "2")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := tracequery.Files(dir).Trace(ctx, id); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func TestOpen(t *testing.T) {
	for name, source := range map[string]string{"ErrEmpty": "", "ErrScheme": "ftp://jaeger"} {
		t.Run(name, func(t *testing.T) {
			if _, err := tracequery.Open(source); err == nil || !strings.Contains(err.Error(), "http://localhost:16686") {
				t.Errorf("got %v, want an example", err)
			}
		})
	}
}
