package up

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOptions(t *testing.T) {
	valid := Options{Data: "data", Driver: "kgo"}
	for name, c := range map[string]struct {
		change func(*Options)
		tells  string // empty: valid
	}{
		"OK":              {func(*Options) {}, ""},
		"OKServers":       {func(o *Options) { o.Kafka, o.Redis, o.Postgres = "a:1, b:2", "c:3", "postgresql://d/e" }, ""},
		"OKJaeger":        {func(o *Options) { o.OTLP, o.Jaeger = "a:4317", "http://a:16686/jaeger" }, ""},
		"ErrData":         {func(o *Options) { o.Data = "" }, "--data"},
		"ErrPostgres":     {func(o *Options) { o.Postgres = "host=secret" }, "--postgres"},
		"ErrDriver":       {func(o *Options) { o.Driver = "sarama" }, "kgo, kq"},
		"ErrKafka":        {func(o *Options) { o.Kafka = "a:1,b" }, "--kafka"},
		"ErrRedis":        {func(o *Options) { o.Redis = "a" }, "--redis"},
		"ErrRedisURL":     {func(o *Options) { o.Redis = "http://a" }, "--redis"},
		"ErrRedisDB":      {func(o *Options) { o.Redis = "redis://a/first" }, "first"},
		"ErrOTLP":         {func(o *Options) { o.OTLP = "a" }, "--otlp"},
		"ErrOTLPScheme":   {func(o *Options) { o.OTLP = "grpc://a:4317" }, "--otlp"},
		"ErrJaegerAlone":  {func(o *Options) { o.Jaeger = "http://a:16686" }, "--otlp"},
		"ErrJaeger":       {func(o *Options) { o.OTLP, o.Jaeger = "a:4317", "a:16686" }, "--jaeger"},
		"OKPublicURL":     {func(o *Options) { o.PublicURL = "https://go.example.com/" }, ""},
		"ErrPublicURL":    {func(o *Options) { o.PublicURL = "go.example.com" }, "--public-url"},
		"ErrPublicPath":   {func(o *Options) { o.PublicURL = "https://example.com/go" }, "--public-url"},
		"ErrServicesName": {func(o *Options) { o.Services = map[string]map[string]any{"door": {}} }, `"door"`},
	} {
		t.Run(name, func(t *testing.T) {
			o := valid
			c.change(&o)
			err := o.check()
			if c.tells == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var option *OptionError
			if !errors.As(err, &option) || !strings.Contains(err.Error(), c.tells) {
				t.Errorf("got %v, want it to tell %s", err, c.tells)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Error("it shows a DSN")
			}
		})
	}
}

func TestBlocks(t *testing.T) {
	redis, err := redisBlock("rediss://user:p%40ss@cache/2")
	want := map[string]any{"Addrs": []string{"cache:6379"}, "Username": "user", "Password": "p@ss", "DB": 2, "TLS": map[string]any{"Enabled": true}}
	if diff := cmp.Diff(want, redis); err != nil || diff != "" {
		t.Errorf("Redis: %v (-want +got):\n%s", err, diff)
	}
	http, err := exporter("https://collector:4318/custom/")
	want = map[string]any{"Batcher": "otlphttp", "Endpoint": "collector:4318", "OtlpHttpSecure": true, "OtlpHttpPath": "/custom"}
	if diff := cmp.Diff(want, http); err != nil || diff != "" {
		t.Errorf("OTLP: %v (-want +got):\n%s", err, diff)
	}
	merged := merge(map[string]any{"Store": map[string]any{"DSN": "a", "MaxConns": 1}, "Name": "x"},
		map[string]any{"store": map[string]any{"dsn": "b"}, "Drain": "1s"})
	want = map[string]any{"Store": map[string]any{"DSN": "b", "MaxConns": 1}, "Name": "x", "Drain": "1s"}
	if diff := cmp.Diff(want, merged); diff != "" {
		t.Errorf("merged (-want +got):\n%s", diff)
	}
}

// TestTraceQuery looks for where the API reads traces: where the spans of this system are, unless its user says otherwise.
func TestTraceQuery(t *testing.T) {
	own := map[string]map[string]any{URLAPI: {"traceQuery": map[string]any{"Jaeger": "http://own"}}}
	for name, tt := range map[string]struct {
		traces string
		o      Options
		want   any
	}{
		"OKFiles":   {"/data/traces", Options{}, map[string]any{"Files": "/data/traces"}},
		"OKJaeger":  {"", Options{OTLP: "a:4317", Jaeger: "http://a:16686"}, map[string]any{"Jaeger": "http://a:16686"}},
		"OKNowhere": {"", Options{OTLP: "a:4317"}, nil},
		"OKOwn":     {"/data/traces", Options{Services: own}, map[string]any{"Jaeger": "http://own"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := plan{traces: tt.traces, addrs: map[port]string{doorPort: "127.0.0.1:1", apiPort: "127.0.0.1:2"}}
			block, err := p.config(URLAPI, tt.o)
			if err != nil {
				t.Fatal(err)
			}
			got := block["TraceQuery"]
			if got == nil {
				got = block["traceQuery"]
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestConsole looks for the address that people are told: the API's, with the key, unless the console is off.
func TestConsole(t *testing.T) {
	off := map[string]map[string]any{URLAPI: {"console": map[string]any{"enabled": false}}}
	for name, tt := range map[string]struct {
		o    Options
		want string
	}{
		"OK":    {Options{}, "http://127.0.0.1:2/#key=lt_x_y"},
		"OKOff": {Options{Services: off}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := plan{addrs: map[port]string{doorPort: "127.0.0.1:1", apiPort: "0.0.0.0:2"}}
			if got := p.console(tt.o, "lt_x_y"); got != tt.want {
				t.Errorf("it is %q, want %q", got, tt.want)
			}
		})
	}
}

func TestReachable(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:80": "127.0.0.1:80", "0.0.0.0:80": "127.0.0.1:80", "[::]:80": "127.0.0.1:80", "192.0.2.1:80": "192.0.2.1:80", "[::1]:80": "[::1]:80",
	} {
		if got := reachable(addr); got != want {
			t.Errorf("%s is reached at %s, want %s", addr, got, want)
		}
	}
}
