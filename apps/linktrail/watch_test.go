package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/linktrail/linktrail/apps/linktrail/internal/client"
	"github.com/linktrail/linktrail/apps/linktrail/internal/up"
)

// watcher is a `linktrail watch`.
type watcher struct {
	t              *testing.T
	cmd            *exec.Cmd
	stdout, stderr *output
	done           chan struct{}
}

func startWatch(t *testing.T, args ...string) *watcher {
	t.Helper()
	w := &watcher{t: t, stdout: &output{}, stderr: &output{}, done: make(chan struct{})}
	w.cmd = exec.Command(command(), append([]string{"watch"}, args...)...)
	w.cmd.Stdout, w.cmd.Stderr = w.stdout, w.stderr
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = w.cmd.Wait()
		close(w.done)
	}()
	t.Cleanup(func() {
		_ = w.cmd.Process.Kill()
		<-w.done
		if t.Failed() {
			t.Logf("linktrail watch %s printed:\n%s%s", strings.Join(args, " "), w.stdout, w.stderr)
		}
	})
	return w
}

// wantEnd waits for it to end with an exit code.
func (w *watcher) wantEnd(code int) {
	w.t.Helper()
	select {
	case <-w.done:
	case <-time.After(patience):
		w.t.Fatalf("it still runs %v later", patience)
	}
	if got := w.cmd.ProcessState.ExitCode(); got != code {
		w.t.Errorf("exit code %d, want %d", got, code)
	}
}

// wantOnce waits until each of these traces was shown, and wants none twice.
func (w *watcher) wantOnce(ids ...string) {
	w.t.Helper()
	eventually(w.t, "clicks shown", func() error {
		text := w.stdout.String()
		for _, id := range ids {
			switch n := strings.Count(text, id); {
			case n == 0:
				return fmt.Errorf("trace %s is not shown", id)
			case n > 1:
				w.t.Fatalf("trace %s is shown %d times", id, n)
			}
		}
		return nil
	})
}

func TestWatch(t *testing.T) {
	r := start(t, t.TempDir())
	data := []string{"--data", r.data, "--interval", "100ms"}
	watch := func(args ...string) *watcher { return startWatch(t, append(args, data...)...) }
	mine, other := r.create("mine"), r.create("other")
	first := r.click(mine)
	r.wantClicks(mine, 1)

	t.Run("OK one link, all links, as JSON", func(t *testing.T) {
		one, all, asJSON := watch(mine), watch(), watch(mine, "--last", "0", "--count", "2", "--json")
		one.wantOnce(first)
		all.wantOnce(first)
		second, theirs, third := r.click(mine), r.click(other), r.click(mine)
		one.wantOnce(first, second, third)
		all.wantOnce(first, second, theirs, third)
		if strings.Contains(one.stdout.String(), theirs) {
			t.Error("a click on another link is shown")
		}
		for _, piece := range []string{"TIME", "mine", "Firefox on Linux", "desktop"} {
			if !strings.Contains(one.stdout.String(), piece) {
				t.Errorf("it does not show %q", piece)
			}
		}
		asJSON.wantEnd(0)
		var shown []string
		lines := bufio.NewScanner(strings.NewReader(asJSON.stdout.String()))
		for lines.Scan() {
			var c client.Click
			if err := json.Unmarshal(lines.Bytes(), &c); err != nil || c.Code != mine || c.Browser != "Firefox" {
				t.Errorf("%s: %v", lines.Text(), err)
			}
			shown = append(shown, c.TraceID)
		}
		if strings.Join(shown, " ") != second+" "+third {
			t.Errorf("shown are %q, want %q and %q, and not the first", shown, second, third)
		}
		for _, w := range []*watcher{one, all} {
			if err := w.cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			w.wantEnd(0)
			if text := w.stderr.String(); text != "" {
				t.Errorf("it says %s", text)
			}
		}
	})
	t.Run("OK traces are drawn", func(t *testing.T) {
		w := watch(mine, "--last", "0", "--count", "1", "--trace", "--wait", "60s")
		eventually(t, "the heading", func() error {
			if !strings.Contains(w.stdout.String(), "TIME") {
				return fmt.Errorf("it printed %s", w.stdout)
			}
			return nil
		})
		id := r.click(mine)
		w.wantEnd(0)
		for _, piece := range []string{id, "GET /{code}", "send click-events", "process click-events", "INSERT clicks"} {
			if !strings.Contains(w.stdout.String(), piece) {
				t.Errorf("it does not show %q", piece)
			}
		}
	})
	t.Run("OK nobody reads", func(t *testing.T) {
		w := &watcher{t: t, stdout: &output{}, stderr: &output{}, done: make(chan struct{})}
		w.cmd = exec.Command(command(), append([]string{"watch", mine}, data...)...)
		w.cmd.Stderr = w.stderr
		reader, err := w.cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := w.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(reader, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		if err := reader.Close(); err != nil {
			t.Fatal(err)
		}
		r.click(mine) // where nothing else tells, writing does
		go func() {
			_ = w.cmd.Wait()
			close(w.done)
		}()
		w.wantEnd(0)
		if text := w.stderr.String(); text != "" {
			t.Errorf("it says %s", text)
		}
	})
	t.Run("OK statistics that are away for a while", func(t *testing.T) {
		w := watch(mine, "--last", "0")
		eventually(t, "the heading", func() error {
			if !strings.Contains(w.stdout.String(), "TIME") {
				return fmt.Errorf("it printed %s", w.stdout)
			}
			return nil
		})
		kill(t, r.service(up.AnalyticsRPC).PID, syscall.SIGSTOP)
		eventually(t, "a word about it", func() error {
			if !strings.Contains(w.stderr.String(), "trying again") {
				return fmt.Errorf("it says %q", w.stderr)
			}
			return nil
		})
		during := r.click(mine)
		kill(t, r.service(up.AnalyticsRPC).PID, syscall.SIGCONT)
		w.wantOnce(during)
		if text := w.stderr.String(); strings.Count(text, "trying again") != 1 || strings.Count(text, "answers again") != 1 {
			t.Errorf("it says %s", text)
		}
	})
	for name, c := range map[string]struct {
		code  int
		tells string
		args  []string
	}{
		"ErrNotFound": {3, `"nothing-there"`, []string{"watch", "nothing-there"}},
		"ErrKey":      {4, "--api-key", []string{"watch", "--api-key", "lt_wrong"}},
		"ErrAway":     {5, "does not answer", []string{"watch", "--server", "http://127.0.0.1:1"}},
		"ErrTwo":      {2, "one CODE", []string{"watch", "one", "two"}},
		"ErrLast":     {2, "--last", []string{"watch", "--last", "1001"}},
		"ErrCount":    {2, "--count", []string{"watch", "--count", "-1"}},
		"ErrYAML":     {2, "one object a line", []string{"watch", "-o", "yaml"}},
		"ErrBoth":     {2, "linktrail trace", []string{"watch", "--json", "--trace"}},
		"ErrInterval": {2, "--interval", []string{"watch", "--interval", "1ms"}},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"--data", r.data}, c.args...)
			if text := want(t, c.code, args...).stderr; !strings.Contains(text, c.tells) {
				t.Errorf("it does not tell %q: %s", c.tells, text)
			}
		})
	}
}
