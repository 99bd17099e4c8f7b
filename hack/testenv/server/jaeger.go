package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/linktrail/linktrail/hack/testenv"
)

const (
	jaegerModule  = "github.com/jaegertracing/jaeger"
	jaegerVersion = "v1.76.0"
)

func jaeger() definition {
	return definition{
		name:      "jaeger",
		variables: []string{testenv.EnvJaegerQuery, testenv.EnvJaegerOTLPGRPC, testenv.EnvJaegerOTLPHTTP},
		image:     "jaegertracing/all-in-one:1.76.0",
		missing:   func() string { return missingCommand("go") },
		prepare:   buildJaeger,
		start:     startJaeger,
	}
}

func jaegerBinary(cache string) string {
	return filepath.Join(cache, "jaeger-"+jaegerVersion, "all-in-one")
}

func startJaeger(ctx context.Context, l *launch) (map[string]string, error) {
	ports, err := freePorts(7)
	if err != nil {
		return nil, err
	}
	otlpGRPC, otlpHTTP, query := loopback(ports[0]), loopback(ports[1]), loopback(ports[2])
	stop := syscall.SIGTERM
	var cmd *exec.Cmd
	if l.container {
		cmd = docker(l.image, []string{otlpGRPC + ":4317", otlpHTTP + ":4318", query + ":16686"}, nil, "--memory.max-traces=200000")
	} else {
		stop = syscall.SIGKILL // it would wait for idle connections, and keeps nothing
		cmd = exec.Command(jaegerBinary(l.cache),
			"--memory.max-traces=200000", "--log-level=warn",
			"--collector.otlp.grpc.host-port="+otlpGRPC,
			"--collector.otlp.http.host-port="+otlpHTTP,
			"--query.http-server.host-port="+query,
			"--query.grpc-server.host-port="+loopback(ports[3]),
			"--collector.grpc-server.host-port="+loopback(ports[4]),
			"--collector.http-server.host-port="+loopback(ports[5]),
			"--admin.http.host-port="+loopback(ports[6]),
		)
		cmd.Args[0] = filepath.Join(l.dir, "all-in-one") // by this a sweep knows whose it is
		cmd.Env = []string{"SPAN_STORAGE_TYPE=memory", "HOME=" + l.dir, "PATH=" + os.Getenv("PATH")}
	}
	err = l.serve(ctx, cmd, stop, func(ctx context.Context) error {
		return errors.Join(
			answers(ctx, http.MethodGet, "http://"+query+"/api/services", http.StatusOK),
			answers(ctx, http.MethodPost, "http://"+otlpHTTP+"/v1/traces", http.StatusOK),
			connects(ctx, otlpGRPC))
	})
	return map[string]string{
		testenv.EnvJaegerQuery:    "http://" + query,
		testenv.EnvJaegerOTLPGRPC: otlpGRPC,
		testenv.EnvJaegerOTLPHTTP: otlpHTTP,
	}, err
}

// answers sends an empty JSON object and expects the status.
func answers(ctx context.Context, method, url string, status int) error {
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader("{}"))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, response.Body)
	if response.StatusCode != status {
		return fmt.Errorf("%s %s: %s", method, url, response.Status)
	}
	return nil
}

func connects(ctx context.Context, address string) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// buildJaeger compiles the all-in-one command. Its go.mod has replacements, which `go install` refuses: it is built
// from a main module of ours which requires it and takes over its replacements and checksums.
func buildJaeger(ctx context.Context, s *setup) error {
	return s.once(jaegerBinary(s.cache), "building Jaeger "+jaegerVersion+" (some minutes, once)", func(dir string) error {
		var module struct{ Dir string }
		if err := s.goJSON(ctx, dir, &module, "mod", "download", "-json", jaegerModule+"@"+jaegerVersion); err != nil {
			return err
		}
		gomod, err := jaegerMain(ctx, s, module.Dir)
		if err != nil {
			return err
		}
		sums, err := os.ReadFile(filepath.Join(module.Dir, "go.sum"))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(gomod), 0o644); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o644); err != nil {
			return err
		}
		_, err = s.goRun(ctx, dir, "build", "-mod=mod", "-trimpath", "-ldflags=-s -w", "-o", "all-in-one", jaegerModule+"/cmd/all-in-one")
		return err
	})
}

// jaegerMain returns the go.mod of that main module.
func jaegerMain(ctx context.Context, s *setup, source string) (string, error) {
	type version struct{ Path, Version string }
	var theirs struct {
		Go      string
		Replace []struct{ Old, New version }
	}
	if err := s.goJSON(ctx, source, &theirs, "mod", "edit", "-json", filepath.Join(source, "go.mod")); err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "module jaeger\n\ngo %s\n\nrequire %s %s\n\n", theirs.Go, jaegerModule, jaegerVersion)
	for _, r := range theirs.Replace {
		if r.New.Version != "" { // a folder is not part of a published module
			fmt.Fprintf(&b, "replace %s %s => %s %s\n", r.Old.Path, r.Old.Version, r.New.Path, r.New.Version)
		}
	}
	return b.String(), nil
}

// goRun runs the go command with settings of its own, not those of the caller's build.
func (s *setup) goRun(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false", "GOWORK=off", "CGO_ENABLED=0", "GOOS=", "GOARCH=")
	return s.output(cmd)
}

func (s *setup) goJSON(ctx context.Context, dir string, into any, args ...string) error {
	text, err := s.goRun(ctx, dir, args...)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}
