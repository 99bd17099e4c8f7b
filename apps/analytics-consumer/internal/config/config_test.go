package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/linktrail/linktrail/apps/analytics-consumer/internal/config"
	"github.com/linktrail/linktrail/internal/telemetry"
)

// TestShippedFiles loads the files that people start from.
func TestShippedFiles(t *testing.T) {
	t.Setenv("POSTGRES_PASSWORD", "secret")
	tests := []struct{ file, dsn, broker, collector string }{
		{"../../etc/analytics-consumer.yaml", "postgres://linktrail:linktrail@localhost:5432/linktrail?sslmode=disable", "localhost:9092", "localhost:4317"},
		{"../../etc/analytics-consumer-compose.yaml", "postgres://linktrail:secret@postgres:5432/linktrail?sslmode=disable", "kafka:9092", "jaeger:4317"},
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
			if diff := cmp.Diff([]string{tt.broker}, c.ClickStream.Brokers); diff != "" {
				t.Errorf("brokers (-want +got):\n%s", diff)
			}
			if !c.Telemetry.Disabled || c.DevServer.Enabled {
				t.Error("go-zero's own telemetry or development server is on")
			}
			if end := c.Drain + 3*config.EndTime; c.Shutdown.WrapUpTime <= end || c.Shutdown.WaitTime <= c.Shutdown.WrapUpTime {
				t.Errorf("go-zero ends the process after %v, before a stop of %v", c.Shutdown, end)
			}
			traces, err := telemetry.Load(tt.file, telemetry.UseEnv())
			if err != nil {
				t.Fatal(err)
			}
			if traces.Endpoint != tt.collector || traces.Name != "analytics-consumer" {
				t.Errorf("telemetry = %v", traces)
			}
		})
	}
}
