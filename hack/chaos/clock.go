//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// clockAfter is how long after its start a process built by buildClock has its clock go back by clockBack.
const (
	clockAfter = 25 * time.Second
	clockBack  = time.Hour
)

// buildClock compiles the services with a time.Now whose wall clock goes back by an hour while the process runs. The machine's
// own clock is everybody's, and libfaketime does not reach Go, which asks the kernel without libc. The compiler gets another
// time.go for this build alone; it is Go's own with one line more. As when a real clock is set, the monotonic one goes on.
func buildClock(ctx context.Context, dir string) error {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return err
	}
	original := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	text, err := os.ReadFile(original)
	if err != nil {
		return err
	}
	const line = "\tmono -= startNano\n"
	head, tail, ok := strings.Cut(string(text), "func Now() Time {")
	begin, end, there := strings.Cut(tail, line)
	if !ok || !there {
		return fmt.Errorf("%s is another than this was made for: Now has no line %q", original, strings.TrimSpace(line))
	}
	changed := head + "func Now() Time {" + begin + line +
		fmt.Sprintf("\tif mono > %d {\n\t\tsec -= %d\n\t}\n", clockAfter.Nanoseconds(), int64(clockBack.Seconds())) + end
	other := filepath.Join(dir, "time.go.txt")
	if err := os.WriteFile(other, []byte(changed), 0o600); err != nil {
		return err
	}
	overlay := filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]any{"Replace": map[string]string{original: other}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(overlay, list, 0o600); err != nil {
		return err
	}
	return build(ctx, dir, "-overlay", overlay)
}

// turnClock waits until the clocks have gone back, and a while longer.
func turnClock(ctx context.Context, t *trial) error {
	back := func() bool {
		var n int
		err := t.query(ctx, func(conn *pgx.Conn) error {
			return conn.QueryRow(ctx, "SELECT count(*) FROM clicks WHERE time < now() - interval '30 minutes'").Scan(&n)
		})
		return err == nil && n > 0
	}
	if err := until(ctx, 2*clockAfter, "clicks have the time of an hour ago", back); err != nil {
		return err
	}
	return sleep(ctx, t.options.slow)
}
