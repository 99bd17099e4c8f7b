package testenv

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// WithCommands is for TestMain: it compiles commands into a folder of their own, each under its package's last name and
// with the race detector when the tests have it, tells dir where they are, runs the tests and returns their exit code.
func WithCommands(m *testing.M, dir *string, packages ...string) int {
	folder, err := os.MkdirTemp("", "linktrail-commands-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "a folder for commands:", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(folder) }()
	args := []string{"build", "-buildvcs=false", "-tags=no_k8s", "-o", folder + string(filepath.Separator)}
	if race {
		args = append(args, "-race")
		// Each process would sleep for a second before it exits.
		if err := os.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0")); err != nil {
			fmt.Fprintln(os.Stderr, "GORACE:", err)
			return 1
		}
	}
	build := exec.Command("go", append(args, packages...)...)
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintf(os.Stderr, "building %s: %v\n", strings.Join(packages, ", "), err)
		return 1
	}
	*dir = folder
	return m.Run()
}
