package config_test

import (
	"testing"

	"github.com/linktrail/linktrail/apps/analytics-rpc/internal/config"
	"github.com/linktrail/linktrail/internal/telemetry"
)

// TestShippedFiles loads the files that people start from.
func TestShippedFiles(t *testing.T) {
	t.Setenv("POSTGRES_PASSWORD", "secret")
	tests := []struct{ file, dsn, collector string }{
		{"../../etc/analytics-rpc.yaml", "postgres://linktrail:linktrail@localhost:5432/linktrail?sslmode=disable", "localhost:4317"},
		{"../../etc/analytics-rpc-compose.yaml", "postgres://linktrail:secret@postgres:5432/linktrail?sslmode=disable", "jaeger:4317"},
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
			if !c.Telemetry.Disabled || c.DevServer.Enabled {
				t.Error("go-zero's own telemetry or development server is on")
			}
			if c.Shutdown.WrapUpTime <= c.Drain || c.Shutdown.WaitTime <= c.Shutdown.WrapUpTime {
				t.Errorf("go-zero ends the process after %v, within the drain of %v", c.Shutdown, c.Drain)
			}
			traces, err := telemetry.Load(tt.file, telemetry.UseEnv())
			if err != nil {
				t.Fatal(err)
			}
			if traces.Endpoint != tt.collector || traces.Name != "analytics-rpc" {
				t.Errorf("telemetry = %v", traces)
			}
		})
	}
}
