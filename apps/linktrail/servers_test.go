package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/linktrail/linktrail/apps/linktrail/internal/traces"
	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/tracequery"
)

// TestServers runs on real servers in place of the embedded ones, with either driver, configured by YAML.
func TestServers(t *testing.T) {
	for _, driver := range []string{"kgo", "kq"} {
		t.Run(driver, func(t *testing.T) {
			kafka, jaeger := testenv.Kafka(t), testenv.Jaeger(t)
			topic := "up-" + strings.ToLower(rand.Text()[:10])
			stream := map[string]any{"ClickStream": map[string]any{"Topic": topic, "Group": topic, "Conns": 2}}
			content, err := yaml.Marshal(map[string]any{
				"postgres": testenv.Postgres(t), "redis": testenv.Redis(t), "kafka": strings.Join(kafka.Brokers, ","),
				"otlp": jaeger.OTLPGRPC, "driver": driver, "no-example": true,
				"services": map[string]any{"url-api": stream, "analytics-consumer": stream},
			})
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "up.yaml")
			MustWrite(t, file, string(content))

			r := start(t, t.TempDir(), "--config", file, "--jaeger", jaeger.Query)
			if r.run.Jaeger != jaeger.Query || r.run.Traces != "" {
				t.Errorf("run.json says traces are at %q, %q", r.run.Jaeger, r.run.Traces)
			}
			code := r.create("")
			id := r.click(code)
			r.wantClicks(code, 1)
			var trace tracequery.Trace
			eventually(t, "the whole trace in Jaeger", func() error {
				got := linktrail(t, "trace", "--last", code, "--data", r.data, "-o", "json")
				if got.code != 0 {
					return fmt.Errorf("exit code %d: %s", got.code, got.stderr)
				}
				if err := json.Unmarshal([]byte(got.stdout), &trace); err != nil {
					t.Fatal(err)
				}
				if !traces.Whole(trace) {
					return fmt.Errorf("it has %d spans", len(trace.Spans))
				}
				return nil
			})
			if trace.TraceID != id {
				t.Errorf("it is trace %s, want %s", trace.TraceID, id)
			}
			// Keys are made where this folder's linktrail looks for them.
			var made struct{ Token string }
			wantJSON(t, &made, "keys", "create", "--data", r.data)
			want(t, 0, "links", "get", code, "--data", r.data, "--api-key", made.Token)
			want(t, 0, "migrate", "--config", filepath.Join(r.data, "etc", "url-api.yaml")) // again changes nothing
			r.stop()

			again := start(t, r.data, "--config", file, "--jaeger", jaeger.Query)
			again.click(code)
			again.wantClicks(code, 2)
		})
	}
}
