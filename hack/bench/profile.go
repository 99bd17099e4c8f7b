//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// profile has a service write a CPU profile for as long as a measurement takes, if that is wanted. The function that it
// returns waits for its end.
func (v *subject) profile(ctx context.Context, o options, what string) (wait func() error) {
	if v.service == nil || o.profiles == "" {
		return func() error { return nil }
	}
	done := make(chan error, 1)
	go func() {
		name := strings.NewReplacer(" ", "-", ",", "", "%", "percent").Replace(v.name+" "+what) + ".pprof"
		done <- download(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", v.service.ops, max(1, int(o.seconds))), filepath.Join(o.profiles, name))
	}()
	return func() error { return <-done }
}

func download(ctx context.Context, url, file string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, res.Status)
	}
	return os.WriteFile(file, body, 0o600)
}
