package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestServiceCheck reads the files that people start from, and files with one wrong value each.
func TestServiceCheck(t *testing.T) {
	t.Setenv("POSTGRES_PASSWORD", "secret")
	t.Setenv("PUBLIC_URL", "http://localhost:8080")
	for _, service := range []string{"url-api", "analytics-rpc", "analytics-consumer"} {
		for _, file := range []string{service + ".yaml", service + "-compose.yaml"} {
			t.Run("OK "+file, func(t *testing.T) {
				file := filepath.Join("..", service, "etc", file)
				if text := want(t, 0, "service", service, "--config", file, "--check").stdout; text != file+": "+service+" starts with it\n" {
					t.Errorf("it prints %q", text)
				}
			})
		}
	}
	const (
		store  = "Store: {DSN: 'postgres://db/x'}\n"
		stream = "ClickStream: {Brokers: ['kafka:9092']}\n"
		urlAPI = "Name: url-api\nPort: 8081\nPublicURL: http://localhost\nAnalytics: {Target: 'dns:///a:1'}\n"
	)
	for name, c := range map[string]struct{ service, yaml, tells string }{
		"ErrService":        {"url", urlAPI + store + stream, `"url" is not one of url-api, analytics-rpc, analytics-consumer`},
		"ErrYAML":           {"url-api", "Name: [", "not YAML"},
		"ErrTelemetry":      {"url-api", urlAPI + store + stream + "Telemetry: {Batcher: jaeger}", "Telemetry.Batcher"},
		"ErrStore":          {"url-api", urlAPI + stream + "Store: {DSN: 'mysql://x'}", `Store.DSN: scheme "mysql"`},
		"ErrStream":         {"url-api", urlAPI + store + "ClickStream: {Brokers: ['kafka']}", "ClickStream.Brokers"},
		"ErrRedis":          {"url-api", urlAPI + store + stream + "Redis: {Addrs: ['a:1'], Cluster: true, MasterName: m}", "Redis.Cluster"},
		"ErrHome":           {"url-api", urlAPI + store + stream + "Door: {HomeURL: nowhere}", "Door.HomeURL"},
		"ErrProxies":        {"url-api", urlAPI + store + stream + "TrustedProxies: [everyone]", `"everyone"`},
		"ErrRPCStore":       {"analytics-rpc", "Name: a\nListenOn: ':8082'\nStore: {DSN: 'sqlite:'}", "Store.DSN"},
		"ErrConsumerStore":  {"analytics-consumer", "Name: a\nStore: {DSN: x}\n" + stream, "Store.DSN"},
		"ErrConsumerStream": {"analytics-consumer", "Name: a\n" + store + "ClickStream: {Brokers: ['k:1'], Driver: kq, TLS: {Enabled: true}}", "Driver kq"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "service.yaml")
			MustWrite(t, file, c.yaml)
			if text := want(t, 2, "service", c.service, "--config", file, "--check").stderr; !strings.Contains(text, c.tells) {
				t.Errorf("it does not tell %q: %s", c.tells, text)
			}
		})
	}
}
