// Package cmd is the command line of linktrail, one file a command. Data goes to stdout, everything else to stderr; what
// went wrong is one line that says what, and what to type.
package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/zeromicro/go-zero/core/logx"

	"github.com/linktrail/linktrail/apps/linktrail/internal/client"
	"github.com/linktrail/linktrail/apps/linktrail/internal/cluster"
	"github.com/linktrail/linktrail/apps/linktrail/internal/up"
	"github.com/linktrail/linktrail/internal/buildinfo"
	"github.com/linktrail/linktrail/internal/clickstream/journal"
	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/outage"
	"github.com/linktrail/linktrail/internal/tracequery"
)

// Exit codes.
const (
	ExitOK           = 0
	ExitError        = 1
	ExitUsage        = 2
	ExitNotFound     = 3
	ExitUnauthorized = 4
	ExitUnavailable  = 5
	ExitConflict     = 6
	ExitNotDelivered = 7
	ExitDiffers      = 8
	ExitInterrupted  = 130
)

const exitCodes = `Exit codes:
  0  done
  1  something went wrong
  2  what was typed, or a setting, is wrong or missing
  3  there is no such link, key, trace, dead letter, Telemetry or workload
  4  the API key is missing, wrong, or lacks the scope; a cluster does not let you
  5  a server cannot be reached, or asks to come again later
  6  the slug is taken, an override without an end is in the way, or a process has the journal open
  7  a Telemetry object is not delivered to all pods
  8  statistics, clicks and Kafka do not agree
  130  interrupted`

// usageError is what a person can mend by typing something else.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// app is what the commands share.
type app struct {
	out, err io.Writer
	output   string // table, json or yaml
	data     string
	server   string
	apiKey   string
}

// Main runs a command line and returns the exit code.
func Main(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 && inImage() != "" {
		args = []string{"up"}
	}
	a := &app{out: stdout, err: stderr}
	root := a.root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	ctx := context.Background()
	called := commandName(root, args)
	if called != "service" {
		// go-zero logs to stdout from everywhere; the services alone want that.
		logx.Disable()
	}
	if called != "service" && called != "up" { // these stop in an order of their own
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
		defer stop()
	}
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	code := exitCode(err)
	if code == ExitInterrupted {
		_, _ = fmt.Fprintln(stderr, "linktrail: interrupted")
		return code
	}
	_, _ = fmt.Fprintln(stderr, "linktrail:", a.explain(err))
	return code
}

func commandName(root *cobra.Command, args []string) string {
	found, _, err := root.Find(args)
	if err != nil {
		return ""
	}
	return found.Name()
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "linktrail",
		Short: "Short links whose every click is one trace",
		Long: `linktrail shortens links, counts their clicks, and shows the trace of every click.

Commands that ask a server take its address and key from --server and --api-key, else from LINKTRAIL_SERVER and
LINKTRAIL_API_KEY, else from the run.json of --data, which "linktrail up" writes there while it runs.

` + exitCodes,
		Example: `  linktrail up
  linktrail links create https://go.dev/blog/ --slug go-blog
  linktrail stats go-blog
  linktrail trace --last go-blog`,
		Version:           buildinfo.Read().Version,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		Args:              noArgs,
		RunE:              func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	flags := root.PersistentFlags()
	flags.StringVarP(&a.output, "output", "o", "table", "how to print data: table, json or yaml")
	flags.StringVar(&a.data, "data", "./data", "the folder that \"linktrail up\" keeps everything in")
	flags.StringVar(&a.server, "server", "", "address of the API, such as http://127.0.0.1:8081 [LINKTRAIL_SERVER]")
	flags.StringVar(&a.apiKey, "api-key", "", "API key, lt_…; other users of this machine can see it here, not in [LINKTRAIL_API_KEY]")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usagef("%w; see `%s --help`", err, c.CommandPath())
	})
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return a.checkOutput() }
	completes(root, "output", "table", "json", "yaml")
	root.AddCommand(a.upCommand(), a.serviceCommand(), a.linksCommand(), a.statsCommand(), a.traceCommand(),
		a.telemetryCommand(),
		a.clicksCommand(),
		a.watchCommand(), a.doctorCommand(),
		a.dlqCommand(),
		a.journalCommand(),
		a.migrateCommand(), a.keysCommand(), a.versionCommand())
	argumentsAreNoFiles(root)
	return root
}

// completes has a shell offer the values of a flag.
func completes(c *cobra.Command, flag string, values ...string) {
	_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// argumentsAreNoFiles keeps shells from offering the folder's files as codes, ids or URLs.
func argumentsAreNoFiles(c *cobra.Command) {
	if c.ValidArgsFunction == nil {
		c.ValidArgsFunction = cobra.NoFileCompletions
	}
	for _, sub := range c.Commands() {
		argumentsAreNoFiles(sub)
	}
}

// noArgs and its like refuse arguments in words of our own, as usage errors.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if c.HasSubCommands() {
		return usagef("unknown command %q for `%s`%s; see `%s --help`", args[0], c.CommandPath(), suggestion(c, args[0]), c.CommandPath())
	}
	return usagef("`%s` takes no arguments, got %q; see `%[1]s --help`", c.CommandPath(), args[0])
}

func suggestion(c *cobra.Command, typed string) string {
	for c.SuggestionsMinimumDistance = 1; c.SuggestionsMinimumDistance <= 2; c.SuggestionsMinimumDistance++ {
		if near := c.SuggestionsFor(typed); len(near) > 0 {
			return fmt.Sprintf(" (did you mean %s?)", near[0])
		}
	}
	return ""
}

// oneArg and someArgs say what is missing by its name.
func oneArg(name string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usagef("`%s` takes one %s, got %d arguments; see `%[1]s --help`", c.CommandPath(), name, len(args))
		}
		return nil
	}
}

func someArgs(name string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usagef("`%s` takes one or more %s; see `%[1]s --help`", c.CommandPath(), name)
		}
		return nil
	}
}

// exclusive refuses flags that contradict each other.
func exclusive(c *cobra.Command, names ...string) error {
	var given []string
	for _, name := range names {
		if c.Flags().Changed(name) {
			given = append(given, "--"+name)
		}
	}
	if len(given) > 1 {
		return usagef("%s contradict each other: give one", strings.Join(given, " and "))
	}
	return nil
}

// group is a command that only has others.
func group(use, short, example string, subs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Example: example, Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(subs...)
	return c
}

func exitCode(err error) int {
	var usage usageError
	var option *up.OptionError
	var away *client.Unreachable
	var silent *silentService
	var undelivered errNotDelivered
	var missing notFoundError
	var unsent *unreached
	if failed, ok := errors.AsType[*cluster.Error](err); ok {
		return map[cluster.Kind]int{cluster.Usage: ExitUsage, cluster.NotFound: ExitNotFound, cluster.Refused: ExitUnauthorized,
			cluster.Away: ExitUnavailable, cluster.Taken: ExitConflict, cluster.Stuck: ExitNotDelivered}[failed.Kind]
	}
	if _, ok := errors.AsType[errDiffers](err); ok {
		return ExitDiffers
	}
	switch {
	case errors.Is(err, context.Canceled):
		return ExitInterrupted
	case errors.Is(err, journal.ErrOpen):
		return ExitConflict
	case errors.As(err, &undelivered):
		return ExitNotDelivered
	case errors.As(err, &usage), errors.As(err, &option), errors.Is(err, tracequery.ErrTraceID):
		return ExitUsage
	case errors.Is(err, tracequery.ErrNotFound), errors.As(err, &missing):
		return ExitNotFound
	case errors.As(err, &away), errors.As(err, &silent), errors.As(err, &unsent):
		return ExitUnavailable
	}
	switch status := client.StatusOf(err); {
	case status == http.StatusBadRequest, status == http.StatusRequestEntityTooLarge:
		return ExitUsage
	case status == http.StatusNotFound:
		return ExitNotFound
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return ExitUnauthorized
	case status == http.StatusConflict:
		return ExitConflict
	case status == http.StatusServiceUnavailable, status == http.StatusBadGateway, status == http.StatusGatewayTimeout, status == http.StatusTooManyRequests:
		return ExitUnavailable
	case status != 0:
		return ExitError
	}
	if _, ok := errors.AsType[*link.Error](err); ok {
		return map[link.Kind]int{link.KindInvalid: ExitUsage, link.KindNotFound: ExitNotFound,
			link.KindConflict: ExitConflict, link.KindUnavailable: ExitUnavailable}[link.KindOf(err)]
	}
	if outage.Of(err) {
		return ExitUnavailable
	}
	return ExitError
}

// explain is an error on one line, with what to type where that helps. A service's log may follow on lines of its own.
func (a *app) explain(err error) string {
	text := oneLine(err)
	if away, ok := errors.AsType[*client.Unreachable](err); ok {
		return fmt.Sprintf("%v; start linktrail with `linktrail up`, or name another server with --server", away)
	}
	switch client.StatusOf(err) {
	case http.StatusUnauthorized:
		return text + "; give one with --api-key or LINKTRAIL_API_KEY, and make one with `linktrail keys create`"
	case http.StatusForbidden:
		return text + "; make a key that has it with `linktrail keys create --scope …`"
	}
	return text
}

// oneLine is an error's text on one line: pgx tells each address that it tried on a line of its own.
func oneLine(err error) string {
	return strings.NewReplacer(":\n\t", ": ", "\n\t", "; ").Replace(strings.TrimSpace(err.Error()))
}

// env is a variable's value, without spaces around it.
func env(name string) string { return strings.TrimSpace(os.Getenv(name)) }
