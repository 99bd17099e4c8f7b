package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/linktrail/linktrail/apps/linktrail/internal/up"
	"github.com/linktrail/linktrail/internal/telemetry"
)

// shownTelemetry is what `telemetry show --json` prints.
type shownTelemetry struct {
	Overlay  string
	Services []struct {
		telemetry.Status
		Error string
	}
}

// TestTelemetry changes where spans go on what runs, by command and by hand.
func TestTelemetry(t *testing.T) {
	r := start(t, t.TempDir())
	overlay := up.OverlayDir(r.data)
	file := filepath.Join(overlay, telemetry.OverlayFile)
	pids := fmt.Sprint(r.run.Services)
	show := func(t *testing.T) (shown shownTelemetry) {
		t.Helper()
		wantJSON(t, &shown, "telemetry", "show", "--data", r.data)
		if len(shown.Services) != 3 {
			t.Fatalf("got %+v", shown)
		}
		return shown
	}
	set := func(t *testing.T, code int, args ...string) result {
		t.Helper()
		return want(t, code, append([]string{"telemetry", "set", "--data", r.data}, args...)...)
	}
	t.Run("OK at the start", func(t *testing.T) {
		for _, s := range show(t).Services {
			if s.Exporter != "file" || s.Endpoint != filepath.Join(r.data, "traces", s.Service+".jsonl") || s.Sampler != 1 || s.Hash != "" {
				t.Errorf("got %+v", s)
			}
		}
	})
	t.Run("OK set keeps what was set before", func(t *testing.T) {
		set(t, 0, "--ratio", "0.25")
		table := set(t, 0, "--endpoint", "127.0.0.1:4317").stdout
		for _, s := range show(t).Services {
			if s.Exporter != "otlpgrpc" || s.Endpoint != "127.0.0.1:4317" || s.Sampler != 0.25 || !strings.Contains(table, s.Hash[:8]) {
				t.Errorf("got %+v\n%s", s, table)
			}
		}
		set(t, 0, "--endpoint", "http://127.0.0.1:4318/custom")
		for _, s := range show(t).Services {
			if s.Exporter != "otlphttp" || s.Endpoint != "127.0.0.1:4318" || s.Sampler != 0.25 {
				t.Errorf("got %+v", s)
			}
		}
	})
	t.Run("OK headers are nobody else's", func(t *testing.T) {
		secret := filepath.Join(t.TempDir(), "token.txt")
		MustWrite(t, secret, "# ours\nAuthorization: Bearer hidden-1\n")
		printed := set(t, 0, "--header-file", secret, "--header", "x-team=hidden-2")
		headers := filepath.Join(overlay, telemetry.HeadersFile)
		info, err := os.Stat(headers)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("headers.yaml: %v, %v", info, err)
		}
		content, _ := os.ReadFile(headers)
		if !strings.Contains(string(content), "Authorization: Bearer hidden-1") || !strings.Contains(string(content), "x-team: hidden-2") {
			t.Errorf("headers.yaml is\n%s", content)
		}
		table := want(t, 0, "telemetry", "show", "--data", r.data)
		if all := fmt.Sprint(printed, table); strings.Contains(all, "hidden") {
			t.Errorf("a header is shown:\n%s", all)
		}
		note := set(t, 0, "--endpoint", "127.0.0.1:4317")
		if !strings.Contains(note.stderr, "now go to 127.0.0.1:4317") {
			t.Errorf("nothing says that headers go elsewhere now:\n%s", note.stderr)
		}
		set(t, 0, "--header", "Authorization=", "--header", "x-team=")
		if _, err := os.Stat(headers); !os.IsNotExist(err) {
			t.Errorf("without headers headers.yaml is still there (%v)", err)
		}
		if text := set(t, 2, "--header", "bad name=hidden-3").stderr; strings.Contains(text, "hidden") {
			t.Errorf("a header is shown: %s", text)
		}
	})
	t.Run("OK one file for all services, and trace says where", func(t *testing.T) {
		code := r.create("elsewhere")
		spans := filepath.Join(t.TempDir(), "spans.jsonl")
		set(t, 0, "--endpoint", spans, "--ratio", "1")
		id := r.click(code)
		want(t, 0, "trace", id, "--spans", filepath.Dir(spans), "--wait", "60s")
		if text := want(t, 3, "trace", id, "--data", r.data, "--wait", "0s").stderr; !strings.Contains(text, "spans go elsewhere now (url-api sends them to file "+spans) {
			t.Errorf("trace says %s", text)
		}
		set(t, 0, "--endpoint", "", "--ratio", "0")
		id = r.click(code)
		if text := want(t, 3, "trace", id, "--data", r.data, "--wait", "0s").stderr; !strings.Contains(text, "the share of new traces that are recorded is 0") {
			t.Errorf("trace says %s", text)
		}
	})
	t.Run("Err what is wrong is not written", func(t *testing.T) {
		before, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			says string
			args []string
		}{
			{"changes nothing without a flag", nil},
			{"Telemetry.Sampler: 3 is not a number from 0", []string{"--ratio", "3"}},
			{`Telemetry.Batcher: "jaeger" is not one of`, []string{"--batcher", "jaeger", "--endpoint", "localhost:14268"}},
			{"is not host:port, an http(s) URL, or the path of a file", []string{"--endpoint", "localhost"}},
			{"OTLP takes credentials as headers", []string{"--endpoint", "https://me:pw@otlp.example.com"}},
			{"no such file", []string{"--endpoint", "localhost:4317", "--ca-file", filepath.Join(r.data, "no.pem")}},
			{"are for otlpgrpc and otlphttp", []string{"--endpoint", "http://localhost:9411/api/v2/spans", "--secure"}},
			{"has a path; with Batcher otlpgrpc", []string{"--batcher", "otlpgrpc"}},
		} {
			if text := set(t, 2, tt.args...).stderr; !strings.Contains(text, tt.says) {
				t.Errorf("%q: got %s, want %s", tt.args, text, tt.says)
			}
		}
		if after, _ := os.ReadFile(file); string(after) != string(before) {
			t.Errorf("telemetry.yaml became\n%s", after)
		}
	})
	t.Run("Err a service refuses", func(t *testing.T) {
		blocked := filepath.Join(r.data, "api_key", "spans.jsonl") // below a file
		if text := set(t, 1, "--endpoint", blocked, "--wait", "30s").stderr; !strings.Contains(text, "url-api refuses") || !strings.Contains(text, "cannot write to") {
			t.Errorf("got %s", text)
		}
	})
	t.Run("OK by hand", func(t *testing.T) {
		MustWrite(t, file, "Telemetry:\n  Sampler: 0.01\n")
		hash := telemetry.OverlayHash([]byte("Telemetry:\n  Sampler: 0.01\n"), nil)
		eventually(t, "all services follow", func() error {
			got := linktrail(t, "telemetry", "show", "--data", r.data, "--json")
			if n := strings.Count(got.stdout, hash); got.code != 0 || n != 3 {
				return fmt.Errorf("exit code %d\n%s%s", got.code, got.stdout, got.stderr)
			}
			return nil
		})
		MustWrite(t, file, "Telemetry:\n  Sampler: 7\n")
		eventually(t, "show tells of the refusal", func() error {
			got := linktrail(t, "telemetry", "show", "--data", r.data)
			if got.code != 1 || !strings.Contains(got.stdout, "refuses the overlay") || !strings.Contains(got.stderr, "Telemetry.Sampler: 7 is not") {
				return fmt.Errorf("exit code %d\n%s%s", got.code, got.stdout, got.stderr)
			}
			return nil
		})
	})
	t.Run("OK reset", func(t *testing.T) {
		want(t, 0, "telemetry", "reset", "--data", r.data)
		for _, s := range show(t).Services {
			if s.Exporter != "file" || s.Sampler != 1 || s.Hash != "" || s.Refused != nil {
				t.Errorf("got %+v", s)
			}
		}
		if now, err := up.ReadRunFile(r.data); err != nil || fmt.Sprint(now.Services) != pids {
			t.Errorf("the services are %v, and were %s (%v)", now.Services, pids, err)
		}
	})
	t.Run("OK what does not run finds it at the next start", func(t *testing.T) {
		r.stop()
		if text := want(t, 2, "telemetry", "show", "--data", r.data).stderr; !strings.Contains(text, "no linktrail runs on") {
			t.Errorf("got %s", text)
		}
		if text := set(t, 0, "--ratio", "0.5").stdout; !strings.Contains(text, "in force at the next start") {
			t.Errorf("got %s", text)
		}
		r = start(t, r.data)
		for _, s := range show(t).Services {
			if s.Sampler != 0.5 || s.Exporter != "file" {
				t.Errorf("got %+v", s)
			}
		}
	})
}

// TestTelemetryShowAway asks services that are not there.
func TestTelemetryShowAway(t *testing.T) {
	data := t.TempDir()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	_ = listener.Close()
	MustWrite(t, filepath.Join(data, "run.json"), fmt.Sprintf(`{"pid": %d, "services": [{"name": "url-api", "pid": 1, "ops": "http://%s"}]}`, os.Getpid(), addr))
	got := linktrail(t, "telemetry", "show", "--data", data)
	if got.code != 5 || !strings.Contains(got.stdout, "no answer") || !strings.Contains(got.stderr, "url-api does not answer") {
		t.Errorf("exit code %d\n%s%s", got.code, got.stdout, got.stderr)
	}
}
