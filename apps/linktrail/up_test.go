package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/linktrail/linktrail/apps/linktrail/internal/up"
	"github.com/linktrail/linktrail/internal/tracequery"
)

// TestUp is what a newcomer sees: a start with an example, a stop, a start that finds the data.
func TestUp(t *testing.T) {
	data := filepath.Join(t.TempDir(), "a new $HOME", "data")
	r := launch(t, data, "--addr", "127.0.0.1:0", "--api-addr", "127.0.0.1:0")
	r.awaitRunFile()

	t.Run("OK run.json tells what runs", func(t *testing.T) {
		var names []string
		for _, s := range r.run.Services {
			names = append(names, s.Name)
			if err := endedErr(s.PID); err == nil || s.PID == r.run.PID {
				t.Errorf("%s is not a process of its own: pid %d", s.Name, s.PID)
			}
			response, err := http.Get(s.Ops + "/readyz")
			if err != nil {
				t.Errorf("%s: %v", s.Name, err)
				continue
			}
			_ = response.Body.Close()
			if response.StatusCode != http.StatusOK {
				t.Errorf("%s is not ready: %s", s.Name, response.Status)
			}
		}
		slices.Sort(names)
		if diff := cmp.Diff([]string{"analytics-consumer", "analytics-rpc", "url-api"}, names); diff != "" {
			t.Errorf("services (-want +got):\n%s", diff)
		}
	})
	t.Run("OK what else the machine does has no request refused", func(t *testing.T) {
		for _, name := range []string{"url-api", "analytics-rpc"} {
			content, err := os.ReadFile(filepath.Join(data, "etc", name+".yaml"))
			if err != nil || !strings.Contains(string(content), "\nCpuThreshold: 0\n") {
				t.Errorf("go-zero's shedding by the machine's load is on in %s: %v\n%s", name, err, content)
			}
		}
	})
	t.Run("OK secrets are the owner's alone", func(t *testing.T) {
		key, err := os.ReadFile(filepath.Join(data, "api_key"))
		if err != nil || strings.TrimSpace(string(key)) != r.run.APIKey {
			t.Errorf("api_key holds %q (%v), run.json %q", key, err, r.run.APIKey)
		}
		for _, name := range []string{"run.json", "api_key", "linktrail.db", "etc/url-api.yaml", "log/url-api.log"} {
			info, err := os.Stat(filepath.Join(data, name))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: mode %v, error %v", name, info.Mode(), err)
			}
		}
	})
	t.Run("OK the start ends with an example", func(t *testing.T) {
		eventually(t, "the start's last line", func() error {
			if !strings.Contains(r.output.String(), "Ctrl-C stops it") {
				return fmt.Errorf("it printed:\n%s", r.output)
			}
			return nil
		})
		text := r.output.String()
		for _, piece := range []string{
			r.run.URL + "/hello", "GET /{code}", "send click-events", "process click-events", "INSERT clicks", "link→parent",
			"front door  " + r.run.URL, "API         " + r.run.API, filepath.Join(data, "api_key"),
			"links create", "stats hello", "trace --last hello",
		} {
			if !strings.Contains(text, piece) {
				t.Errorf("it does not tell %q:\n%s", piece, text)
			}
		}
		console := r.run.API + "/#key=" + r.run.APIKey
		if !strings.Contains(text, console) {
			t.Errorf("it does not tell the console's address:\n%s", text)
		}
		if strings.Contains(strings.Replace(text, console, "", 1), r.run.APIKey) {
			t.Error("it shows the key beside the console's address")
		}
		response, err := http.Get(console)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/html; charset=utf-8" {
			t.Errorf("the console answers %s, %s", response.Status, response.Header.Get("Content-Type"))
		}
	})

	code := r.create("")
	r.click(code)
	r.click(code)
	r.wantClicks(code, 2)
	r.stop()
	t.Run("OK Ctrl-C stops it cleanly", func(t *testing.T) {
		if text := r.output.String(); !strings.Contains(text, "stopped cleanly") {
			t.Errorf("it does not say so:\n%s", text)
		}
		if _, err := os.Stat(filepath.Join(data, "run.json")); !os.IsNotExist(err) {
			t.Errorf("run.json: %v", err)
		}
		for _, s := range r.run.Services {
			if err := endedErr(s.PID); err != nil {
				t.Errorf("%s: %v", s.Name, err)
			}
		}
		if text := want(t, 2, "links", "list", "--data", data).stderr; !strings.Contains(text, "linktrail up") {
			t.Errorf("a command does not say how to start it: %s", text)
		}
	})
	t.Run("OK the next start finds the data", func(t *testing.T) {
		again := start(t, data)
		if again.run.APIKey != r.run.APIKey {
			t.Error("the key is another one")
		}
		again.click(code)
		again.wantClicks(code, 3)
	})
}

// TestUpTrace reads a click's trace from the local files.
func TestUpTrace(t *testing.T) {
	r := start(t, t.TempDir())
	code := r.create("tale")
	id := r.click(code)
	var trace tracequery.Trace
	wantJSON(t, &trace, "trace", "--last", code, "--data", r.data, "--wait", "60s")
	if trace.TraceID != id {
		t.Fatalf("it is trace %s, want %s", trace.TraceID, id)
	}
	spans := map[string]tracequery.Span{}
	for _, span := range trace.Spans {
		spans[span.Service+" "+span.Name+" "+span.Kind] = span
	}
	parent := ""
	for _, name := range []string{"url-api GET /{code} SERVER", "url-api send click-events PRODUCER",
		"analytics-consumer process click-events CONSUMER", "analytics-consumer INSERT clicks CLIENT"} {
		span, ok := spans[name]
		if !ok || span.ParentID != parent {
			t.Fatalf("%s: parent %q, want %q; the trace is %+v", name, span.ParentID, parent, trace)
		}
		parent = span.SpanID
	}
}

func TestUpPorts(t *testing.T) {
	t.Run("OK usual ports that are taken are replaced", func(t *testing.T) {
		first, second := launch(t, t.TempDir(), "--no-example"), launch(t, t.TempDir(), "--no-example")
		first.awaitRunFile()
		second.awaitRunFile()
		addresses := map[string]bool{}
		for _, r := range []*running{first, second} {
			addresses[r.run.URL], addresses[r.run.API] = true, true
			for _, s := range r.run.Services {
				addresses[s.Ops] = true
			}
			r.click(r.create(""))
		}
		if len(addresses) != 10 {
			t.Errorf("there are %d addresses, want 10: %v", len(addresses), addresses)
		}
	})
	t.Run("ErrTaken", func(t *testing.T) {
		r := start(t, t.TempDir())
		taken := strings.TrimPrefix(r.run.URL, "http://")
		if text := want(t, 2, "up", "--data", t.TempDir(), "--addr", taken).stderr; !strings.Contains(text, taken+" is taken") {
			t.Errorf("it says %s", text)
		}
	})
}

// TestUpStaleRunFile starts while services of a killed run still end: the killed run's run.json is gone at once.
func TestUpStaleRunFile(t *testing.T) {
	data := t.TempDir()
	file := filepath.Join(data, "run.json")
	MustWrite(t, file, `{"url": "http://127.0.0.1:1", "api": "http://127.0.0.1:1", "pid": 0, "services": []}`)
	orphan, err := os.Create(filepath.Join(data, "services.lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer orphan.Close()
	if err := syscall.Flock(int(orphan.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	r := launch(t, data, "--addr", "127.0.0.1:0", "--api-addr", "127.0.0.1:0", "--no-example")
	eventually(t, "run.json is gone", func() error {
		if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
			return errors.New("it is still there")
		}
		return nil
	})
	if err := orphan.Close(); err != nil {
		t.Fatal(err)
	}
	r.awaitRunFile()
	r.stop()
}

// TestUpTwice starts a second one on the same folder.
func TestUpTwice(t *testing.T) {
	r := start(t, t.TempDir())
	text := want(t, 1, "up", "--data", r.data).stderr
	if !strings.Contains(text, fmt.Sprintf("pid %d", r.run.PID)) || !strings.Contains(text, "--data") {
		t.Errorf("it does not name the other and the way out: %s", text)
	}
	r.click(r.create("")) // the first has not noticed
}

// TestUpWrong is a service that cannot start: the reason is told, and nothing is left behind.
func TestUpWrong(t *testing.T) {
	data := t.TempDir()
	file := filepath.Join(t.TempDir(), "up.yaml")
	MustWrite(t, file, "services:\n  url-api:\n    publicurl: nonsense\n")
	r := launch(t, data, "--config", file, "--addr", "127.0.0.1:0", "--api-addr", "127.0.0.1:0")
	r.ended()
	if code := r.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if text := r.output.String(); !strings.Contains(text, "url-api") || !strings.Contains(text, `PublicURL: "nonsense"`) {
		t.Errorf("the reason is not told:\n%s", text)
	}
	if _, err := os.Stat(filepath.Join(data, "run.json")); !os.IsNotExist(err) {
		t.Errorf("run.json: %v", err)
	}
	start(t, data) // the folder can be used
}

// TestUpHasty is a second Ctrl-C while a service does not end.
func TestUpHasty(t *testing.T) {
	r := start(t, t.TempDir())
	stuck := r.service(up.URLAPI).PID
	kill(t, stuck, syscall.SIGSTOP)
	kill(t, r.run.PID, syscall.SIGINT)
	eventually(t, "the stop", func() error {
		if !strings.Contains(r.output.String(), "stopping") {
			return fmt.Errorf("it printed %s", r.output)
		}
		return nil
	})
	kill(t, r.run.PID, syscall.SIGINT)
	r.ended()
	if code := r.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	for _, s := range r.run.Services {
		if err := endedErr(s.PID); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
	}
}

// TestUpRevoked revokes the local key: the next start makes another.
func TestUpRevoked(t *testing.T) {
	data := t.TempDir()
	r := start(t, data)
	id := strings.Split(r.run.APIKey, "_")[1]
	want(t, 0, "keys", "revoke", id, "--data", data)
	want(t, 4, "links", "list", "--data", data)
	r.stop()
	again := start(t, data)
	if again.run.APIKey == r.run.APIKey {
		t.Error("the revoked key is used again")
	}
	want(t, 0, "links", "list", "--data", data)
}

// TestUpFreshStore keeps the key when the store is new: scripts may have it.
func TestUpFreshStore(t *testing.T) {
	data := t.TempDir()
	r := start(t, data)
	r.stop()
	files, err := filepath.Glob(filepath.Join(data, "linktrail.db*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no database: %v", err)
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	again := start(t, data)
	if again.run.APIKey != r.run.APIKey {
		t.Error("the key is another one")
	}
	again.create("fresh")
}

func MustWrite(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), fs.FileMode(0o600)); err != nil {
		t.Fatal(err)
	}
}
