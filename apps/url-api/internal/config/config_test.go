package config_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/linktrail/linktrail/apps/url-api/internal/config"
	"github.com/linktrail/linktrail/internal/telemetry"
)

// TestShippedFiles loads the files that people start from.
func TestShippedFiles(t *testing.T) {
	t.Setenv("POSTGRES_PASSWORD", "secret")
	t.Setenv("PUBLIC_URL", "http://localhost:8080")
	t.Setenv("TRACE_URL", "http://localhost:16686/trace/{trace_id}")
	tests := []struct{ file, dsn, collector string }{
		{"../../etc/url-api.yaml", "postgres://linktrail:linktrail@localhost:5432/linktrail?sslmode=disable", "localhost:4317"},
		{"../../etc/url-api-compose.yaml", "postgres://linktrail:secret@postgres:5432/linktrail?sslmode=disable", "jaeger:4317"},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			c, err := config.Load(tt.file)
			if err != nil {
				t.Fatal(err)
			}
			if c.Store.DSN != tt.dsn {
				t.Errorf("Store.DSN = %q, want %q", c.Store.DSN, tt.dsn)
			}
			if diff := cmp.Diff([]string{"localhost:8080"}, c.Hosts()); diff != "" {
				t.Errorf("hosts (-want +got):\n%s", diff)
			}
			if !c.Telemetry.Disabled || c.DevServer.Enabled {
				t.Error("go-zero's own telemetry or development server is on")
			}
			if c.Shutdown.WrapUpTime <= c.Drain || c.Shutdown.WaitTime <= c.Shutdown.WrapUpTime {
				t.Errorf("go-zero ends the process after %v, within the drain of %v", c.Shutdown, c.Drain)
			}
			if c.Drain != 20*time.Second || c.LinkCache.TTL != 5*time.Second {
				t.Errorf("defaults: Drain %v, LinkCache.TTL %v", c.Drain, c.LinkCache.TTL)
			}
			traces, err := telemetry.Load(tt.file, telemetry.UseEnv())
			if err != nil {
				t.Fatal(err)
			}
			if traces.Endpoint != tt.collector || traces.Name != "url-api" {
				t.Errorf("telemetry = %v", traces)
			}
		})
	}
}
