package telemetry

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	gozeroconf "github.com/zeromicro/go-zero/core/conf"
	gozerotrace "github.com/zeromicro/go-zero/core/trace"
)

func TestParse(t *testing.T) {
	with := func(change func(*Config)) Config {
		cfg := Default()
		cfg.Name = "url-api"
		change(&cfg)
		return cfg
	}
	for name, tc := range map[string]struct {
		yaml string
		want Config
	}{
		"no block":            {"Name: url-api\nPort: 8081\n", with(func(*Config) {})},
		"an empty block":      {"Name: url-api\nTelemetry:\n", with(func(*Config) {})},
		"keys without values": {"Name: url-api\nTelemetry:\n  Sampler:\n  Endpoint:\n", with(func(*Config) {})},
		"a name of its own":   {"Name: other\nTelemetry:\n  Name: url-api\n", with(func(*Config) {})},
		"any case":            {"name: url-api\ntelemetry:\n  ENDPOINT: localhost:4317\n  sampler: 0.25\n", with(func(c *Config) { c.Endpoint, c.Sampler = "localhost:4317", 0.25 })},
		"JSON":                {`{"Name": "url-api", "Telemetry": {"Sampler": 0}}`, with(func(c *Config) { c.Sampler = 0 })},
		"otlphttp": {
			"Name: url-api\nTelemetry:\n  Batcher: otlphttp\n  Endpoint: collector.example\n  OtlpHttpSecure: true\n  OtlpHttpPath: /custom\n  OtlpHeaders:\n    Authorization: Bearer x\n",
			with(func(c *Config) {
				c.Batcher, c.Endpoint, c.OtlpHttpSecure, c.OtlpHttpPath = "otlphttp", "collector.example", true, "/custom"
				c.OtlpHeaders = map[string]string{"Authorization": "Bearer x"}
			}),
		},
		"zipkin":   {"Name: url-api\nTelemetry: {Batcher: zipkin, Endpoint: 'http://localhost:9411/api/v2/spans'}\n", with(func(c *Config) { c.Batcher, c.Endpoint = "zipkin", "http://localhost:9411/api/v2/spans" })},
		"file":     {"Name: url-api\nTelemetry: {Batcher: file, Endpoint: data/spans.jsonl, Disabled: true}\n", with(func(c *Config) { c.Batcher, c.Endpoint, c.Disabled = "file", "data/spans.jsonl", true })},
		"IPv6":     {"Name: url-api\nTelemetry: {Endpoint: '[::1]:4317', OtlpGrpcSecure: true}\n", with(func(c *Config) { c.Endpoint, c.OtlpGrpcSecure = "[::1]:4317", true })},
		"any rest": {"Name: url-api\nStore: [1]\nDoor: {Telemetry: 3}\n", with(func(*Config) {})},
	} {
		t.Run("OK/"+name, func(t *testing.T) {
			got, err := Parse([]byte(tc.yaml))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}

	for name, tc := range map[string]struct{ block, want string }{
		"Jaeger":          {"Batcher: jaeger", `Telemetry.Batcher: "jaeger" is not one of otlpgrpc, otlphttp, zipkin, file (go-zero removed it in 1.10; use otlpgrpc, Jaeger listens on 4317)`},
		"Batcher":         {"Batcher: kafka", `Telemetry.Batcher: "kafka" is not one of otlpgrpc, otlphttp, zipkin, file`},
		"BatcherEmpty":    {"Batcher: ''", `Telemetry.Batcher: "" is not one of`},
		"Sampler":         {"Sampler: 1.5", `Telemetry.Sampler: 1.5 is not a number from 0 (no trace) to 1 (every trace)`},
		"SamplerNegative": {"Sampler: -0.1", `Telemetry.Sampler: -0.1 is not`},
		"SamplerNaN":      {"Sampler: .nan", `NaN`},
		"SamplerText":     {"Sampler: half", `Telemetry.Sampler: "half" is not a number`},
		"SamplerQuoted":   {"Sampler: '0.5'", `Telemetry.Sampler: "0.5" is not a number`},
		"Unknown":         {"Sampel: 0.5", `Telemetry.Sampel: unknown key; the keys are Name, Endpoint, Sampler,`},
		"Twice":           {"Sampler: 1\n  sampler: 0", `Telemetry.Sampler: given twice, as "Sampler" and "sampler"`},
		"GRPCScheme":      {"Endpoint: http://localhost:4317", `Telemetry.Endpoint: "http://localhost:4317" has a scheme; with Batcher otlpgrpc it is HOST:PORT, like localhost:4317`},
		"GRPCPort":        {"Endpoint: localhost", `Telemetry.Endpoint: "localhost" has no port`},
		"GRPCPortRange":   {"Endpoint: 'localhost:70000'", `Telemetry.Endpoint: "localhost:70000" has a port that is not 1 to 65535`},
		"GRPCHost":        {"Endpoint: ':4317'", `Telemetry.Endpoint: ":4317" has no host`},
		"HTTPScheme":      {"Batcher: otlphttp\n  Endpoint: https://x:4318", `has a scheme; with Batcher otlphttp it is HOST:PORT, like localhost:4318 (OtlpHttpSecure chooses https`},
		"HTTPPath":        {"Batcher: otlphttp\n  Endpoint: x:4318/v1/traces", `"x:4318/v1/traces" has a path`},
		"ZipkinScheme":    {"Batcher: zipkin\n  Endpoint: localhost:9411", `Telemetry.Endpoint: "localhost:9411" has no http:// or https://; with Batcher zipkin it is a URL`},
		"ZipkinHost":      {"Batcher: zipkin\n  Endpoint: http:///api", `"http:///api" has no host`},
		"FileScheme":      {"Batcher: file\n  Endpoint: file:///tmp/x", `Telemetry.Endpoint: "file:///tmp/x" has a scheme; with Batcher file it is the path of a file`},
		"FileAddress":     {"Batcher: file\n  Endpoint: localhost:4317", `Telemetry.Endpoint: "localhost:4317" is an address; with Batcher file it is the path of a file`},
		"Password":        {"Endpoint: user:hunter2@localhost:4317", `Telemetry.Endpoint: "***@localhost:4317" has a character no address has`},
		"FileFolder":      {"Batcher: file\n  Endpoint: .", `Telemetry.Endpoint: "." is a folder`},
		"EndpointType":    {"Endpoint: 4317", `Telemetry.Endpoint: 4317 is not text`},
		"SecureType":      {"OtlpHttpSecure: 'yes'", `Telemetry.OtlpHttpSecure: "yes" is not one of true, false`},
		"HeadersType":     {"OtlpHeaders: [a]", `Telemetry.OtlpHeaders: the value (not shown) is not a mapping`},
		"HeaderNumber":    {"OtlpHeaders: {token: 12345}", `Telemetry.OtlpHeaders: the value of "token" (not shown) is not text`},
		"HeaderName":      {"OtlpHeaders: {'to ken': x}", `Telemetry.OtlpHeaders: "to ken" is not a header name`},
		"HeaderValue":     {`OtlpHeaders: {token: "a\nb"}`, `Telemetry.OtlpHeaders: the value of "token" (not shown) has a control character`},
		"Path":            {"Batcher: otlphttp\n  OtlpHttpPath: v1/traces", `Telemetry.OtlpHttpPath: "v1/traces" is not a path that begins with /`},
		"SecureBatcher":   {"Batcher: otlphttp\n  OtlpGrpcSecure: true", `Telemetry.OtlpGrpcSecure: true has no effect with Batcher otlphttp`},
		"CAWithoutTLS":    {"OtlpCaFile: ca.pem", `Telemetry.OtlpCaFile: "ca.pem" has no effect without TLS`},
		"CAMissing":       {"OtlpGrpcSecure: true\n  OtlpCaFile: no-such.pem", `Telemetry.OtlpCaFile: open no-such.pem`},
		"CANotPEM":        {"OtlpGrpcSecure: true\n  OtlpCaFile: config.go", `Telemetry.OtlpCaFile: "config.go" holds no certificate in PEM`},
		"KeyWithoutCert":  {"OtlpGrpcSecure: true\n  OtlpKeyFile: key.pem", `Telemetry.OtlpCertFile: "" and OtlpKeyFile: "key.pem" go together`},
		"CertMissing":     {"OtlpGrpcSecure: true\n  OtlpKeyFile: k.pem\n  OtlpCertFile: c.pem", `Telemetry.OtlpCertFile: open c.pem: no such file`},
		"SeveralAtOnce":   {"Batcher: jaeger\n  Sampler: 7", `Telemetry.Sampler: 7 is not`},
		"NotAMapping":     {"- a", `Telemetry: a list is not a mapping`},
	} {
		t.Run("Err"+name, func(t *testing.T) {
			_, err := Parse([]byte("Name: url-api\nTelemetry:\n  " + tc.block + "\n"))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
			if err != nil && (strings.Contains(err.Error(), "12345") || strings.Contains(err.Error(), "hunter2")) {
				t.Errorf("the error shows a header's value: %v", err)
			}
		})
	}
	t.Run("ErrNotYAML", func(t *testing.T) {
		for _, content := range []string{"a: [", "just text", "Telemetry: 3", "Name: 3"} {
			if _, err := Parse([]byte(content)); err == nil {
				t.Errorf("%q is accepted", content)
			}
		}
	})
}

// What go-zero reads from its own block, this package reads alike.
func TestParseLikeGoZero(t *testing.T) {
	for _, block := range []string{
		"Endpoint: localhost:4317",
		"Endpoint: localhost:4318\nBatcher: otlphttp\nOtlpHttpPath: /x\nOtlpHttpSecure: true\nOtlpHeaders:\n  A: b",
		"Name: x\nSampler: 0.1\nBatcher: file\nEndpoint: spans.jsonl\nDisabled: true",
		"sampler: 1\nbatcher: zipkin\nendpoint: http://localhost:9411/api/v2/spans",
		"Sampler: 0",
	} {
		var theirs gozerotrace.Config
		if err := gozeroconf.LoadFromYamlBytes([]byte(block), &theirs); err != nil {
			t.Fatal(err)
		}
		ours, err := Parse([]byte("Telemetry:\n  " + strings.ReplaceAll(block, "\n", "\n  ")))
		if err != nil {
			t.Fatal(err)
		}
		got := gozerotrace.Config{
			Name: ours.Name, Endpoint: ours.Endpoint, Sampler: ours.Sampler, Batcher: ours.Batcher, OtlpHeaders: ours.OtlpHeaders,
			OtlpHttpPath: ours.OtlpHttpPath, OtlpHttpSecure: ours.OtlpHttpSecure, Disabled: ours.Disabled,
		}
		if diff := cmp.Diff(theirs, got); diff != "" {
			t.Errorf("%s\n-go-zero +ours\n%s", block, diff)
		}
	}
}

func TestLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "url-api.yaml")
	MustWriteFile(t, file, "Name: url-api\nTelemetry:\n  Endpoint: ${LINKTRAIL_TEST_COLLECTOR}\n")
	t.Setenv("LINKTRAIL_TEST_COLLECTOR", "collector:4317")
	t.Run("OK", func(t *testing.T) {
		cfg, err := Load(file, UseEnv())
		if err != nil || cfg.Endpoint != "collector:4317" || cfg.Name != "url-api" {
			t.Errorf("got %v, %v", cfg, err)
		}
	})
	t.Run("ErrWithoutEnv", func(t *testing.T) {
		if _, err := Load(file); err == nil || !strings.Contains(err.Error(), file+": Telemetry.Endpoint: ") {
			t.Errorf("got %v, want file and key", err)
		}
	})
	t.Run("ErrMissing", func(t *testing.T) {
		if _, err := Load(file + ".no"); err == nil || !strings.Contains(err.Error(), file+".no") {
			t.Errorf("got %v, want the file's name", err)
		}
	})
}

func TestConfigHidesSecrets(t *testing.T) {
	cfg := Config{Batcher: BatcherZipkin, Endpoint: "http://user:hidden@zipkin:9411/", OtlpHeaders: map[string]string{"token": "hidden"}}
	if text := fmt.Sprint(cfg); strings.Contains(text, "hidden") || !strings.Contains(text, "token") {
		t.Errorf("got %q, want the header's name and no secret", text)
	}
}

// MustWriteFile writes a file with the given content.
func MustWriteFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
