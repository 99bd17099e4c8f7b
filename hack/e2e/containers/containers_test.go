// Package containers runs linktrail in containers as people with Docker alone do: hack/compose/compose.yaml, and the image
// that is a whole system. `make e2e` builds the images and names them in the variables of compose.yaml.
package containers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/linktrail/linktrail/hack/testenv"
)

// patience is how long a test waits for what must come. Nothing is asserted about how fast it comes.
const patience = 3 * time.Minute

const userAgent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

var visitor = &http.Client{
	Timeout:       10 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// image is the name of an image under test. Where none is given, as in `make test`, there is nothing to run.
func image(t *testing.T, variable string) string {
	t.Helper()
	name := os.Getenv(variable)
	if name == "" {
		t.Skipf("%s names no image: `make e2e` builds the images and runs this", variable)
	}
	return name
}

// command runs a command that must succeed and returns what it prints.
func command(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), env...), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, stdout.Bytes(), stderr.Bytes())
	}
	return strings.TrimSpace(stdout.String())
}

// freePort is a port of this machine that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	_, port, _ := strings.Cut(testenv.FreeAddr(t), ":")
	return port
}

// doors are the addresses of url-api, and a key for the API.
type doors struct {
	t         *testing.T
	door, api string
	key       string
}

// call makes an API request; it decodes what comes back into reply.
func (d doors) call(method, path string, body, reply any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(method, d.api+"/api/v1"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+d.key)
	req.Header.Set("Content-Type", "application/json")
	res, err := visitor.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, answer)
	}
	return json.Unmarshal(answer, reply)
}

// click visits a code as a browser does; it must be redirected to target. It returns the trace's id.
func (d doors) click(code, target string) (string, error) {
	req, err := http.NewRequest(http.MethodGet, d.door+"/"+code, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("User-Agent", userAgent)
	res, err := visitor.Do(req)
	if err != nil {
		return "", err
	}
	_ = res.Body.Close()
	parts := strings.Split(res.Header.Get("Traceparent"), "-")
	if res.StatusCode != http.StatusFound || res.Header.Get("Location") != target || len(parts) != 4 {
		return "", fmt.Errorf("a click on %s is answered %s, Location %q, traceparent %q", code, res.Status, res.Header.Get("Location"), parts)
	}
	return parts[1], nil
}

// wantClicks waits until the statistics of a link count so many clicks.
func (d doors) wantClicks(code string, want int64) {
	d.t.Helper()
	eventually(d.t, fmt.Sprintf("%d clicks on %s are counted", want, code), func() error {
		var stats struct{ Clicks int64 }
		if err := d.call(http.MethodGet, "/links/"+code+"/stats", nil, &stats); err != nil {
			return err
		}
		if stats.Clicks != want {
			return fmt.Errorf("%d are", stats.Clicks)
		}
		return nil
	})
}

// eventually polls until check returns nil.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %v until %s: %v", patience, what, err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
