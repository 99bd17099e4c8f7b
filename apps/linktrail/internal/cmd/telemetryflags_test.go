package cmd

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/linktrail/linktrail/apps/linktrail/internal/up"
	"github.com/linktrail/linktrail/internal/telemetry"
)

// mustFlags parses what was typed after `linktrail telemetry set`.
func mustFlags(t *testing.T, args ...string) *telemetryFlags {
	t.Helper()
	f, c := &telemetryFlags{}, &cobra.Command{}
	f.register(c)
	if err := c.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestTelemetrySet sees what the flags make of an overlay, key by key.
func TestTelemetrySet(t *testing.T) {
	file := telemetry.Config{Batcher: "file", Endpoint: "/data/traces/url-api.jsonl", Sampler: 1}
	secure := telemetry.Config{Batcher: "otlpgrpc", Endpoint: "own:4317", OtlpGrpcSecure: true, OtlpCaFile: "/own/ca.pem", Sampler: 1}
	plain := telemetry.Config{Batcher: "otlphttp", Endpoint: "own:4318", OtlpHttpPath: "/own", Sampler: 1}
	for name, tt := range map[string]struct {
		own    telemetry.Config
		before string
		args   []string
		want   map[string]any
	}{
		"a host and port is OTLP over gRPC":       {file, "", []string{"--endpoint", "c:4317"}, map[string]any{"Batcher": "otlpgrpc", "Endpoint": "c:4317"}},
		"any port is":                             {file, "", []string{"--endpoint", "c:9999"}, map[string]any{"Batcher": "otlpgrpc", "Endpoint": "c:9999"}},
		"port 4318 is OTLP over HTTP":             {file, "", []string{"--endpoint", "c:4318"}, map[string]any{"Batcher": "otlphttp", "Endpoint": "c:4318"}},
		"another port goes as it went":            {plain, "", []string{"--endpoint", "c:9999"}, map[string]any{"Batcher": "otlphttp", "Endpoint": "c:9999"}},
		"a URL is OTLP over HTTP":                 {file, "", []string{"--endpoint", "https://c/x/"}, map[string]any{"Batcher": "otlphttp", "Endpoint": "c", "OtlpHttpPath": "/x", "OtlpHttpSecure": true}},
		"and without TLS":                         {file, "", []string{"--endpoint", "http://c:4318"}, map[string]any{"Batcher": "otlphttp", "Endpoint": "c:4318", "OtlpHttpSecure": false}},
		"Zipkin by its port":                      {file, "", []string{"--endpoint", "http://z:9411/api/v2/spans"}, map[string]any{"Batcher": "zipkin", "Endpoint": "http://z:9411/api/v2/spans"}},
		"a URL for gRPC":                          {file, "", []string{"--batcher", "otlpgrpc", "--endpoint", "https://c:4317"}, map[string]any{"Batcher": "otlpgrpc", "Endpoint": "c:4317", "OtlpGrpcSecure": true}},
		"an absolute path is a file":              {plain, "", []string{"--endpoint", "/tmp/x/spans.jsonl"}, map[string]any{"Batcher": "file", "Endpoint": "/tmp/x/spans.jsonl"}},
		"a folder gets a file":                    {plain, "", []string{"--endpoint", "/tmp/"}, map[string]any{"Batcher": "file", "Endpoint": "/tmp/spans.jsonl"}},
		"the rest stays, in any case":             {file, "Telemetry: {sampler: 0.1, disabled: true}", []string{"--ratio", "0.5"}, map[string]any{"Sampler": 0.5, "disabled": true}},
		"the service's TLS does not go to a file": {secure, "", []string{"--endpoint", "/tmp/spans.jsonl"}, map[string]any{"Batcher": "file", "Endpoint": "/tmp/spans.jsonl", "OtlpGrpcSecure": false, "OtlpCaFile": ""}},
		"nor the overlay's":                       {file, "Telemetry: {Batcher: otlphttp, Endpoint: 'c:4318', OtlpHttpSecure: true, OtlpHttpPath: /x}", []string{"--endpoint", "d:4317"}, map[string]any{"Batcher": "otlpgrpc", "Endpoint": "d:4317"}},
		"TLS stays where the batcher does":        {file, "Telemetry: {Batcher: otlphttp, Endpoint: 'c:4318', OtlpHttpSecure: true}", []string{"--endpoint", "d:4318"}, map[string]any{"Batcher": "otlphttp", "Endpoint": "d:4318", "OtlpHttpSecure": true}},
		"no TLS, no authority":                    {secure, "", []string{"--secure=false"}, map[string]any{"OtlpGrpcSecure": false, "OtlpCaFile": ""}},
		"an authority implies TLS":                {plain, "", []string{"--ca-file", "/c/ca.pem"}, map[string]any{"OtlpHttpSecure": true, "OtlpCaFile": "/c/ca.pem"}},
		"no endpoint is the service's":            {file, "Telemetry: {Batcher: otlpgrpc, Endpoint: 'c:4317', OtlpGrpcSecure: true, Sampler: 0.5}", []string{"--endpoint", ""}, map[string]any{"Sampler": 0.5}},
		"disabled and back":                       {file, "Telemetry: {Disabled: true}", []string{"--disabled=false"}, map[string]any{"Disabled": false}},
		"a path of one's own":                     {plain, "", []string{"--http-path", "/mine"}, map[string]any{"OtlpHttpPath": "/mine"}},
		"and the service's again":                 {plain, "Telemetry: {OtlpHttpPath: /mine}", []string{"--http-path", ""}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			before := overlayFiles{dir: "/overlay", telemetry: []byte(tt.before), own: map[string]telemetry.Config{up.URLAPI: tt.own}}
			after, err := mustFlags(t, tt.args...).apply(before, strings.NewReader(""))
			if err != nil {
				t.Fatal(err)
			}
			got, err := telemetry.OverlayBlock(after.telemetry)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) == 0 {
				got = nil
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestTelemetrySetHeaders reads headers as people keep them.
func TestTelemetrySetHeaders(t *testing.T) {
	f := mustFlags(t, "--header-file", "-")
	before := overlayFiles{dir: "/overlay", headers: []byte("Telemetry: {otlpheaders: {kept: a, gone: b}}")}
	after, err := f.apply(before, strings.NewReader("# ours\n\nAuthorization: Bearer a=b:c\r\nx-team=blue\ngone=\n"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := telemetry.OverlayBlock(after.headers)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"OtlpHeaders": map[string]any{"kept": "a", "Authorization": "Bearer a=b:c", "x-team": "blue"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(after.telemetry) != 0 {
		t.Errorf("telemetry.yaml became\n%s", after.telemetry)
	}
	if _, err := f.apply(before, strings.NewReader("hidden-token\n")); err == nil || strings.Contains(err.Error(), "hidden") {
		t.Errorf("got %v", err)
	}
}
