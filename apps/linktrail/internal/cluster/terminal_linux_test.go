//go:build e2e

package cluster

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
)

// TestWatchTerminal has a terminal drawn anew at each change.
func TestWatchTerminal(t *testing.T) {
	h := MustHouse(t)
	h.Deployment("url-api", "linktrail")
	h.Telemetry("default", "linktrail")
	h.Observed("default")
	screen, terminal := mustTerminal(t)
	c := h.command("status", "--watch")
	c.Env = append(c.Env, "TERM=xterm")
	c.Stdout, c.Stderr = terminal, terminal
	must(t, c.Start())
	must(t, terminal.Close())
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	var drawn output
	go func() { _, _ = io.Copy(&drawn, screen) }() // until the command ends
	shows := func(endpoint string) {
		t.Helper()
		eventually(t, func() error {
			pages := strings.Split(drawn.String(), "\x1b[2J\x1b[H")
			last := pages[len(pages)-1]
			if len(pages) < 2 || !strings.HasPrefix(last, "TELEMETRY ") || !strings.Contains(last, endpoint) || !strings.Contains(last, "Deployment/url-api ") {
				return fmt.Errorf("it shows %q", last)
			}
			return nil
		})
	}
	shows("jaeger:4317")
	h.Change("default", func(s *v1alpha1.TelemetrySpec) { s.Exporter.Endpoint = "other:4317" })
	shows("other:4317")
	must(t, api.Delete(t.Context(), h.Get("default")))
	eventually(t, func() error {
		if text := drawn.String(); !strings.HasSuffix(strings.TrimSpace(text), "name another one with --namespace") {
			return fmt.Errorf("it shows %q", text)
		}
		return nil
	})
}

// mustTerminal returns a terminal and what its screen gets.
func mustTerminal(t *testing.T) (screen, terminal *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	must(t, err)
	t.Cleanup(func() { _ = screen.Close() })
	must(t, unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	must(t, err)
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	return screen, terminal
}
