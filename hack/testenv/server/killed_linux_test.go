package server

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestServersDieWithAKilledOwner runs this test binary again as the owner of a session, and kills it.
func TestServersDieWithAKilledOwner(t *testing.T) {
	const role = "LINKTRAIL_TESTENV_OWNER"
	if dir := os.Getenv(role); dir != "" {
		MustStart(t, Options{Only: []string{"redis"}, TempDir: dir, Announce: true})
		os.Stderr.WriteString("up\n")
		select {}
	}

	dir := t.TempDir()
	owner := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=2m")
	owner.Env = append(os.Environ(), role+"="+dir)
	stderr, err := owner.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stderr).ReadString('\n'); err != nil || line != "up\n" {
		t.Fatalf("the owner said %q, %v", line, err)
	}
	variables, err := Env(Options{TempDir: dir})
	if err != nil || len(variables) != 1 {
		t.Fatalf("Env: %v, %v", variables, err)
	}
	_, address, _ := strings.Cut(variables[0], "=")
	if err := ping(t.Context(), address); err != nil {
		t.Fatal(err)
	}

	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait()
	if !eventually(10*time.Second, func() bool { return ping(t.Context(), address) != nil }) {
		t.Error("redis outlives its owner")
	}
	if _, err := Env(Options{TempDir: dir}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Env after the kill: %v, want ErrNotRunning", err)
	}
	if err := Down(Options{TempDir: dir}); err != nil {
		t.Error(err)
	}
	if left := sessionDirs(dir); len(left) > 0 {
		t.Errorf("Down leaves %v", left)
	}
}
