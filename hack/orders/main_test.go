package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/zeromicro/go-zero/core/trace"
)

func TestOverlaid(t *testing.T) {
	own := trace.Config{Name: "orders", Endpoint: "own:4317", Sampler: 1, Batcher: "otlpgrpc"}
	for name, test := range map[string]struct {
		files map[string]string
		want  trace.Config
	}{
		"OK nothing": {nil, own},
		"OK telemetry.yaml": {
			map[string]string{"telemetry.yaml": "Telemetry:\n  Batcher: otlphttp\n  Endpoint: jaeger:4318\n  OtlpHttpSecure: true\n  Sampler: 0.25\n"},
			trace.Config{Name: "orders", Endpoint: "jaeger:4318", Sampler: 0.25, Batcher: "otlphttp", OtlpHttpSecure: true},
		},
		"OK both": {
			map[string]string{
				"telemetry.yaml": "Telemetry:\n  Batcher: otlpgrpc\n  Disabled: false\n  Endpoint: jaeger:4317\n  OtlpCaFile: ca.crt\n  OtlpGrpcSecure: true\n  OtlpHeaders: {}\n  OtlpHttpPath: \"\"\n  OtlpHttpSecure: false\n  Sampler: 0\n",
				"headers.yaml":   "Telemetry:\n  OtlpHeaders:\n    x-api-key: secret\n",
			},
			trace.Config{Name: "orders", Endpoint: "jaeger:4317", Batcher: "otlpgrpc", OtlpHeaders: map[string]string{"x-api-key": "secret"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := overlaid(own, folder(t, test.files))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
	t.Run("Err a batcher that go-zero does not know", func(t *testing.T) {
		_, err := overlaid(own, folder(t, map[string]string{"telemetry.yaml": "Telemetry: {Batcher: udp}"}))
		if err == nil || !strings.Contains(err.Error(), "udp") {
			t.Errorf("error is %v", err)
		}
	})
}

// folder has files.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
