package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/linktrail/linktrail/apps/linktrail/internal/client"
	"github.com/linktrail/linktrail/apps/linktrail/internal/traces"
	"github.com/linktrail/linktrail/apps/linktrail/internal/watch"
	"github.com/linktrail/linktrail/internal/tracequery"
)

const (
	// mostLast is the most that --last may be.
	mostLast = 1000
	// leastInterval keeps a slip of the finger from being a flood.
	leastInterval = 100 * time.Millisecond
	// awaitedTraces is how many traces are waited for at once, queuedTraces how many more may wait for their turn.
	awaitedTraces = 4
	queuedTraces  = 256
)

// watchFlags say what to watch, and how it is shown.
type watchFlags struct {
	last, count       int
	interval          time.Duration
	wide, trace, json bool
	traces            traceFlags
}

func (a *app) watchCommand() *cobra.Command {
	var f watchFlags
	c := &cobra.Command{
		Use:   "watch [CODE]",
		Short: "Show clicks as they come, each with its trace",
		Long: `Show the clicks on a link as they come, or without CODE those on all links, beginning with the latest few. A click is shown
once it is counted, about a second after it was made; each is shown once, also one that becomes known after later ones.

While the API is away, watch says so and goes on when it is back. Ctrl-C ends it, with exit code 0.`,
		Example: `  linktrail watch go-blog
  linktrail watch --last 0 --trace
  linktrail watch go-blog --last 0 --count 1 --json
  linktrail watch --json | jq --unbuffered -r .referrer`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("`linktrail watch` takes one CODE, or none for all links; see `linktrail watch --help`")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if err := a.checkWatch(c, &f); err != nil {
				return err
			}
			code := ""
			if len(args) == 1 {
				code = args[0]
				if code == "" {
					return usagef("CODE is empty: leave it out to watch all links")
				}
			}
			return a.watch(c.Context(), code, f)
		},
	}
	flags := c.Flags()
	flags.IntVar(&f.last, "last", 10, "begin with this many of the latest clicks; 0 shows new ones only")
	flags.IntVar(&f.count, "count", 0, "end after this many clicks, those of --last included; 0 does not end")
	flags.DurationVar(&f.interval, "interval", time.Second, "how often to look")
	flags.BoolVar(&f.wide, "wide", false, "show all of the referrer, and where the trace can be seen")
	flags.BoolVar(&f.json, "json", false, "one JSON object a line; the same as --output json")
	flags.BoolVar(&f.trace, "trace", false, "draw the spans of each click below it, as \"linktrail trace\" does")
	flags.StringVar(&f.traces.jaeger, "jaeger", "", "URL of Jaeger's query service, for --trace [LINKTRAIL_JAEGER]")
	flags.StringVar(&f.traces.spans, "spans", "", "folder with files of spans, for --trace [LINKTRAIL_SPANS]")
	flags.DurationVar(&f.traces.wait, "wait", 10*time.Second, "how long to wait for a trace to be whole")
	return c
}

func (a *app) checkWatch(c *cobra.Command, f *watchFlags) error {
	if f.json {
		a.output = "json"
	}
	switch {
	case a.output == "yaml":
		return usagef("--output yaml: clicks are shown as a table or as JSON, one object a line")
	case f.last < 0 || f.last > mostLast:
		return usagef("--last %d is not 0 to %d", f.last, mostLast)
	case f.count < 0:
		return usagef("--count %d is negative; 0 does not end", f.count)
	case f.interval < leastInterval:
		return usagef("--interval %v is less than %v", f.interval, leastInterval)
	case f.trace && a.output == "json":
		return usagef("--trace draws trees for people; for JSON, give a click's trace_id to `linktrail trace -o json`")
	}
	return exclusive(c, "jaeger", "spans")
}

// watching is one run of `linktrail watch`.
type watching struct {
	app  *app
	code string
	f    watchFlags

	mu    sync.Mutex // held while something is printed
	shown int
	trees *trees // nil without --trace
}

// watch shows clicks until ctx ends, enough were shown, or nobody reads.
func (a *app) watch(ctx context.Context, code string, f watchFlags) (err error) {
	w := &watching{app: a, code: code, f: f}
	if f.trace {
		source, err := a.traceSource(f.traces)
		if err != nil {
			return err
		}
		w.trees = startTrees(ctx, w, source)
		defer w.trees.wait()
	}
	// A reader such as head may end before us: writing tells, and is no fault.
	signal.Ignore(syscall.SIGPIPE)
	switch err := w.run(ctx); {
	case ctx.Err() != nil, errors.Is(err, errEnough), errors.Is(err, syscall.EPIPE):
		return nil
	default:
		return err
	}
}

// errEnough ends a watch that has shown --count clicks, or that nobody looks at any more.
var errEnough = errors.New("enough")

func (w *watching) run(ctx context.Context) error {
	api, err := w.app.client()
	if err != nil {
		return err
	}
	follower := watch.New(func(ctx context.Context, cursor string) (client.ClickPage, error) {
		return api.Clicks(ctx, w.code, cursor)
	})
	latest, err := follower.Start(ctx, w.f.last)
	if err != nil {
		return err
	}
	if err := w.begin(); err != nil {
		return err
	}
	if err := w.show(latest); err != nil {
		return err
	}
	ticker := time.NewTicker(w.f.interval)
	defer ticker.Stop()
	gone := false
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		if readerGone(w.app.out) {
			return errEnough
		}
		found, skipped, err := follower.Next(ctx)
		switch {
		case err != nil && passes(err):
			if !gone {
				w.say("%s; trying again every %v", w.app.explain(err), w.f.interval)
			}
			gone = true
			// A `linktrail up` that was started again may be at another address.
			if again, err := w.app.client(); err == nil {
				api = again
			}
			continue
		case err != nil:
			return err
		}
		if gone {
			w.say("%s answers again", api.Server())
			gone = false
		}
		if skipped {
			w.say("more than %d clicks came meanwhile: the older ones are left out", watch.Most)
		}
		if err := w.show(found); err != nil {
			return err
		}
	}
}

// passes says whether an error may be gone at the next attempt.
func passes(err error) bool {
	if _, ok := errors.AsType[*client.Unreachable](err); ok {
		return true
	}
	status := client.StatusOf(err)
	return status >= http.StatusInternalServerError || status == http.StatusTooManyRequests
}

func (w *watching) say(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, _ = fmt.Fprintln(w.app.err, "linktrail:", fmt.Sprintf(format, args...))
}

// show prints clicks, the oldest first. The error is errEnough once --count were shown.
func (w *watching) show(clicks []client.Click) error {
	for _, c := range clicks {
		if c.Code == "" {
			c.Code = w.code
		}
		if err := w.line(c); err != nil {
			return err
		}
		if w.trees != nil && c.Sampled {
			w.trees.add(c.TraceID)
		}
		if w.shown++; w.shown == w.f.count {
			return errEnough
		}
	}
	return nil
}

func (w *watching) line(c client.Click) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.app.output == "json" {
		encoder := json.NewEncoder(w.app.out)
		encoder.SetEscapeHTML(false)
		return encoder.Encode(c)
	}
	_, err := fmt.Fprintln(w.app.out, clickLine(c, w.f.wide, isTerminal(w.app.out)))
	return err
}

// columns are those of a click; the widths fit most values, and a longer one moves its line.
const columns = "%-19s  %-12s  %-2s  %-22s  %-7s  %-3s  %-24s  %s"

// begin prints the heading.
func (w *watching) begin() error {
	if w.app.output == "json" {
		return nil
	}
	_, err := fmt.Fprintf(w.app.out, columns+"\n", "TIME", "CODE", "CC", "BROWSER", "DEVICE", "BOT", "REFERRER", "TRACE")
	return err
}

func clickLine(c client.Click, wide, terminal bool) string {
	when := c.Time
	if t, err := time.Parse(time.RFC3339, c.Time); err == nil {
		when = t.Local().Format(time.DateTime)
	}
	browser := c.Browser
	if c.OS != "" && c.OS != "unknown" {
		browser += " on " + c.OS
	}
	bot := ""
	if c.Bot {
		bot = "bot"
	}
	referrer, trace := c.Referrer, c.TraceID
	switch {
	case !c.Sampled:
		trace += " (not sampled)"
	case c.TraceURL == nil:
	case wide:
		trace = printable(*c.TraceURL)
	case terminal:
		trace = linked(trace, *c.TraceURL)
	}
	if !wide {
		browser, referrer = cut(browser, 22), cut(referrer, 24)
	}
	return fmt.Sprintf(columns, when, printable(c.Code), printable(orDash(c.Country)), printable(browser), printable(c.Device), bot,
		printable(orDash(referrer)), trace)
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// linked is a text that a terminal opens a URL for when it is clicked (OSC 8); one that cannot shows the text.
func linked(text, url string) string {
	return "\x1b]8;;" + printable(url) + "\x1b\\" + text + "\x1b]8;;\x1b\\"
}

// isTerminal says whether people see what is written, on something that knows more than letters.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// trees draws traces once they are whole.
type trees struct {
	ids     chan string
	workers sync.WaitGroup
	w       *watching
	full    sync.Once
}

func startTrees(ctx context.Context, w *watching, source tracequery.Reader) *trees {
	t := &trees{ids: make(chan string, queuedTraces), w: w}
	for range awaitedTraces {
		t.workers.Go(func() {
			for id := range t.ids {
				t.draw(ctx, source, id)
			}
		})
	}
	return t
}

// add has a trace drawn, unless too many wait.
func (t *trees) add(id string) {
	select {
	case t.ids <- id:
	default:
		t.full.Do(func() { t.w.say("clicks come faster than their traces: some traces are left out") })
	}
}

// wait returns once all that were added are drawn.
func (t *trees) wait() {
	close(t.ids)
	t.workers.Wait()
}

func (t *trees) draw(ctx context.Context, source tracequery.Reader, id string) {
	trace, err := traces.Await(ctx, source, id, t.w.f.traces.wait)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		t.w.say("%s", t.w.app.explain(err))
		return
	}
	var b strings.Builder
	if err := tracequery.WriteTree(&b, trace, treeStyle(t.w.app.out)...); err != nil {
		return
	}
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	for line := range strings.SplitSeq(strings.TrimRight(b.String(), "\n"), "\n") {
		if _, err := fmt.Fprintln(t.w.app.out, "  "+line); err != nil {
			return // the next click tells
		}
	}
}
