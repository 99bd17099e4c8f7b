package e2e

import (
	"context"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	otlp "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// collector takes spans over OTLP and keeps them.
type collector struct {
	otlp.UnimplementedTraceServiceServer
	address string // host:port

	mu     sync.Mutex
	traces map[string][]collected
}

// collected is a span as it came.
type collected struct {
	service, name, id, parent string
	kind                      tracev1.Span_SpanKind
}

// mustCollectGRPC serves a collector over OTLP/gRPC until the test ends.
func mustCollectGRPC(t *testing.T) *collector {
	t.Helper()
	c := &collector{traces: make(map[string][]collected)}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	c.address = listener.Addr().String()
	server := grpc.NewServer()
	otlp.RegisterTraceServiceServer(server, c)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return c
}

// mustCollectHTTP serves one over OTLP/HTTP.
func mustCollectHTTP(t *testing.T) *collector {
	t.Helper()
	c := &collector{traces: make(map[string][]collected)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req otlp.ExportTraceServiceRequest
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = proto.Unmarshal(body, &req)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			http.Error(w, "bad request", http.StatusBadRequest)
			return
		}
		c.keep(&req)
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(server.Close)
	c.address = server.Listener.Addr().String()
	return c
}

func (c *collector) Export(_ context.Context, req *otlp.ExportTraceServiceRequest) (*otlp.ExportTraceServiceResponse, error) {
	c.keep(req)
	return &otlp.ExportTraceServiceResponse{}, nil
}

func (c *collector) keep(req *otlp.ExportTraceServiceRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range req.GetResourceSpans() {
		var service string
		for _, attr := range resource.GetResource().GetAttributes() {
			if attr.GetKey() == "service.name" {
				service = attr.GetValue().GetStringValue()
			}
		}
		for _, scope := range resource.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				id := hex.EncodeToString(span.GetTraceId())
				c.traces[id] = append(c.traces[id], collected{
					service: service, name: span.GetName(), id: hex.EncodeToString(span.GetSpanId()),
					parent: hex.EncodeToString(span.GetParentSpanId()), kind: span.GetKind(),
				})
			}
		}
	}
}

// trace returns the spans of a trace that have come.
func (c *collector) trace(id string) []collected {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]collected(nil), c.traces[id]...)
}
