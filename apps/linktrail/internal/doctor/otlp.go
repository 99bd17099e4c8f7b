package doctor

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/linktrail/linktrail/internal/telemetry"
)

// telemetryCheck looks at where spans go. Services that write files have their folder as the endpoint.
func telemetryCheck(c telemetry.Config, _ []Service) check {
	e := exporter{c}
	return check{target: e.target(), run: e.examine}
}

type exporter struct{ telemetry.Config }

func (e exporter) target() string {
	switch e.Batcher {
	case telemetry.BatcherOTLPHTTP:
		return e.url() + " (OTLP/HTTP)"
	case telemetry.BatcherZipkin:
		return shownURL(e.Endpoint) + " (Zipkin)"
	case telemetry.BatcherFile:
		return e.Endpoint + " (files)"
	}
	return e.Endpoint + " (OTLP/gRPC)"
}

func (e exporter) examine(ctx context.Context) (string, []Problem) {
	switch e.Batcher {
	case telemetry.BatcherFile:
		return examineFolder(e.Endpoint, "Telemetry.Endpoint")
	case telemetry.BatcherZipkin:
		return e.zipkin(ctx)
	}
	enabled := e.OtlpGrpcSecure
	if e.Batcher == telemetry.BatcherOTLPHTTP {
		enabled = e.OtlpHttpSecure
	}
	config, wrong := security{enabled: enabled, caFile: e.OtlpCaFile, certFile: e.OtlpCertFile, keyFile: e.OtlpKeyFile}.config(e.keys())
	if wrong != nil {
		return "", []Problem{*wrong}
	}
	if p := dial(ctx, e.addr(), config, e.keys()); p != nil {
		return "", []Problem{*p}
	}
	if e.Batcher == telemetry.BatcherOTLPHTTP {
		return e.http(ctx, config)
	}
	return e.grpc(ctx, config)
}

func (e exporter) keys() keys {
	k := keys{address: "Telemetry.Endpoint", enable: "Telemetry.OtlpGrpcSecure", ca: "Telemetry.OtlpCaFile", cert: "Telemetry.OtlpCertFile and OtlpKeyFile"}
	if e.Batcher == telemetry.BatcherOTLPHTTP {
		k.enable = "Telemetry.OtlpHttpSecure"
	}
	return k
}

// addr is host:port; OTLP/HTTP may leave the port to the scheme.
func (e exporter) addr() string {
	if _, _, err := net.SplitHostPort(e.Endpoint); err == nil {
		return e.Endpoint
	}
	port := "80"
	if e.OtlpHttpSecure {
		port = "443"
	}
	return net.JoinHostPort(strings.Trim(e.Endpoint, "[]"), port)
}

func (e exporter) url() string {
	u := url.URL{Scheme: "http", Host: e.Endpoint, Path: e.OtlpHttpPath}
	if e.OtlpHttpSecure {
		u.Scheme = "https"
	}
	if u.Path == "" {
		u.Path = "/v1/traces"
	}
	return u.String()
}

// headers are where collectors look for credentials.
const headers = "Telemetry.OtlpHeaders (a header such as Authorization; in the overlay: headers.yaml)"

func (e exporter) grpc(ctx context.Context, config *tls.Config) (string, []Problem) {
	way := insecure.NewCredentials()
	if config != nil {
		way = credentials.NewTLS(config)
	}
	conn, err := grpc.NewClient(e.Endpoint, grpc.WithTransportCredentials(way), grpc.WithDisableServiceConfig())
	if err != nil {
		return one(KindConfig, "correct Telemetry.Endpoint", "%s", oneLine(err))
	}
	defer func() { _ = conn.Close() }()
	ctx = metadata.NewOutgoingContext(ctx, metadata.New(e.OtlpHeaders))
	_, err = collector.NewTraceServiceClient(conn).Export(ctx, &collector.ExportTraceServiceRequest{})
	if err == nil {
		return "it took an empty batch of spans", nil
	}
	return "", []Problem{e.grpcFault(err)}
}

func (e exporter) grpcFault(err error) Problem {
	s := status.Convert(err)
	text := s.Message()
	const elsewhere = "correct Telemetry.Endpoint: OTLP/gRPC is port 4317 as a rule"
	switch s.Code() {
	case codes.Unimplemented:
		if strings.Contains(text, "HTTP status") || strings.Contains(text, "unexpected content-type") {
			return problem(KindProtocol, elsewhere+", and 4318 is OTLP/HTTP: Telemetry.Batcher otlphttp", "%s speaks HTTP and no gRPC: %s", e.Endpoint, shorten(text))
		}
		return problem(KindProtocol, elsewhere, "%s speaks gRPC and takes no OTLP traces: %s", e.Endpoint, shorten(text))
	case codes.Unauthenticated:
		return problem(KindCredentials, "set or correct "+headers, "%s refuses who we are: %s", e.Endpoint, shorten(text))
	case codes.PermissionDenied:
		return problem(KindPermission, "set or correct "+headers, "%s does not let us send: %s", e.Endpoint, shorten(text))
	case codes.DeadlineExceeded:
		return silent(e.Endpoint, e.keys())
	case codes.ResourceExhausted:
		return problem(KindUnavailable, "look at the collector's load and limits", "%s takes no more: %s", e.Endpoint, shorten(text))
	}
	switch {
	case strings.Contains(text, "ALPN"):
		return problem(KindProtocol, elsewhere, "%s speaks TLS and no gRPC", e.Endpoint)
	case strings.Contains(text, "server preface"), strings.Contains(text, "frame too large"), strings.Contains(text, "HTTP/1.1"), strings.Contains(text, "malformed"),
		strings.Contains(text, "unexpected HTTP status"), strings.Contains(text, "error reading from server: EOF"), strings.Contains(text, "connection reset"):
		if e.OtlpGrpcSecure {
			return problem(KindProtocol, elsewhere, "%s speaks TLS and no gRPC: %s", e.Endpoint, shorten(text))
		}
		return problem(KindProtocol, "if it wants TLS, set Telemetry.OtlpGrpcSecure to true; if it is OTLP/HTTP (port 4318 as a rule), set Telemetry.Batcher to otlphttp; else "+elsewhere,
			"%s does not speak plain gRPC: %s", e.Endpoint, shorten(text))
	}
	return problem(KindUnavailable, "look at the collector's log", "%s: %s: %s", e.Endpoint, s.Code(), shorten(text))
}

func (e exporter) http(ctx context.Context, config *tls.Config) (string, []Problem) {
	const elsewhere = "correct Telemetry.Endpoint (OTLP/HTTP is port 4318 as a rule) and Telemetry.OtlpHttpPath (/v1/traces as a rule)"
	answer, p := post(ctx, e.url(), "application/x-protobuf", nil, e.OtlpHeaders, config, e.keys())
	if p != nil {
		return "", []Problem{*p}
	}
	if answer.code/100 == 2 {
		if answer.kind != "" && answer.kind != "application/x-protobuf" && answer.kind != "application/json" {
			return one(KindProtocol, elsewhere, "%s answers %s, which no collector does", e.url(), answer)
		}
		return "it took an empty batch of spans", nil
	}
	return "", []Problem{answer.fault(e.url(), elsewhere,
		"set or correct "+headers, "set Telemetry.OtlpHttpSecure to true")}
}

func (e exporter) zipkin(ctx context.Context) (string, []Problem) {
	k := keys{address: "Telemetry.Endpoint", enable: "https in Telemetry.Endpoint", ca: "the system's certificates", cert: "the proxy in front of it"}
	answer, p := post(ctx, e.Endpoint, "application/json", []byte("[]"), nil, nil, k)
	if p != nil {
		return "", []Problem{*p}
	}
	if answer.code/100 == 2 {
		return "it took an empty list of spans", nil
	}
	// Zipkin's own answer to an empty list, in some versions.
	if answer.code == http.StatusBadRequest && strings.Contains(strings.ToLower(answer.body), "empty") {
		return "it answers as Zipkin does", nil
	}
	return "", []Problem{answer.fault(shownURL(e.Endpoint), "correct Telemetry.Endpoint, such as http://localhost:9411/api/v2/spans",
		"use a collector that asks for no credentials, or put them into the URL", "use https:// in Telemetry.Endpoint")}
}

// examineFolder tries whether files can be made in a folder, which is made when it is missing.
func examineFolder(dir, key string) (string, []Problem) {
	// A service makes the folder; here none is left behind.
	var made []string
	for path := dir; ; path = filepath.Dir(path) {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			break
		}
		made = append(made, path)
	}
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		var f *os.File
		if f, err = os.CreateTemp(dir, ".linktrail-*"); err == nil {
			_ = f.Close()
			err = os.Remove(f.Name())
		}
	}
	for _, path := range made {
		_ = os.Remove(path)
	}
	if err != nil {
		return one(KindFile, fmt.Sprintf("give linktrail's user the right to write there, or name another path in %s", key), "files cannot be written: %s", oneLine(err))
	}
	return "the folder can be written", nil
}

// httpAnswer is what an HTTP server said, as far as it tells what it is.
type httpAnswer struct {
	code   int
	kind   string // media type
	server string
	body   string
}

func (a httpAnswer) String() string {
	text := fmt.Sprintf("%d %s", a.code, http.StatusText(a.code))
	if a.kind != "" {
		text += ", " + a.kind
	}
	if title := title(a.body); title != "" {
		text += fmt.Sprintf(", %q", title)
	} else if said := strings.TrimSpace(a.body); said != "" && len(said) < 200 && !strings.HasPrefix(said, "<") {
		text += ": " + shorten(said)
	}
	if a.server != "" {
		text += ", by " + shorten(a.server)
	}
	return text
}

// title is that of an HTML page.
func title(body string) string {
	lower := strings.ToLower(body)
	from := strings.Index(lower, "<title>")
	if from < 0 || len(lower) != len(body) {
		return ""
	}
	text := body[from+len("<title>"):]
	if to := strings.Index(strings.ToLower(text), "</title>"); to >= 0 {
		return shorten(text[:to])
	}
	return ""
}

// fault says what an answer that is no success means.
func (a httpAnswer) fault(address, elsewhere, identify, secure string) Problem {
	switch {
	case a.code == http.StatusUnauthorized, a.code == http.StatusProxyAuthRequired:
		return problem(KindCredentials, identify, "%s refuses who we are: %s", address, a)
	case a.code == http.StatusForbidden:
		return problem(KindPermission, identify, "%s does not let us in: %s", address, a)
	case a.code == http.StatusBadRequest && strings.Contains(a.body, "HTTP request to an HTTPS server"),
		a.code == http.StatusBadRequest && strings.Contains(a.body, "plain HTTP request was sent to HTTPS port"):
		return problem(KindTLS, secure, "%s wants TLS", address)
	case a.code == http.StatusNotFound, a.code == http.StatusMethodNotAllowed, a.code/100 == 3:
		return problem(KindProtocol, elsewhere, "wrong path, or another server: %s answers %s", address, a)
	case a.code == http.StatusUnsupportedMediaType:
		return problem(KindProtocol, elsewhere, "%s does not take what is sent to it: %s", address, a)
	case a.code == http.StatusTooManyRequests, a.code/100 == 5:
		return problem(KindUnavailable, "look at its log and load", "%s cannot serve: %s", address, a)
	}
	return problem(KindOther, elsewhere, "%s answers %s", address, a)
}

// post sends a body; get asks without one. Redirects are not followed: credentials must not travel.
func post(ctx context.Context, address, kind string, body []byte, headers map[string]string, config *tls.Config, k keys) (httpAnswer, *Problem) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return httpAnswer{}, new(problem(KindConfig, "correct "+k.address, "%s", oneLine(err)))
	}
	request.Header.Set("Content-Type", kind)
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	return do(request, config, k)
}

func get(ctx context.Context, address string, k keys) (httpAnswer, *Problem) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return httpAnswer{}, new(problem(KindConfig, "correct "+k.address, "%s", oneLine(err)))
	}
	request.Header.Set("Accept", "application/json")
	return do(request, nil, k)
}

func do(request *http.Request, config *tls.Config, k keys) (httpAnswer, *Problem) {
	const most = 4 << 20
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, DisableKeepAlives: true}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		return httpAnswer{}, new(httpFault(err, request.URL, k))
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, most))
	if err != nil {
		return httpAnswer{}, new(httpFault(err, request.URL, k))
	}
	kind, _, _ := strings.Cut(response.Header.Get("Content-Type"), ";")
	return httpAnswer{response.StatusCode, strings.TrimSpace(kind), response.Header.Get("Server"), string(body)}, nil
}

func httpFault(err error, u *url.URL, k keys) Problem {
	addr := u.Host
	if u.Port() == "" {
		addr = net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	}
	text := err.Error()
	forHTTP := "use its port for HTTP in " + k.address + ", or the Batcher otlpgrpc if spans are to go there"
	switch {
	case strings.Contains(text, "server gave HTTP response to HTTPS client"):
		return problem(KindTLS, "use http:// ("+k.enable+" false), or its TLS port", "%s does not speak TLS", addr)
	case strings.Contains(text, `malformed HTTP response "\x00\x00`):
		return problem(KindProtocol, forHTTP, "%s speaks gRPC and no HTTP/1.1", addr)
	case strings.Contains(text, "readLoopPeekFailLocked"): // net/http had not written the request when the server's frame came
		return problem(KindProtocol, forHTTP, "%s speaks gRPC, or something else in which a server speaks first, and no HTTP/1.1", addr)
	case slices.ContainsFunc([]string{"malformed HTTP", "bad status line", "transport connection broken"}, func(s string) bool { return strings.Contains(text, s) }):
		return problem(KindProtocol, "correct "+k.address, "%s does not speak HTTP: %s", addr, oneLine(innermost(err)))
	}
	return network(innermost(err), addr, k)
}

// innermost takes off the URL, which is told already and may hold a password.
func innermost(err error) error {
	if e, ok := err.(*url.Error); ok { //nolint:errorlint // only the outermost
		return e.Err
	}
	return err
}

// shownURL is a URL without its password.
func shownURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "…"
	}
	return u.Redacted()
}
