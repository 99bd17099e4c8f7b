package render

import (
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
	"github.com/linktrail/linktrail/internal/telemetry"
)

// MustPEM returns a certificate of an authority.
func MustPEM(t *testing.T, name string) []byte {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(nil, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestRender(t *testing.T) {
	authority := MustPEM(t, "one")
	for name, test := range map[string]struct {
		in   Input
		want telemetry.Config
	}{
		"OK otlpgrpc": {
			Input{Exporter: v1alpha1.Exporter{Protocol: v1alpha1.ProtocolOTLPGRPC}, Endpoint: "jaeger:4317", Ratio: "0.25"},
			telemetry.Config{Batcher: "otlpgrpc", Endpoint: "jaeger:4317", Sampler: 0.25},
		},
		"OK otlpgrpc with TLS, authorities and headers": {
			Input{
				Exporter: v1alpha1.Exporter{Protocol: v1alpha1.ProtocolOTLPGRPC, Secure: true}, Endpoint: "otlp.example:443", Ratio: "1",
				CA: authority, Headers: map[string][]byte{"x-key": []byte("a: b # c")},
			},
			telemetry.Config{
				Batcher: "otlpgrpc", Endpoint: "otlp.example:443", Sampler: 1, OtlpGrpcSecure: true,
				OtlpHeaders: map[string]string{"x-key": "a: b # c"},
			},
		},
		"OK otlphttp": {
			Input{Exporter: v1alpha1.Exporter{Protocol: v1alpha1.ProtocolOTLPHTTP, Secure: true, HTTPPath: "/otlp"}, Endpoint: "c:443", Ratio: "0"},
			telemetry.Config{Batcher: "otlphttp", Endpoint: "c:443", OtlpHttpPath: "/otlp", OtlpHttpSecure: true},
		},
		"OK zipkin": {
			Input{Exporter: v1alpha1.Exporter{Protocol: v1alpha1.ProtocolZipkin}, Endpoint: "http://zipkin:9411/api/v2/spans", Ratio: "1.0"},
			telemetry.Config{Batcher: "zipkin", Endpoint: "http://zipkin:9411/api/v2/spans", Sampler: 1},
		},
		"OK file": {
			Input{Exporter: v1alpha1.Exporter{Protocol: v1alpha1.ProtocolFile}, Endpoint: "/spans.jsonl", Ratio: "1"},
			telemetry.Config{Batcher: "file", Endpoint: "/spans.jsonl", Sampler: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			overlay, err := Render(test.in)
			if err != nil {
				t.Fatal(err)
			}
			config, headers := []byte(overlay.ConfigMap[telemetry.OverlayFile]), overlay.Secret[telemetry.HeadersFile]
			folder := t.TempDir()
			for name, content := range overlay.ConfigMap {
				if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := telemetry.Default().Overlaid(folder, config, headers)
			if err != nil {
				t.Fatal(err)
			}
			if content, _ := os.ReadFile(got.OtlpCaFile); string(content) != string(test.in.CA) {
				t.Errorf("authorities are in %q: %q", got.OtlpCaFile, content)
			}
			got.OtlpCaFile = ""
			if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("what a service reads (-want +got):\n%s\n%s", diff, config)
			}
			if overlay.Hash != telemetry.OverlayHash(config, headers) {
				t.Errorf("hash is %q, a service reports %q", overlay.Hash, telemetry.OverlayHash(config, headers))
			}
			for _, ratio := range []v1alpha1.Ratio{"0", "0.000001", "0.5", "1.000"} {
				again := test.in
				again.Ratio = ratio
				want, err := Render(again)
				if err != nil {
					t.Fatal(err)
				}
				got, err := Applied(overlay.ConfigMap, overlay.Secret).WithRatio(ratio)
				if diff := cmp.Diff(want, got); diff != "" || err != nil {
					t.Errorf("with ratio %s (-rendered +got): %v\n%s", ratio, err, diff)
				}
			}
			for name, content := range overlay.ConfigMap {
				for _, value := range test.in.Headers {
					if strings.Contains(content, string(value)) {
						t.Errorf("the ConfigMap has a header's value in %s", name)
					}
				}
			}
		})
	}

	t.Run("OK nothing of a service's own block is left", func(t *testing.T) {
		own := telemetry.Default()
		own.Disabled = true
		own.Batcher, own.Endpoint, own.OtlpHttpPath, own.OtlpHttpSecure = "otlphttp", "vendor.example:443", "/own", true
		own.OtlpHeaders = map[string]string{"authorization": "secret"}
		own.OtlpCaFile, own.OtlpCertFile, own.OtlpKeyFile = "/own/ca.crt", "/own/tls.crt", "/own/tls.key"
		overlay, err := Render(Input{Exporter: v1alpha1.Exporter{Protocol: v1alpha1.ProtocolOTLPGRPC}, Endpoint: "jaeger:4317", Ratio: "1"})
		if err != nil {
			t.Fatal(err)
		}
		got, err := own.Overlaid("", []byte(overlay.ConfigMap[telemetry.OverlayFile]), nil)
		if err != nil {
			t.Fatal(err)
		}
		want := telemetry.Config{Batcher: "otlpgrpc", Endpoint: "jaeger:4317", Sampler: 1}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("OK other authorities are another overlay", func(t *testing.T) {
		in := Input{Exporter: v1alpha1.Exporter{Protocol: v1alpha1.ProtocolOTLPGRPC, Secure: true}, Endpoint: "c:443", Ratio: "1"}
		hashes := make(map[string]bool)
		for _, ca := range [][]byte{nil, authority, MustPEM(t, "two"), authority} {
			in.CA = ca
			overlay, err := Render(in)
			if err != nil {
				t.Fatal(err)
			}
			hashes[overlay.Hash] = true
		}
		if len(hashes) != 3 {
			t.Errorf("hashes are %v, want three", hashes)
		}
	})

	t.Run("Err another ratio for what nobody has rendered", func(t *testing.T) {
		for _, text := range []string{"Telemetry: [", "Telemetry: {Other: 1}", "other: {}"} {
			if o, err := Applied(map[string]string{telemetry.OverlayFile: text}, nil).WithRatio("1"); err == nil {
				t.Errorf("%q became %v", text, o)
			}
		}
	})

	t.Run("Err no certificate", func(t *testing.T) {
		_, err := Render(Input{
			Exporter: v1alpha1.Exporter{Protocol: v1alpha1.ProtocolOTLPGRPC, Secure: true}, Endpoint: "c:4317", Ratio: "1", CA: []byte("PEM"),
		})
		if err == nil || !strings.Contains(err.Error(), "caFrom") {
			t.Errorf("error is %v", err)
		}
	})

	t.Run("Err a header's value is not shown", func(t *testing.T) {
		_, err := Render(Input{
			Exporter: v1alpha1.Exporter{Protocol: v1alpha1.ProtocolOTLPGRPC}, Endpoint: "c:4317", Ratio: "1",
			Headers: map[string][]byte{"bad name": []byte("hidden")},
		})
		if err == nil || !strings.Contains(err.Error(), "bad name") || strings.Contains(err.Error(), "hidden") {
			t.Errorf("error is %v", err)
		}
	})
}

// FuzzRender renders anything: what comes out is what a service accepts and understands as it was meant.
func FuzzRender(f *testing.F) {
	f.Add("otlpgrpc", "jaeger:4317", "0.1", "", false, "", "")
	f.Add("otlphttp", "c:443", "1", "/v1/traces", true, "authorization", "Bearer a: \"b\"\n")
	f.Add("zipkin", "http://z:9411/api/v2/spans", "0", "", false, "", "")
	f.Add("file", "/tmp/%\x00", "1.000000", "", false, "", "")
	f.Fuzz(func(t *testing.T, protocol, endpoint, ratio, path string, secure bool, header, value string) {
		if !utf8.ValidString(protocol + endpoint + ratio + path + header) {
			return // the API server has no such text
		}
		in := Input{
			Exporter: v1alpha1.Exporter{Protocol: v1alpha1.Protocol(protocol), HTTPPath: path, Secure: secure},
			Endpoint: endpoint, Ratio: v1alpha1.Ratio(ratio),
		}
		if header != "" {
			in.Headers = map[string][]byte{header: []byte(value)}
		}
		overlay, err := Render(in)
		if err != nil {
			if len(value) > 3 && !strings.Contains(header+protocol+endpoint+ratio+path, value) && strings.Contains(err.Error(), value) {
				t.Fatalf("the error shows a header's value: %v", err)
			}
			return
		}
		got, err := telemetry.Default().Overlaid("/overlay", []byte(overlay.ConfigMap[telemetry.OverlayFile]), overlay.Secret[telemetry.HeadersFile])
		if err != nil {
			t.Fatal(err)
		}
		if sampler, err := json.Number(ratio).Float64(); got.Endpoint != endpoint || got.Batcher != protocol || err != nil || got.Sampler != sampler {
			t.Fatalf("%q %q %q became %v", protocol, endpoint, ratio, got)
		}
		if header != "" && got.OtlpHeaders[header] != value {
			t.Fatalf("header %q is %q, want %q", header, got.OtlpHeaders[header], value)
		}
	})
}
