package telemetry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/exporters/zipkin" //nolint:staticcheck // deprecated from 2027 on, and go-zero's block has it
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/linktrail/linktrail/internal/telemetry/otlp"
)

const (
	// exportTimeout is how long one batch may take, retries included.
	exportTimeout = 10 * time.Second
	// writeBuffer is how many bytes gRPC gathers before it makes a system call: a batch takes a few of them.
	writeBuffer = 128 << 10
)

// newExporter makes the exporter a checked configuration asks for. It connects to
// nothing: a collector that is away is no reason not to start.
func newExporter(c Config) (sdktrace.SpanExporter, error) {
	switch c.Batcher {
	case BatcherOTLPGRPC:
		return newOTLPGRPC(c)
	case BatcherOTLPHTTP:
		return newOTLPHTTP(c)
	case BatcherZipkin:
		return newZipkin(c)
	case BatcherFile:
		return newFileExporter(c.Endpoint, fileLimit, filePredecessors)
	}
	return nil, c.checkBatcher()
}

func newOTLPGRPC(c Config) (sdktrace.SpanExporter, error) {
	opts := []otlptracegrpc.Option{
		otlptracegrpc.WithEndpoint(c.Endpoint),
		otlptracegrpc.WithTimeout(exportTimeout),
		otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{
			Enabled: true, InitialInterval: 500 * time.Millisecond, MaxInterval: 5 * time.Second, MaxElapsedTime: exportTimeout,
		}),
		otlptracegrpc.WithDialOption(
			// gRPC's own pause between attempts grows to two minutes, for which a
			// collector that is back would get nothing.
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: 500 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second},
				MinConnectTimeout: 5 * time.Second,
			}),
			otlp.WithoutCopy(),
			grpc.WithWriteBufferSize(writeBuffer),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		),
	}
	if len(c.OtlpHeaders) > 0 {
		opts = append(opts, otlptracegrpc.WithHeaders(c.OtlpHeaders))
	}
	if !c.OtlpGrpcSecure {
		opts = append(opts, otlptracegrpc.WithInsecure())
		return otlp.New(context.Background(), otlptracegrpc.NewClient(opts...))
	}
	config, err := c.tlsConfig()
	if err != nil {
		return nil, err
	}
	opts = append(opts, otlptracegrpc.WithTLSCredentials(credentials.NewTLS(config)))
	return otlp.New(context.Background(), otlptracegrpc.NewClient(opts...))
}

func newOTLPHTTP(c Config) (sdktrace.SpanExporter, error) {
	opts := []otlptracehttp.Option{
		otlptracehttp.WithEndpoint(c.Endpoint),
		otlptracehttp.WithTimeout(exportTimeout),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{
			Enabled: true, InitialInterval: 500 * time.Millisecond, MaxInterval: 5 * time.Second, MaxElapsedTime: exportTimeout,
		}),
	}
	if len(c.OtlpHeaders) > 0 {
		opts = append(opts, otlptracehttp.WithHeaders(c.OtlpHeaders))
	}
	if c.OtlpHttpPath != "" {
		opts = append(opts, otlptracehttp.WithURLPath(c.OtlpHttpPath))
	}
	if !c.OtlpHttpSecure {
		opts = append(opts, otlptracehttp.WithInsecure())
		return otlp.New(context.Background(), otlptracehttp.NewClient(opts...))
	}
	config, err := c.tlsConfig()
	if err != nil {
		return nil, err
	}
	opts = append(opts, otlptracehttp.WithTLSClientConfig(config))
	return otlp.New(context.Background(), otlptracehttp.NewClient(opts...))
}

// newZipkin gives the exporter connections of its own, so that it can close them.
func newZipkin(c Config) (sdktrace.SpanExporter, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	exporter, err := zipkin.New(c.Endpoint, zipkin.WithClient(&http.Client{Transport: transport, Timeout: exportTimeout}))
	if err != nil {
		return nil, fmt.Errorf("Telemetry.Endpoint: %q is not a collector's URL", c.shownEndpoint()) // the error has all of it
	}
	return zipkinExporter{exporter, transport}, nil
}

type zipkinExporter struct {
	*zipkin.Exporter
	transport *http.Transport
}

func (z zipkinExporter) Shutdown(ctx context.Context) error {
	defer z.transport.CloseIdleConnections()
	return z.Exporter.Shutdown(ctx)
}

// tlsConfig reads the files of a secure OTLP exporter.
func (c Config) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.OtlpCaFile != "" {
		pem, err := readPEM(c.OtlpCaFile)
		if err != nil {
			return nil, fmt.Errorf("Telemetry.OtlpCaFile: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("Telemetry.OtlpCaFile: %q holds no certificate in PEM", c.OtlpCaFile)
		}
	}
	if c.OtlpCertFile == "" {
		return config, nil
	}
	load := func() (*tls.Certificate, error) {
		cert, err := readPEM(c.OtlpCertFile)
		if err != nil {
			return nil, fmt.Errorf("Telemetry.OtlpCertFile: %w", err)
		}
		key, err := readPEM(c.OtlpKeyFile)
		if err != nil {
			return nil, fmt.Errorf("Telemetry.OtlpKeyFile: %w", err)
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("Telemetry.OtlpCertFile: %q with OtlpKeyFile %q: %w", c.OtlpCertFile, c.OtlpKeyFile, err)
		}
		return &pair, nil
	}
	if _, err := load(); err != nil {
		return nil, err
	}
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	return config, nil
}

// pemLimit is how large a file of keys or certificates may be, in bytes.
const pemLimit = 1 << 20

// readPEM reads a file of keys or certificates.
func readPEM(path string) ([]byte, error) {
	content, err := readBounded(path, pemLimit)
	if err == nil && len(content) > pemLimit {
		err = fmt.Errorf("%s: larger than %d bytes", path, pemLimit)
	}
	return content, err
}
