//go:build e2e

package containers

import (
	"encoding/json"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/linktrail/linktrail/hack/e2e/doors"
	"github.com/linktrail/linktrail/internal/tracequery"
	"github.com/linktrail/linktrail/internal/tracequery/tracetest"
)

// composition is a running compose.yaml.
type composition struct {
	t    *testing.T
	name []string // the command
	env  []string
}

// compose runs docker compose, or the older docker-compose where that is what there is.
func (c composition) compose(args ...string) string {
	c.t.Helper()
	all := append(append([]string{}, c.name[1:]...), "-f", "../../compose/compose.yaml", "-p", "linktrail-e2e")
	return command(c.t, c.env, c.name[0], append(all, args...)...)
}

// TestCompose starts everything on ports of its own and follows one click through it.
func TestCompose(t *testing.T) {
	image(t, "URL_API_IMAGE")
	c := composition{t: t, name: []string{"docker", "compose"}}
	if exec.Command("docker", "compose", "version").Run() != nil {
		c.name = []string{"docker-compose"}
	}
	ports := make(map[string]string)
	for _, name := range []string{"DOOR_PORT", "API_PORT", "JAEGER_PORT", "OTLP_GRPC_PORT", "OTLP_HTTP_PORT"} {
		ports[name] = freePort(t)
		c.env = append(c.env, name+"="+ports[name])
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s", c.compose("logs", "--no-color", "--tail=50"))
		}
		c.compose("down", "--volumes", "--timeout", "60")
	})
	c.compose("up", "-d")

	d := doors.Doors{Door: "http://127.0.0.1:" + ports["DOOR_PORT"], API: "http://127.0.0.1:" + ports["API_PORT"]}
	var key struct{ Token string }
	must(t, json.Unmarshal([]byte(c.compose("run", "--rm", "-T", "linktrail", "keys", "create", "--name", "e2e", "--output", "json")), &key))
	d.Key = key.Token

	target := "https://example.com/compose?click=is#one-trace"
	link := d.MustLink(t, target)
	if want := "http://localhost:" + ports["DOOR_PORT"] + "/" + link.Code; link.ShortURL != want {
		t.Errorf("the short address is %s, want %s", link.ShortURL, want)
	}
	id, err := d.Click(link.Code, target)
	must(t, err)
	d.WantClicks(t, link.Code, 1)

	jaeger := tracequery.Jaeger("http://127.0.0.1:" + ports["JAEGER_PORT"])
	trace := doors.WaitForClick(t, jaeger, id, doors.ClickTrace(link.Code, "click-events", "kgo"))
	t.Logf("the trace of the click:\n%s", tracetest.Tree(trace))

	t.Run("OK url-api reads the trace from Jaeger", func(t *testing.T) {
		var shown tracequery.Trace
		must(t, d.Call(http.MethodGet, "/traces/"+id, nil, &shown))
		if len(shown.Spans) != len(trace.Spans) {
			t.Errorf("it shows %d spans, Jaeger has %d", len(shown.Spans), len(trace.Spans))
		}
	})
	t.Run("OK the command reaches everything", func(t *testing.T) {
		out := c.compose("run", "--rm", "-T", "linktrail", "--api-key", d.Key, "trace", "--last", link.Code)
		if !strings.Contains(out, id) || !strings.Contains(out, "INSERT clicks") {
			t.Errorf("linktrail trace prints:\n%s", out)
		}
	})
	t.Run("OK linktrail doctor by the command of docs/troubleshooting.md", func(t *testing.T) {
		out := c.compose("run", "--rm", "-T", "migrate", "doctor", "--config", "/etc/linktrail/url-api.yaml")
		for _, server := range []string{"store", "redis", "kafka", "otlp", "jaeger"} {
			if !regexp.MustCompile(`(?m)^ok +` + server).MatchString(out) {
				t.Errorf("%s is not ok:\n%s", server, out)
			}
		}
	})
	t.Run("OK the services stop by themselves", func(t *testing.T) {
		c.compose("stop", "--timeout", "60")
		for _, service := range []string{"url-api", "analytics-rpc", "analytics-consumer", "migrate"} {
			container := command(t, nil, "docker", "ps", "-aq", "--filter", "label=com.docker.compose.project=linktrail-e2e",
				"--filter", "label=com.docker.compose.oneoff=False", "--filter", "label=com.docker.compose.service="+service)
			state := command(t, nil, "docker", "inspect", "--format",
				"{{.State.ExitCode}} after {{.RestartCount}} restarts, read-only {{.HostConfig.ReadonlyRootfs}}, user {{.Config.User}}", container)
			if service != "migrate" && state != "0 after 0 restarts, read-only true, user 65532:65532" &&
				state != "0 after 0 restarts, read-only true, user 65532" || !strings.HasPrefix(state, "0 ") {
				t.Errorf("%s ended with %s", service, state)
			}
		}
	})
}
