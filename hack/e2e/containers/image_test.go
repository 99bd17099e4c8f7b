//go:build e2e

package containers

import (
	"fmt"
	"strings"
	"testing"

	"github.com/linktrail/linktrail/hack/e2e/doors"
)

// TestImage runs the image that is a whole system, as `docker run` does with nothing said.
func TestImage(t *testing.T) {
	name := image(t, "LINKTRAIL_IMAGE")
	volume := command(t, nil, "docker", "volume", "create")
	t.Cleanup(func() { command(t, nil, "docker", "volume", "rm", volume) })
	start := func(t *testing.T) (doors.Doors, string) {
		t.Helper()
		door, api := freePort(t), freePort(t)
		d := doors.Doors{Door: "http://127.0.0.1:" + door, API: "http://127.0.0.1:" + api}
		container := command(t, nil, "docker", "run", "-d", "-p", "127.0.0.1:"+door+":8080", "-p", "127.0.0.1:"+api+":8081",
			"-v", volume+":/home/nonroot", "--cap-drop", "ALL", name)
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("%s", command(t, nil, "docker", "logs", container))
			}
			command(t, nil, "docker", "rm", "-fv", container)
		})
		doors.Eventually(t, "it has said what to do next", func() error {
			log := command(t, nil, "docker", "logs", container)
			_, after, said := strings.Cut(log, "/#key=")
			if !said || !strings.Contains(after, "Ctrl-C stops it") {
				return fmt.Errorf("it says:\n%s", log)
			}
			d.Key = strings.Fields(after)[0]
			return nil
		})
		return d, container
	}
	stop := func(t *testing.T, container string) {
		t.Helper()
		command(t, nil, "docker", "stop", "--time", "60", container)
		if code := command(t, nil, "docker", "inspect", "--format", "{{.State.ExitCode}}", container); code != "0" {
			t.Errorf("it ended with %s", code)
		}
	}

	target := "https://example.com/image"
	var code string
	t.Run("OK", func(t *testing.T) {
		d, container := start(t)
		code = d.MustLink(t, target).Code
		_, err := d.Click(code, target)
		must(t, err)
		d.WantClicks(t, code, 1)
		if out := command(t, nil, "docker", "exec", container, "linktrail", "trace", "--last", code); !strings.Contains(out, "INSERT clicks") {
			t.Errorf("linktrail in the container shows:\n%s", out)
		}
		stop(t, container)
	})
	t.Run("OK a volume keeps everything", func(t *testing.T) {
		d, container := start(t)
		_, err := d.Click(code, target)
		must(t, err)
		d.WantClicks(t, code, 2)
		stop(t, container)
	})
	t.Run("OK any command", func(t *testing.T) {
		if out := command(t, nil, "docker", "run", "--rm", "--read-only", name, "version"); !strings.HasPrefix(out, "linktrail ") {
			t.Errorf("version prints %s", out)
		}
	})
}
