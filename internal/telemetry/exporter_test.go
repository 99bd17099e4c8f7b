package telemetry

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	otlp "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// authority signs certificates for 127.0.0.1.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // its own certificate
}

func MustAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	a.key = MustKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.file = filepath.Join(a.dir, "ca.pem")
	MustWriteFile(t, a.file, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return a
}

func MustKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// MustIssue writes a certificate and its key and returns the files.
func (a *authority) MustIssue(t *testing.T, name string) (certFile, keyFile string) {
	t.Helper()
	key := MustKey(t)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(a.dir, name+".pem"), filepath.Join(a.dir, name+".key")
	MustWriteFile(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	MustWriteFile(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
	return certFile, keyFile
}

// MustServerTLS is a server's configuration which asks clients for a certificate
// of the authority when mutual is set.
func (a *authority) MustServerTLS(t *testing.T, mutual bool) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(a.MustIssue(t, "server"))
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if mutual {
		config.ClientCAs = x509.NewCertPool()
		config.ClientCAs.AddCert(a.cert)
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config
}

// otlpCollector keeps what it is sent.
type otlpCollector struct {
	otlp.UnimplementedTraceServiceServer

	partial *otlp.ExportTracePartialSuccess // of each answer

	mu      sync.Mutex
	ids     map[string]int // how often each span came
	spans   []string
	service []string
	tokens  []string // the header "token" of each request
	paths   []string
}

func (c *otlpCollector) Export(ctx context.Context, req *otlp.ExportTraceServiceRequest) (*otlp.ExportTraceServiceResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	c.keep(req, strings.Join(md.Get("token"), ","), "")
	return &otlp.ExportTraceServiceResponse{PartialSuccess: c.partial}, nil
}

func (c *otlpCollector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var req otlp.ExportTraceServiceRequest
	if err != nil || proto.Unmarshal(body, &req) != nil {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	c.keep(&req, r.Header.Get("token"), r.URL.Path)
	w.Header().Set("Content-Type", "application/x-protobuf")
	if c.partial != nil {
		answer, err := proto.Marshal(&otlp.ExportTraceServiceResponse{PartialSuccess: c.partial})
		if err == nil {
			_, _ = w.Write(answer)
		}
	}
}

func (c *otlpCollector) keep(req *otlp.ExportTraceServiceRequest, token, path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tokens = append(c.tokens, token)
	c.paths = append(c.paths, path)
	for _, rs := range req.GetResourceSpans() {
		for _, attr := range rs.GetResource().GetAttributes() {
			if attr.GetKey() == "service.name" {
				c.service = append(c.service, attr.GetValue().GetStringValue())
			}
		}
		for _, ss := range rs.GetScopeSpans() {
			for _, span := range ss.GetSpans() {
				c.spans = append(c.spans, span.GetName())
				if c.ids == nil {
					c.ids = map[string]int{}
				}
				c.ids[string(span.GetSpanId())]++
			}
		}
	}
}

// count is how many spans have come.
func (c *otlpCollector) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.ids)
}

// MustServeGRPC serves the collector, over TLS unless config is nil, and returns host:port.
func (c *otlpCollector) MustServeGRPC(t *testing.T, config *tls.Config) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var opts []grpc.ServerOption
	if config != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(config)))
	}
	server := grpc.NewServer(opts...)
	otlp.RegisterTraceServiceServer(server, c)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() { server.Stop(); serving.Wait() })
	return listener.Addr().String()
}

// MustServeHTTP serves the collector, over https unless config is nil, and returns host:port.
func (c *otlpCollector) MustServeHTTP(t *testing.T, config *tls.Config) string {
	t.Helper()
	server := httptest.NewUnstartedServer(c)
	if server.TLS = config; config != nil {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// exportOne makes one span with a provider of that configuration and shuts it
// down.
func exportOne(t *testing.T, cfg Config, timeout time.Duration) (*Provider, error) {
	t.Helper()
	p, err := newProvider(cfg)
	if err != nil {
		t.Fatal(err)
	}
	end(p, "GET /{code}")
	return p, p.Shutdown(within(t, timeout))
}

func TestOTLPOverTLS(t *testing.T) {
	ca, stranger := MustAuthority(t), MustAuthority(t)
	clientCert, clientKey := ca.MustIssue(t, "client")
	for _, batcher := range []string{BatcherOTLPGRPC, BatcherOTLPHTTP} {
		serve := func(t *testing.T, mutual bool) (*otlpCollector, Config) {
			t.Helper()
			c := &otlpCollector{}
			cfg := Config{Name: "url-api", Batcher: batcher, Sampler: 1, OtlpCaFile: ca.file, OtlpHeaders: map[string]string{"Token": "t0"}}
			if batcher == BatcherOTLPGRPC {
				cfg.OtlpGrpcSecure = true
				cfg.Endpoint = c.MustServeGRPC(t, ca.MustServerTLS(t, mutual))
			} else {
				cfg.OtlpHttpSecure, cfg.OtlpHttpPath = true, "/ingest/traces"
				cfg.Endpoint = c.MustServeHTTP(t, ca.MustServerTLS(t, mutual))
			}
			return c, cfg
		}
		t.Run(batcher+"/OK", func(t *testing.T) {
			c, cfg := serve(t, false)
			if _, err := exportOne(t, cfg, 10*time.Second); err != nil {
				t.Fatal(err)
			}
			if strings.Join(c.spans, ",") != "GET /{code}" || strings.Join(c.tokens, ",") != "t0" || strings.Join(c.service, ",") != "url-api" {
				t.Errorf("got spans %q of %q with token %q", c.spans, c.service, c.tokens)
			}
			if batcher == BatcherOTLPHTTP && c.paths[0] != "/ingest/traces" {
				t.Errorf("posted to %q, want OtlpHttpPath", c.paths[0])
			}
		})
		t.Run(batcher+"/OKClientCertificate", func(t *testing.T) {
			c, cfg := serve(t, true)
			cfg.OtlpCertFile, cfg.OtlpKeyFile = clientCert, clientKey
			if _, err := exportOne(t, cfg, 10*time.Second); err != nil || len(c.spans) != 1 {
				t.Errorf("got spans %q, %v", c.spans, err)
			}
		})
		for name, change := range map[string]func(*Config){
			"ErrStrangersAuthority": func(cfg *Config) { cfg.OtlpCaFile = stranger.file },
			"ErrSystemAuthorities":  func(cfg *Config) { cfg.OtlpCaFile = "" },
			"ErrPlain":              func(cfg *Config) { cfg.OtlpCaFile, cfg.OtlpGrpcSecure, cfg.OtlpHttpSecure = "", false, false },
		} {
			t.Run(batcher+"/"+name, func(t *testing.T) {
				c, cfg := serve(t, false)
				change(&cfg)
				p, _ := exportOne(t, cfg, 500*time.Millisecond)
				if len(c.spans) != 0 || dropped(p) != 1 {
					t.Errorf("got spans %q and %d counted as dropped, want none and 1", c.spans, dropped(p))
				}
			})
		}
	}
}

// TestPartialSuccess has a collector take a batch, but for some spans or with a warning.
func TestPartialSuccess(t *testing.T) {
	for _, batcher := range []string{BatcherOTLPGRPC, BatcherOTLPHTTP} {
		for name, tt := range map[string]struct {
			partial           *otlp.ExportTracePartialSuccess
			exported, dropped float64
		}{
			"OK a warning":         {&otlp.ExportTracePartialSuccess{ErrorMessage: "this will be\nrefused one day"}, 10, 0},
			"Err some":             {&otlp.ExportTracePartialSuccess{RejectedSpans: 3, ErrorMessage: "too old"}, 7, 3},
			"Err without a reason": {&otlp.ExportTracePartialSuccess{RejectedSpans: 10}, 0, 10},
		} {
			t.Run(batcher+"/"+name, func(t *testing.T) {
				c := &otlpCollector{partial: tt.partial}
				serve := c.MustServeHTTP
				if batcher == BatcherOTLPGRPC {
					serve = c.MustServeGRPC
				}
				p, err := newProvider(Config{Name: "url-api", Batcher: batcher, Endpoint: serve(t, nil), Sampler: 1})
				if err != nil {
					t.Fatal(err)
				}
				for range 10 {
					end(p, "GET /{code}")
				}
				// As in a swap, when another pipeline would be given what this one could not deliver.
				p.processor.current.Load().export.retired.Store(true)
				if err := p.Shutdown(within(t, 10*time.Second)); err != nil {
					t.Error(err)
				}
				got := MustGather(t, p)
				if e, d := got["linktrail_telemetry_spans_exported_total"], float64(dropped(p)); e != tt.exported || d != tt.dropped || c.count() != 10 || len(c.spans) != 10 {
					t.Errorf("%v exported, %v dropped, %d sent; want %v, %v, 10", e, d, len(c.spans), tt.exported, tt.dropped)
				}
			})
		}
	}
}

// A listener that accepts and never answers.
func TestSilentCollector(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		var conns []net.Conn
		for {
			conn, err := listener.Accept()
			if err != nil {
				break
			}
			conns = append(conns, conn)
		}
		for _, conn := range conns {
			_ = conn.Close()
		}
	})
	t.Cleanup(func() { _ = listener.Close(); accepting.Wait() })

	for batcher, endpoint := range map[string]string{
		BatcherOTLPGRPC: listener.Addr().String(),
		BatcherOTLPHTTP: listener.Addr().String(),
		BatcherZipkin:   "http://" + listener.Addr().String() + "/api/v2/spans",
	} {
		t.Run(batcher, func(t *testing.T) {
			start := time.Now()
			p, err := exportOne(t, Config{Batcher: batcher, Endpoint: endpoint, Sampler: 1}, 300*time.Millisecond)
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("took %v, want little more than the deadline", took)
			}
			if err == nil || dropped(p) != 1 {
				t.Errorf("got %v and %d dropped, want an error and 1", err, dropped(p))
			}
		})
	}
}

func TestZipkin(t *testing.T) {
	var got []struct {
		TraceID       string
		ID            string
		ParentID      string
		Name          string
		Kind          string
		LocalEndpoint struct{ ServiceName string }
		Tags          map[string]string
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v2/spans" || json.NewDecoder(r.Body).Decode(&got) != nil {
			http.Error(w, "bad request", http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()

	p, err := newProvider(Config{Name: "url-api", Batcher: BatcherZipkin, Endpoint: server.URL + "/api/v2/spans", Sampler: 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, parent := p.TracerProvider().Tracer("test").Start(context.Background(), "GET /{code}", trace.WithSpanKind(trace.SpanKindServer))
	_, child := p.TracerProvider().Tracer("test").Start(ctx, "send click-events", trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(attribute.String("messaging.system", "kafka")))
	child.End()
	parent.End()
	if err := p.Shutdown(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 {
		t.Fatalf("%d spans arrived, want 2", len(got))
	}
	send, get := got[0], got[1]
	if send.Name != "send click-events" || send.Kind != "PRODUCER" || send.Tags["messaging.system"] != "kafka" ||
		send.ParentID != get.ID || send.TraceID != parent.SpanContext().TraceID().String() {
		t.Errorf("got %+v", send)
	}
	if get.Name != "get /{code}" || get.Kind != "SERVER" || get.LocalEndpoint.ServiceName != "url-api" {
		t.Errorf("got %+v", get)
	}
}
