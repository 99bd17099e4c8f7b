package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/linktrail/linktrail/apps/linktrail/internal/client"
	"github.com/linktrail/linktrail/apps/linktrail/internal/up"
	"github.com/linktrail/linktrail/hack/testenv"
)

// binaries is the folder that holds the command under test.
var binaries string

func TestMain(m *testing.M) {
	// A developer's own settings are none of the tests'.
	for _, name := range []string{"LINKTRAIL_SERVER", "LINKTRAIL_API_KEY", "LINKTRAIL_STORE", "LINKTRAIL_JAEGER", "LINKTRAIL_SPANS"} {
		os.Unsetenv(name)
	}
	os.Exit(testenv.WithCommands(m, &binaries, "."))
}

// command is the binary under test.
func command() string { return filepath.Join(binaries, "linktrail") }

// patience is how long a test waits for what must come. Nothing is asserted about how fast it comes.
const patience = 90 * time.Second

const browser = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

// running is a `linktrail up`.
type running struct {
	t      *testing.T
	data   string
	cmd    *exec.Cmd
	output *output
	done   chan struct{}
	run    up.RunFile
}

// output collects what a process prints. It is safe for concurrent use.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// launch starts `linktrail up` on a folder without waiting for it. Whatever is left of it ends with the test.
func launch(t *testing.T, data string, args ...string) *running {
	t.Helper()
	return launchCommand(t, data, exec.Command(command(), append([]string{"up", "--data", data}, args...)...))
}

// launchCommand starts a command that is `linktrail up` on a folder.
func launchCommand(t *testing.T, data string, cmd *exec.Cmd) *running {
	t.Helper()
	r := &running{t: t, data: data, cmd: cmd, output: &output{}, done: make(chan struct{})}
	r.cmd.Stdout, r.cmd.Stderr = r.output, r.output
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = r.cmd.Wait()
		close(r.done)
	}()
	t.Cleanup(func() {
		_ = r.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-r.done:
		case <-time.After(patience):
			_ = r.cmd.Process.Kill()
			<-r.done
		}
		for _, s := range r.run.Services {
			eventually(t, s.Name+" has ended", func() error { return endedErr(s.PID) })
		}
		if t.Failed() {
			t.Logf("linktrail up on %s printed:\n%s", data, r.output)
		}
	})
	return r
}

// start starts `linktrail up` on any ports and waits for run.json.
func start(t *testing.T, data string, args ...string) *running {
	t.Helper()
	r := launch(t, data, append([]string{"--addr", "127.0.0.1:0", "--api-addr", "127.0.0.1:0", "--no-example"}, args...)...)
	r.awaitRunFile()
	return r
}

func (r *running) awaitRunFile() {
	r.t.Helper()
	eventually(r.t, "run.json", func() error {
		select {
		case <-r.done:
			r.t.Fatalf("linktrail up ended: %v\n%s", r.cmd.ProcessState, r.output)
		default:
		}
		run, err := up.ReadRunFile(r.data)
		if err == nil && run.PID != r.cmd.Process.Pid {
			err = fmt.Errorf("it is of pid %d", run.PID)
		}
		r.run = run
		return err
	})
}

// service is a service as run.json names it.
func (r *running) service(name string) up.RunService {
	r.t.Helper()
	for _, s := range r.run.Services {
		if s.Name == name {
			return s
		}
	}
	r.t.Fatalf("run.json names no %s: %+v", name, r.run)
	return up.RunService{}
}

func (r *running) client() *client.Client {
	r.t.Helper()
	c, err := client.New(r.run.API, r.run.APIKey)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// stop stops it as Ctrl-C does, and wants it to end well.
func (r *running) stop() {
	r.t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGINT); err != nil {
		r.t.Fatal(err)
	}
	r.ended()
	if code := r.cmd.ProcessState.ExitCode(); code != 0 {
		r.t.Fatalf("exit code %d after Ctrl-C", code)
	}
}

func (r *running) ended() {
	r.t.Helper()
	select {
	case <-r.done:
	case <-time.After(patience):
		r.t.Fatalf("linktrail up still runs %v later", patience)
	}
}

// create makes a link and returns its code.
func (r *running) create(slug string) string {
	r.t.Helper()
	l, err := r.client().CreateLink(r.t.Context(), client.NewLink{URL: "https://go.dev/blog/", Slug: slug})
	if err != nil {
		r.t.Fatal(err)
	}
	return l.Code
}

// click clicks a link as a browser does and returns the trace's id.
func (r *running) click(code string) string {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, r.run.URL+"/"+code, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header.Set("User-Agent", browser)
	visitor := &http.Client{Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := visitor.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	if response.StatusCode != http.StatusFound {
		r.t.Fatalf("a click on %s was answered %s", code, response.Status)
	}
	return strings.Split(response.Header.Get("traceparent"), "-")[1]
}

// wantClicks waits for a link's statistics to count that many clicks, and no more.
func (r *running) wantClicks(code string, want int64) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%d clicks of %s", want, code), func() error {
		s, err := r.client().Stats(r.t.Context(), code, client.StatsQuery{})
		if err == nil && s.Clicks > want {
			r.t.Fatalf("%d clicks are counted, %d were made", s.Clicks, want)
		}
		if err == nil && s.Clicks < want {
			err = fmt.Errorf("%d are counted", s.Clicks)
		}
		return err
	})
}

// eventually polls until check returns nil.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(patience); ; <-ticker.C {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: after %v: %v", what, patience, err)
		}
	}
}

// endedErr is nil once a process is gone.
func endedErr(pid int) error {
	// A process that its parent has not yet waited for is gone too.
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && strings.Contains(string(stat), ") Z ") {
		return nil
	}
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return nil
	}
	return fmt.Errorf("pid %d is still there", pid)
}

func kill(t *testing.T, pid int, signal syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, signal); err != nil {
		t.Fatalf("%v for pid %d: %v", signal, pid, err)
	}
}

// result is what a command printed and how it ended.
type result struct {
	stdout, stderr string
	code           int
}

// linktrail runs a command to its end.
func linktrail(t *testing.T, args ...string) result {
	t.Helper()
	return linktrailIn(t, "", nil, args...)
}

func linktrailIn(t *testing.T, dir string, env []string, args ...string) result {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command(), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir, cmd.Env = &stdout, &stderr, dir, append(os.Environ(), env...)
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// want runs a command that must end with an exit code, and returns what it printed.
func want(t *testing.T, code int, args ...string) result {
	t.Helper()
	r := linktrail(t, args...)
	if r.code != code {
		t.Fatalf("linktrail %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), r.code, code, r.stdout, r.stderr)
	}
	if code != 0 && (strings.Count(r.stderr, "\n") != 1 || !strings.HasPrefix(r.stderr, "linktrail: ")) {
		t.Errorf("linktrail %s: the error is not one line:\n%s", strings.Join(args, " "), r.stderr)
	}
	return r
}

// wantJSON runs a command that must succeed and decodes what it printed.
func wantJSON(t *testing.T, into any, args ...string) {
	t.Helper()
	r := want(t, 0, append(args, "--output", "json")...)
	if err := json.Unmarshal([]byte(r.stdout), into); err != nil {
		t.Fatalf("linktrail %s: %v\n%s", strings.Join(args, " "), err, r.stdout)
	}
}
