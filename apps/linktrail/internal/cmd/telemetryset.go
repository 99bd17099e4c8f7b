package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/linktrail/linktrail/apps/linktrail/internal/up"
	"github.com/linktrail/linktrail/internal/telemetry"
)

func (a *app) telemetrySetCommand() *cobra.Command {
	var (
		f    telemetryFlags
		wait time.Duration
	)
	c := &cobra.Command{
		Use:   "set",
		Short: "Change where spans go, or how many are recorded",
		Long: `Change where the services send their spans, or which share of new traces they record, and wait until all have it in force.
What is not named stays as it was set before; an empty value takes a setting back. Without "linktrail up" it is written, and
in force at the next start.

--endpoint alone tells how: host:port is OTLP over gRPC (over HTTP with port 4318), an http or https URL is OTLP over HTTP
(Zipkin with port 9411), a path is a file. A file may be the same for all services.

Headers often hold credentials: --header-file takes them from a file, or with - from standard input, a line "NAME: VALUE"
each, so that neither the shell's history nor other users of this machine see them.`,
		Example: `  linktrail telemetry set --ratio 0.1
  linktrail telemetry set --endpoint localhost:4317
  linktrail telemetry set --endpoint https://otlp.example.com/v1/traces --header-file token.txt
  linktrail telemetry set --batcher otlpgrpc --endpoint collector:4317 --secure --ca-file ca.pem
  linktrail telemetry set --disabled`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if !f.any() {
				return usagef("`linktrail telemetry set` changes nothing without a flag; see `linktrail telemetry set --help`")
			}
			return a.changeOverlay(c.Context(), wait, func(files overlayFiles) (overlayFiles, error) {
				after, err := f.apply(files, c.InOrStdin())
				if err == nil && f.changed("endpoint") && len(files.headers) > 0 && string(files.headers) == string(after.headers) {
					_, _ = fmt.Fprintf(a.err, "the headers of %s, set before, now go to %s; take one back with --header NAME=\n",
						filepath.Join(up.OverlayDir(a.data), telemetry.HeadersFile), f.endpoint)
				}
				return after, err
			})
		},
	}
	f.register(c)
	c.Flags().DurationVar(&wait, "wait", 10*time.Second, "how long to wait until all services have it in force")
	return c
}

func (a *app) telemetryResetCommand() *cobra.Command {
	var wait time.Duration
	c := &cobra.Command{
		Use:   "reset",
		Short: "Take back everything that was set, headers too",
		Long: `Remove telemetry.yaml and headers.yaml of DATA/telemetry, and wait until all services are back to what "linktrail up" was
started with.`,
		Example: "  linktrail telemetry reset",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.changeOverlay(c.Context(), wait, func(files overlayFiles) (overlayFiles, error) {
				files.telemetry, files.headers = nil, nil
				return files, nil
			})
		},
	}
	c.Flags().DurationVar(&wait, "wait", 10*time.Second, "how long to wait until all services have it in force")
	return c
}

// overlayFiles is an overlay folder on top of the services' own blocks.
type overlayFiles struct {
	dir                string
	telemetry, headers []byte // empty: no such file
	own                map[string]telemetry.Config
}

// changeOverlay writes what change makes of the overlay, unless it is wrong, and waits until the services follow.
func (a *app) changeOverlay(ctx context.Context, wait time.Duration, change func(overlayFiles) (overlayFiles, error)) error {
	data, err := filepath.Abs(a.data)
	if err != nil {
		return err
	}
	before := overlayFiles{dir: up.OverlayDir(data)}
	if before.own, err = up.TelemetryBlocks(data); err != nil {
		return err
	}
	for name, to := range map[string]*[]byte{telemetry.OverlayFile: &before.telemetry, telemetry.HeadersFile: &before.headers} {
		if *to, err = readIfThere(filepath.Join(before.dir, name)); err != nil {
			return err
		}
	}
	after, err := change(before)
	if err != nil {
		return err
	}
	for _, service := range up.Services() {
		if _, err := after.own[service].Overlaid(after.dir, after.telemetry, after.headers); err != nil {
			return usagef("nothing is changed: %w", err)
		}
	}
	if err := after.write(before); err != nil {
		return err
	}
	run, err := up.ReadRunFile(a.data)
	if errors.Is(err, up.ErrNotRunning) {
		return a.print(map[string]any{"overlay": after.dir, "hash": after.hash(), "running": false}, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "written to %s; in force at the next start of `linktrail up`\n", up.OverlayDir(a.data))
			return err
		})
	}
	if err != nil {
		return err
	}
	if err := a.awaitOverlay(ctx, run, after, wait); err != nil {
		return err
	}
	shown, err := a.statuses(ctx, run)
	return errors.Join(a.printStatuses(shown), err)
}

func readIfThere(path string) ([]byte, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return content, err
}

func (o overlayFiles) hash() string { return telemetry.OverlayHash(o.telemetry, o.headers) }

// write puts the files that differ in place, each whole. Headers come first: they are for the endpoint that follows.
func (o overlayFiles) write(before overlayFiles) error {
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return err
	}
	for _, file := range []struct {
		name          string
		before, after []byte
	}{{telemetry.HeadersFile, before.headers, o.headers}, {telemetry.OverlayFile, before.telemetry, o.telemetry}} {
		path := filepath.Join(o.dir, file.name)
		var err error
		switch {
		case string(file.before) == string(file.after) && len(file.after) > 0:
			continue
		case len(file.after) == 0:
			if err = os.Remove(path); errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
		default:
			err = writeWhole(path, file.after)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// writeWhole replaces a file, for its owner alone.
func writeWhole(path string, content []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// awaitOverlay returns once every service has the overlay in force. The first that refuses it, or does not come to it in
// time, is the error.
func (a *app) awaitOverlay(ctx context.Context, run up.RunFile, want overlayFiles, wait time.Duration) error {
	began := time.Now()
	for _, service := range run.Services {
		for {
			status, err := statusOf(ctx, service)
			if err == nil {
				err = inForce(status, want)
			}
			if err == nil {
				_, _ = fmt.Fprintf(a.err, "%s has it in force after %.1f s\n", service.Name, time.Since(began).Seconds())
				break
			}
			if final := (finalError{}); errors.As(err, &final) {
				return final.error
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if time.Since(began) > wait {
				return fmt.Errorf("after %v: %w", wait, err)
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	return nil
}

// finalError is one that waiting does not mend.
type finalError struct{ error }

func inForce(status telemetry.Status, want overlayFiles) error {
	switch hash := want.hash(); {
	case status.Overlay != want.dir:
		return finalError{fmt.Errorf("%s follows %q and not %s: its configuration says so", status.Service, status.Overlay, want.dir)}
	case status.Refused != nil && status.Refused.Hash == hash:
		return finalError{refusalError(status)}
	case status.Hash != hash || status.Refused != nil:
		return fmt.Errorf("%s does not have it in force", status.Service)
	}
	return nil
}
