package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/linktrail/linktrail/apps/linktrail/internal/up"
	"github.com/linktrail/linktrail/internal/telemetry"
)

func (a *app) telemetryCommand() *cobra.Command {
	c := group("telemetry", "Say where spans go, and how many, while everything runs", `  linktrail telemetry show
  linktrail telemetry set --ratio 0.1 --endpoint localhost:4317
  linktrail telemetry reset
  linktrail telemetry status --namespace linktrail
  linktrail telemetry boost url-api --ratio 1 --for 10m --watch`,
		a.telemetryShowCommand(), a.telemetrySetCommand(), a.telemetryResetCommand(), a.telemetryStatusCommand(), a.telemetryBoostCommand())
	c.Long = `Say where services send their spans, and which share of new traces they record, without a restart.

show, set and reset are for the services of "linktrail up". What is set lies in DATA/telemetry, in telemetry.yaml and, for
headers, headers.yaml. The services follow these files: scripts and people may write them too. The format is in
docs/tracing.md.

status and boost are for a cluster with the telemetry controller (docs/telemetry.md), which they find as kubectl does.`
	return c
}

// shownService is a service with what is in force there.
type shownService struct {
	telemetry.Status
	// Error says why it did not answer; then there is nothing else.
	Error string `json:"error,omitempty"`
}

// shownTelemetry is what show prints.
type shownTelemetry struct {
	Overlay  string         `json:"overlay"`
	Services []shownService `json:"services"`
}

func (a *app) telemetryShowCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show",
		Short: "Show where the services send their spans",
		Long: `Show what is in force in each service of "linktrail up": exporter, endpoint, the share of new traces that are recorded,
which overlay that comes from, since when, and why the one that lies there is refused.

The exit code is 1 when a service refuses the overlay, and 5 when one does not answer.`,
		Example: `  linktrail telemetry show
  linktrail telemetry show --json
  linktrail telemetry show --data /var/lib/linktrail`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if asJSON {
				a.output = "json"
			}
			run, err := a.runningOn()
			if err != nil {
				return err
			}
			shown, err := a.statuses(c.Context(), run)
			return errors.Join(a.printStatuses(shown), err)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "the same as --output json")
	return c
}

// runningOn is what runs on --data.
func (a *app) runningOn() (up.RunFile, error) {
	run, err := up.ReadRunFile(a.data)
	if errors.Is(err, up.ErrNotRunning) {
		return run, usagef("no linktrail runs on %s: start it with `linktrail up`, or name another folder with --data", a.data)
	}
	return run, err
}

// statuses asks every service. The error names those that do not answer or refuse the overlay.
func (a *app) statuses(ctx context.Context, run up.RunFile) (shownTelemetry, error) {
	shown := shownTelemetry{Overlay: up.OverlayDir(a.data)}
	var away, refusing error
	for _, service := range run.Services {
		status, err := statusOf(ctx, service)
		if err != nil {
			shown.Services = append(shown.Services, shownService{Status: telemetry.Status{Service: service.Name}, Error: err.Error()})
			if away == nil {
				away = err
			}
			continue
		}
		shown.Services = append(shown.Services, shownService{Status: status})
		if status.Refused != nil && refusing == nil {
			refusing = refusalError(status)
		}
	}
	if away != nil {
		return shown, away
	}
	return shown, refusing
}

func refusalError(status telemetry.Status) error {
	return fmt.Errorf("%s refuses what lies there and keeps what it had: %s", status.Service, status.Refused.Reason)
}

// statusOf asks one service.
func statusOf(ctx context.Context, service up.RunService) (telemetry.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var status telemetry.Status
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, service.Ops+"/telemetry", nil)
	if err != nil {
		return status, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return status, &silentService{service: service.Name, err: err}
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return status, &silentService{service: service.Name, err: err}
	}
	if response.StatusCode != http.StatusOK {
		return status, &silentService{service: service.Name, err: fmt.Errorf("%s answers %s", service.Ops, response.Status)}
	}
	if err := json.Unmarshal(content, &status); err != nil {
		return status, &silentService{service: service.Name, err: err}
	}
	return status, nil
}

// silentService says that a service does not answer on its ops listener.
type silentService struct {
	service string
	err     error
}

func (e *silentService) Error() string {
	return fmt.Sprintf("%s does not answer: %v", e.service, e.err)
}

func (e *silentService) Unwrap() error { return e.err }

func (a *app) printStatuses(shown shownTelemetry) error {
	return a.print(shown, func(w io.Writer) error {
		lines := [][]string{{"SERVICE", "EXPORTER", "ENDPOINT", "RATIO", "OVERLAY", "SINCE", "STATE"}}
		for _, s := range shown.Services {
			if s.Error != "" {
				lines = append(lines, []string{s.Service, "-", "-", "-", "-", "-", "no answer"})
				continue
			}
			lines = append(lines, []string{s.Service, s.Exporter, dashed(shortPath(s.Endpoint, s.Exporter)), strconv.FormatFloat(s.Sampler, 'g', -1, 64),
				dashed(s.Hash[:min(8, len(s.Hash))]), s.Since.Local().Format(time.DateTime), state(s.Status)})
		}
		return rows(w, lines)
	})
}

func state(s telemetry.Status) string {
	switch {
	case s.Refused != nil:
		return "refuses the overlay"
	case s.Disabled:
		return "disabled"
	}
	return "in force"
}

func dashed(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// shortPath shows a file as people would type it from here.
func shortPath(path, exporter string) string {
	if exporter != telemetry.BatcherFile {
		return path
	}
	here, err := filepath.Abs(".")
	if err != nil {
		return path
	}
	if relative, err := filepath.Rel(here, path); err == nil && filepath.IsLocal(relative) {
		return relative
	}
	return path
}

// whereSpansGo says why a trace may not be where it was looked for: that spans go elsewhere, and that fewer traces are
// recorded. Both are "" when an overlay has changed neither, and when that cannot be told.
func (a *app) whereSpansGo(ctx context.Context) (elsewhere, fewer string) {
	run, err := up.ReadRunFile(a.data)
	if err != nil {
		return "", ""
	}
	own, err := up.TelemetryBlocks(a.data)
	if err != nil {
		return "", ""
	}
	shown, _ := a.statuses(ctx, run)
	var places []string
	for _, s := range shown.Services {
		switch {
		case s.Error != "":
			continue
		case s.Disabled:
			places = append(places, s.Service+" sends none")
		case s.Exporter != own[s.Service].Batcher || s.Endpoint != own[s.Service].Endpoint:
			places = append(places, fmt.Sprintf("%s sends them to %s %s", s.Service, s.Exporter, s.Endpoint))
		}
		if s.Service == up.URLAPI && s.Sampler < 1 {
			fewer = fmt.Sprintf("the share of new traces that are recorded is %g; see `linktrail telemetry show`", s.Sampler)
		}
	}
	if len(places) > 0 {
		elsewhere = fmt.Sprintf("spans go elsewhere now (%s): name where they can be read with --jaeger URL or --spans DIR, or go back with `linktrail telemetry reset`",
			strings.Join(places, ", "))
	}
	return elsewhere, fewer
}
