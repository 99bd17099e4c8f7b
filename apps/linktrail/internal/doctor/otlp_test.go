package doctor

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/telemetry"
)

func split(addr string) (string, int32) {
	host, port, _ := net.SplitHostPort(addr)
	n, _ := strconv.Atoi(port)
	return host, int32(n)
}

func examineTelemetry(t *testing.T, c telemetry.Config) Report {
	t.Helper()
	return examine(t, System{Telemetry: &c}, patience)
}

func TestOTLP(t *testing.T) {
	jaeger := testenv.Jaeger(t)
	plain := telemetry.Config{Batcher: telemetry.BatcherOTLPGRPC, Endpoint: jaeger.OTLPGRPC}
	overHTTP := telemetry.Config{Batcher: telemetry.BatcherOTLPHTTP, Endpoint: jaeger.OTLPHTTP}
	t.Run("OK gRPC", func(t *testing.T) { wantOK(t, examineTelemetry(t, plain), checkOTLP, "took an empty batch") })
	t.Run("OK HTTP", func(t *testing.T) { wantOK(t, examineTelemetry(t, overHTTP), checkOTLP, "took an empty batch") })
	for name, c := range map[string]struct {
		config telemetry.Config
		change func(*telemetry.Config)
		kind   Kind
		words  []string
	}{
		"ErrGRPCToHTTP":  {plain, func(c *telemetry.Config) { c.Endpoint = jaeger.OTLPHTTP }, KindProtocol, []string{"does not speak plain gRPC", "otlphttp"}},
		"ErrHTTPToGRPC":  {overHTTP, func(c *telemetry.Config) { c.Endpoint = jaeger.OTLPGRPC }, KindProtocol, []string{"speaks gRPC", "otlpgrpc"}},
		"ErrPath":        {overHTTP, func(c *telemetry.Config) { c.OtlpHttpPath = "/wrong" }, KindProtocol, []string{"/wrong answers 404", "/v1/traces as a rule"}},
		"ErrGRPCSecure":  {plain, func(c *telemetry.Config) { c.OtlpGrpcSecure = true }, KindTLS, []string{"TLS", "Telemetry.OtlpGrpcSecure"}},
		"ErrHTTPSecure":  {overHTTP, func(c *telemetry.Config) { c.OtlpHttpSecure = true }, KindTLS, []string{"does not speak TLS", "Telemetry.OtlpHttpSecure"}},
		"ErrJaegersPage": {overHTTP, func(c *telemetry.Config) { c.Endpoint = strings.TrimPrefix(jaeger.Query, "http://") }, KindProtocol, []string{"4318"}},
	} {
		t.Run(name, func(t *testing.T) {
			config := c.config
			c.change(&config)
			wantProblem(t, examineTelemetry(t, config), checkOTLP, c.kind, c.words...)
		})
	}
}

// refusing is a collector that wants a header, and refuses in a way of its own.
type refusing struct {
	collector.UnimplementedTraceServiceServer
	code codes.Code
}

func (r refusing) Export(ctx context.Context, request *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	if known, _ := metadata.FromIncomingContext(ctx); strings.Join(known.Get("authorization"), "") == "Bearer "+secret {
		return &collector.ExportTraceServiceResponse{}, nil
	}
	return nil, status.Error(r.code, "show who you are")
}

func serveGRPC(t *testing.T, register func(*grpc.Server)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	register(server)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(ln)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-ended
	})
	return ln.Addr().String()
}

func TestOTLPRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		register func(*grpc.Server)
		kind     Kind
		words    []string
	}{
		"ErrNoOTLP": {func(*grpc.Server) {}, KindProtocol, []string{"takes no OTLP traces", "4317"}},
		"ErrUnauthenticated": {func(s *grpc.Server) {
			collector.RegisterTraceServiceServer(s, refusing{code: codes.Unauthenticated})
		}, KindCredentials, []string{"show who you are", "Telemetry.OtlpHeaders"}},
		"ErrPermission": {func(s *grpc.Server) {
			collector.RegisterTraceServiceServer(s, refusing{code: codes.PermissionDenied})
		}, KindPermission, []string{"Telemetry.OtlpHeaders"}},
		"ErrBusy": {func(s *grpc.Server) {
			collector.RegisterTraceServiceServer(s, refusing{code: codes.ResourceExhausted})
		}, KindUnavailable, []string{"takes no more"}},
	} {
		t.Run(name, func(t *testing.T) {
			config := telemetry.Config{Batcher: telemetry.BatcherOTLPGRPC, Endpoint: serveGRPC(t, c.register), OtlpHeaders: map[string]string{"x-other": secret}}
			wantProblem(t, examineTelemetry(t, config), checkOTLP, c.kind, c.words...)
		})
	}
	t.Run("OK with the header", func(t *testing.T) {
		addr := serveGRPC(t, func(s *grpc.Server) { collector.RegisterTraceServiceServer(s, refusing{code: codes.Unauthenticated}) })
		config := telemetry.Config{Batcher: telemetry.BatcherOTLPGRPC, Endpoint: addr, OtlpHeaders: map[string]string{"Authorization": "Bearer " + secret}}
		wantOK(t, examineTelemetry(t, config), checkOTLP)
	})
}

// answering is an HTTP server that gives one answer to whatever it is asked.
func answering(t *testing.T, code int, kind, body string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		if code == http.StatusFound {
			w.Header().Set("Location", "/login")
		}
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestHTTPAnswers(t *testing.T) {
	const page = "<!doctype html><html><head><title>Grafana</title></head></html>"
	for name, c := range map[string]struct {
		code       int
		kind, body string
		want       Kind
		words      []string
	}{
		"ErrUnauthorized": {401, "text/plain", "who are you?", KindCredentials, []string{"401", "who are you?"}},
		"ErrForbidden":    {403, "text/plain", "", KindPermission, []string{"403"}},
		"ErrNotFound":     {404, "text/html", page, KindProtocol, []string{"404", `"Grafana"`}},
		"ErrRedirect":     {302, "text/html", "", KindProtocol, []string{"302"}},
		"ErrMediaType":    {415, "text/plain", "", KindProtocol, []string{"415"}},
		"ErrBusy":         {503, "text/plain", "", KindUnavailable, []string{"503"}},
		"ErrTLS":          {400, "text/plain", "Client sent an HTTP request to an HTTPS server.\n", KindTLS, []string{"wants TLS"}},
	} {
		t.Run(name, func(t *testing.T) {
			base := answering(t, c.code, c.kind, c.body)
			host := strings.TrimPrefix(base, "http://")
			s := System{Telemetry: &telemetry.Config{Batcher: telemetry.BatcherOTLPHTTP, Endpoint: host}, Jaeger: &base}
			r := examine(t, s, patience)
			wantProblem(t, r, checkOTLP, c.want, c.words...)
			wantProblem(t, r, checkJaeger, c.want, c.words...)
			zipkin := telemetry.Config{Batcher: telemetry.BatcherZipkin, Endpoint: "http://me:" + secret + "@" + host + "/api/v2/spans"}
			wantProblem(t, examineTelemetry(t, zipkin), checkOTLP, c.want, c.words...)
		})
	}
	t.Run("ErrPage", func(t *testing.T) {
		base := answering(t, 200, "text/html; charset=utf-8", page)
		s := System{Telemetry: &telemetry.Config{Batcher: telemetry.BatcherOTLPHTTP, Endpoint: strings.TrimPrefix(base, "http://")}, Jaeger: &base}
		r := examine(t, s, patience)
		wantProblem(t, r, checkOTLP, KindProtocol, "no collector", `"Grafana"`)
		wantProblem(t, r, checkJaeger, KindProtocol, "is not Jaeger's query service", `"Grafana"`, "16686")
	})
	t.Run("OK Zipkin", func(t *testing.T) {
		base := answering(t, 202, "", "")
		wantOK(t, examineTelemetry(t, telemetry.Config{Batcher: telemetry.BatcherZipkin, Endpoint: base + "/api/v2/spans"}), checkOTLP, "empty list")
	})
	t.Run("ErrJaegersStorage", func(t *testing.T) {
		base := answering(t, 200, "application/json", `{"data":null,"errors":[{"code":500,"msg":"the index is gone"}]}`)
		wantProblem(t, examine(t, System{Jaeger: &base}, patience), checkJaeger, KindUnavailable, "the index is gone")
	})
	t.Run("ErrURL", func(t *testing.T) {
		wantProblem(t, examine(t, System{Jaeger: new("jaeger:16686")}, patience), checkJaeger, KindConfig, "http://localhost:16686")
	})
}

func TestJaeger(t *testing.T) {
	jaeger := testenv.Jaeger(t)
	wantOK(t, examine(t, System{Jaeger: &jaeger.Query}, patience), checkJaeger, "query API answers")
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	t.Run("OK", func(t *testing.T) {
		fresh := filepath.Join(dir, "a", "b")
		wantOK(t, examineTelemetry(t, telemetry.Config{Batcher: telemetry.BatcherFile, Endpoint: fresh}), checkOTLP)
		if _, err := os.Stat(filepath.Join(dir, "a")); !os.IsNotExist(err) {
			t.Errorf("it left a folder: %v", err)
		}
	})
	t.Run("ErrNoFolder", func(t *testing.T) {
		MustWrite(t, filepath.Join(dir, "file"), "")
		r := examineTelemetry(t, telemetry.Config{Batcher: telemetry.BatcherFile, Endpoint: filepath.Join(dir, "file", "spans")})
		wantProblem(t, r, checkOTLP, KindFile, "cannot be written", "--otlp")
	})
}
