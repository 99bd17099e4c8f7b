package controller

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// TestTraced looks at the spans of a reconciler that talks to a server.
func TestTraced(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	api := http.Client{Transport: TraceWrites(http.DefaultTransport)}
	call := func(ctx context.Context, method, path string) {
		req, err := http.NewRequestWithContext(ctx, method, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := api.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
	}
	// spans are those of one run, in the order in which they ended.
	spans := func(do reconcile.Func) []sdktrace.ReadOnlySpan {
		before, recorder := otel.GetTracerProvider(), tracetest.NewSpanRecorder()
		otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)))
		defer otel.SetTracerProvider(before)
		api.Transport = TraceWrites(http.DefaultTransport) // it keeps the provider that it finds
		_, _ = traced{do, "telemetry"}.Reconcile(t.Context(), ctrl.Request{NamespacedName: types.NamespacedName{Namespace: "shop", Name: "default"}})
		return recorder.Ended()
	}
	const configMap = "/api/v1/namespaces/shop/configmaps/url-api-telemetry"

	t.Run("OK a run that reads has none", func(t *testing.T) {
		got := spans(func(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
			call(ctx, http.MethodGet, configMap)
			return ctrl.Result{}, nil
		})
		if len(got) != 0 {
			t.Errorf("%d spans", len(got))
		}
	})
	t.Run("OK what nobody reconciles has none", func(t *testing.T) {
		got := spans(func(context.Context, ctrl.Request) (ctrl.Result, error) {
			call(t.Context(), http.MethodPut, "/apis/coordination.k8s.io/v1/namespaces/shop/leases/telemetry-controller.linktrail.io")
			return ctrl.Result{}, nil
		})
		if len(got) != 0 {
			t.Errorf("%d spans", len(got))
		}
	})
	t.Run("OK one that writes has one, and one for each write", func(t *testing.T) {
		got := spans(func(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
			call(ctx, http.MethodGet, configMap)
			call(ctx, http.MethodPatch, configMap)
			call(ctx, http.MethodPatch, "/apis/telemetry.linktrail.io/v1alpha1/namespaces/shop/telemetries/default/status")
			return ctrl.Result{}, nil
		})
		if len(got) != 3 {
			t.Fatalf("%d spans", len(got))
		}
		run := got[2]
		for i, name := range []string{"PATCH configmaps", "PATCH telemetries/status", "reconcile telemetry"} {
			if got[i].Name() != name {
				t.Errorf("span %d is %q, want %q", i, got[i].Name(), name)
			}
			if i < 2 && (got[i].Parent().SpanID() != run.SpanContext().SpanID() || got[i].SpanKind() != trace.SpanKindClient) {
				t.Errorf("%s is no client span of the run", name)
			}
			if i < 2 && run.StartTime().After(got[i].StartTime()) {
				t.Errorf("%s began before the run", name)
			}
		}
		want := attribute.NewSet(attribute.String("k8s.namespace.name", "shop"), attribute.String("linktrail.object.name", "default"), attribute.Int("linktrail.writes", 2))
		if has := attribute.NewSet(run.Attributes()...); has != want {
			t.Errorf("its attributes are %v, want %v", has.ToSlice(), want.ToSlice())
		}
	})
	t.Run("ERR one that fails has one", func(t *testing.T) {
		got := spans(func(context.Context, ctrl.Request) (ctrl.Result, error) {
			return ctrl.Result{}, errors.New("no rights")
		})
		if len(got) != 1 || got[0].Status() != (sdktrace.Status{Code: codes.Error, Description: "no rights"}) {
			t.Errorf("spans are %+v", got)
		}
	})
}
