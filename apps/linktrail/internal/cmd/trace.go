package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/linktrail/linktrail/apps/linktrail/internal/traces"
	"github.com/linktrail/linktrail/apps/linktrail/internal/up"
	"github.com/linktrail/linktrail/internal/tracequery"
)

// traceFlags say which trace, and where it is read.
type traceFlags struct {
	last   string
	jaeger string
	spans  string
	wait   time.Duration
}

func (a *app) traceCommand() *cobra.Command {
	var f traceFlags
	c := &cobra.Command{
		Use:   "trace TRACE_ID | --last CODE",
		Short: "Print a trace as a tree",
		Long: `Print the spans of a trace as a tree, with service, name, kind, duration and attributes: of a trace id, or of the
latest click on a link.

Traces are read from Jaeger (--jaeger, LINKTRAIL_JAEGER) or from files of spans (--spans, LINKTRAIL_SPANS); without either,
from where the "linktrail up" of --data sends them.`,
		Example: `  linktrail trace --last go-blog
  linktrail trace 4bf92f3577b34da6a3ce929d0e0e4736 --jaeger http://localhost:16686
  linktrail trace --last go-blog --output json`,
		Args: func(c *cobra.Command, args []string) error {
			if (len(args) == 1) == (f.last != "") || len(args) > 1 {
				return usagef("`linktrail trace` takes either a TRACE_ID or --last CODE; see `linktrail trace --help`")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if err := exclusive(c, "jaeger", "spans"); err != nil {
				return err
			}
			source, err := a.traceSource(f)
			if err != nil {
				return err
			}
			var id string
			if len(args) == 1 {
				id, err = tracequery.ParseTraceID(args[0])
			} else {
				id, err = a.latestTrace(c.Context(), f)
			}
			if err != nil {
				return err
			}
			trace, err := traces.Await(c.Context(), source, id, f.wait)
			if hint := a.missingSpans(c.Context(), f, trace, err); hint != "" {
				if err != nil {
					return fmt.Errorf("%w; %s", err, hint)
				}
				_, _ = fmt.Fprintln(a.err, "spans may be missing:", hint)
			}
			if err != nil {
				return err
			}
			return a.print(trace, func(w io.Writer) error { return tracequery.WriteTree(w, trace, treeStyle(w)...) })
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.last, "last", "", "the trace of the latest click on this CODE")
	flags.StringVar(&f.jaeger, "jaeger", "", "URL of Jaeger's query service, such as http://localhost:16686 [LINKTRAIL_JAEGER]")
	flags.StringVar(&f.spans, "spans", "", "folder with files of spans [LINKTRAIL_SPANS]")
	flags.DurationVar(&f.wait, "wait", 5*time.Second, "how long to wait for the trace to be whole: spans are sent in batches")
	return c
}

// missingSpans says why a trace that was read where "linktrail up" sends spans is not there or not whole, as far as the
// telemetry overlay is the reason.
func (a *app) missingSpans(ctx context.Context, f traceFlags, trace tracequery.Trace, err error) string {
	named := f.jaeger + f.spans + env("LINKTRAIL_JAEGER") + env("LINKTRAIL_SPANS")
	if named != "" || err != nil && !errors.Is(err, tracequery.ErrNotFound) || err == nil && traces.Whole(trace) {
		return ""
	}
	elsewhere, fewer := a.whereSpansGo(ctx)
	if elsewhere == "" && err != nil {
		return fewer
	}
	return elsewhere
}

// traceSource is where traces are read: flags, environment, what runs on --data, what ran there.
func (a *app) traceSource(f traceFlags) (tracequery.Reader, error) {
	for _, given := range []struct{ name, value string }{
		{"--jaeger", f.jaeger}, {"--spans", f.spans}, {"LINKTRAIL_JAEGER", env("LINKTRAIL_JAEGER")}, {"LINKTRAIL_SPANS", env("LINKTRAIL_SPANS")},
	} {
		if given.value == "" {
			continue
		}
		source, err := tracequery.Open(given.value)
		if err != nil {
			return nil, usagef("%s: %w", given.name, err)
		}
		return source, nil
	}
	run, err := up.ReadRunFile(a.data)
	if err != nil && !errors.Is(err, up.ErrNotRunning) {
		return nil, err
	}
	if err == nil {
		switch {
		case run.Jaeger != "":
			return tracequery.Open(run.Jaeger)
		case run.Traces != "":
			return tracequery.Files(run.Traces), nil
		}
		return nil, usagef("where traces are read is not known: name Jaeger's query service with --jaeger URL or LINKTRAIL_JAEGER, or start `linktrail up` with --jaeger")
	}
	if dir := filepath.Join(a.data, "traces"); isFolder(dir) {
		return tracequery.Files(dir), nil
	}
	return nil, usagef("where traces are read is not known: name Jaeger's query service with --jaeger URL or LINKTRAIL_JAEGER, or a folder of span files with --spans DIR or LINKTRAIL_SPANS")
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// latestTrace is the trace id of the latest click on a link. A click that was made this moment is waited for.
func (a *app) latestTrace(ctx context.Context, f traceFlags) (string, error) {
	api, err := a.client()
	if err != nil {
		return "", err
	}
	for deadline := time.Now().Add(f.wait); ; {
		latest, err := api.LatestClicks(ctx, f.last, 1)
		if err != nil {
			return "", err
		}
		if len(latest) > 0 {
			return latest[0].TraceID, nil
		}
		if !time.Now().Before(deadline) {
			return "", fmt.Errorf("%w: nobody has clicked %s yet", tracequery.ErrNotFound, f.last)
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// treeStyle uses colours on a terminal, unless NO_COLOR is set (no-color.org).
func treeStyle(w io.Writer) []tracequery.TreeOption {
	file, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return nil
	}
	if info, err := file.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	return []tracequery.TreeOption{tracequery.WithColor()}
}
