package containers

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestImage runs the image that is a whole system, as `docker run` does with nothing said.
func TestImage(t *testing.T) {
	name := image(t, "LINKTRAIL_IMAGE")
	volume := command(t, nil, "docker", "volume", "create")
	t.Cleanup(func() { command(t, nil, "docker", "volume", "rm", volume) })
	start := func(t *testing.T) (doors, string) {
		t.Helper()
		d := doors{t: t}
		door, api := freePort(t), freePort(t)
		d.door, d.api = "http://127.0.0.1:"+door, "http://127.0.0.1:"+api
		container := command(t, nil, "docker", "run", "-d", "-p", "127.0.0.1:"+door+":8080", "-p", "127.0.0.1:"+api+":8081",
			"-v", volume+":/home/nonroot", "--cap-drop", "ALL", name)
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("%s", command(t, nil, "docker", "logs", container))
			}
			command(t, nil, "docker", "rm", "-fv", container)
		})
		eventually(t, "it has said what to do next", func() error {
			log := command(t, nil, "docker", "logs", container)
			_, after, said := strings.Cut(log, "/#key=")
			if !said || !strings.Contains(after, "Ctrl-C stops it") {
				return fmt.Errorf("it says:\n%s", log)
			}
			d.key = strings.Fields(after)[0]
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
	var link struct{ Code string }
	t.Run("OK", func(t *testing.T) {
		d, container := start(t)
		must(t, d.call(http.MethodPost, "/links", map[string]any{"url": target}, &link))
		_, err := d.click(link.Code, target)
		must(t, err)
		d.wantClicks(link.Code, 1)
		if out := command(t, nil, "docker", "exec", container, "linktrail", "trace", "--last", link.Code); !strings.Contains(out, "INSERT clicks") {
			t.Errorf("linktrail in the container shows:\n%s", out)
		}
		stop(t, container)
	})
	t.Run("OK a volume keeps everything", func(t *testing.T) {
		d, container := start(t)
		_, err := d.click(link.Code, target)
		must(t, err)
		d.wantClicks(link.Code, 2)
		stop(t, container)
	})
	t.Run("OK any command", func(t *testing.T) {
		if out := command(t, nil, "docker", "run", "--rm", "--read-only", name, "version"); !strings.HasPrefix(out, "linktrail ") {
			t.Errorf("version prints %s", out)
		}
	})
}
