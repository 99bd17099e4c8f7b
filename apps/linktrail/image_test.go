package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/linktrail/linktrail/apps/linktrail/internal/up"
)

// TestImage calls the command as the container image does: without arguments, where a file says what `up` listens on.
func TestImage(t *testing.T) {
	folder, home := t.TempDir(), t.TempDir()
	settings := "addr: 0.0.0.0:0\napi-addr: 0.0.0.0:0\nno-example: true\n"
	if err := os.WriteFile(filepath.Join(folder, "up.yaml"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args   []string
		inside bool // the front door is for the container alone
	}{
		"OK without arguments": {nil, false},
		"OK a flag wins":       {[]string{"up", "--addr", "127.0.0.1:0"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(command(), c.args...)
			cmd.Dir, cmd.Env = home, append(os.Environ(), "KO_DATA_PATH="+folder)
			r := launchCommand(t, filepath.Join(home, "data"), cmd)
			r.awaitRunFile()
			code := r.create("")
			r.click(code)
			r.wantClicks(code, 1)

			var settings struct {
				Host string
				Door struct{ Addr string }
			}
			etc, err := os.ReadFile(filepath.Join(r.data, "etc", up.URLAPI+".yaml"))
			if err == nil {
				err = yaml.Unmarshal(etc, &settings)
			}
			if err != nil {
				t.Fatal(err)
			}
			door, _, err := net.SplitHostPort(settings.Door.Addr)
			if err != nil || net.ParseIP(door).IsUnspecified() == c.inside || !net.ParseIP(settings.Host).IsUnspecified() {
				t.Errorf("the front door listens on %q, for the container alone: want %t; the API on %q (%v)",
					settings.Door.Addr, c.inside, settings.Host, err)
			}
			r.stop()
		})
	}
}
