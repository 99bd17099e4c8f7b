// Command testenv starts the real servers that the tests run against.
//
//	testenv run -- go test ./...      start, run the command with their addresses in its environment, stop
//	testenv up                        start and stay, until Ctrl-C or `testenv down`
//	eval "$(testenv env)"             the addresses of what `testenv up` has started
//	testenv down                      stop it, and clear away what a killed testenv left
//	testenv setup                     only install, fetch and build what is missing
//
// -only postgres,redis limits it to some of the servers. A server whose LINKTRAIL_TEST_... variable is set already is
// not started.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/linktrail/linktrail/hack/testenv/server"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

const usage = "usage: testenv [-only NAME,...] setup | up | env | down | run -- COMMAND [ARGUMENT...]"

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("testenv", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprintln(stderr, usage); flags.PrintDefaults() }
	only := flags.String("only", "", "the servers to start, separated by commas: "+strings.Join(server.Names(), ", ")+" (default all)")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	options := server.Options{Progress: stderr}
	if *only != "" {
		options.Only = strings.Split(*only, ",")
	}

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)

	var err error
	code := 0
	switch command, rest := flags.Arg(0), flags.Args(); command {
	case "setup":
		err = interruptible(signals, func(ctx context.Context) error { return server.Setup(ctx, options) })
	case "up":
		err = up(options, signals, stderr)
	case "env":
		err = env(options, stdout)
	case "down":
		err = server.Down(options)
	case "run":
		rest = rest[1:]
		if len(rest) > 0 && rest[0] == "--" {
			rest = rest[1:]
		}
		if len(rest) == 0 {
			flags.Usage()
			return 2
		}
		code, err = runCommand(options, signals, rest)
	default:
		flags.Usage()
		return 2
	}
	if err != nil {
		fmt.Fprintln(stderr, "testenv:", err)
		return max(code, 1)
	}
	return code
}

// interruptible calls do with a context that a signal ends.
func interruptible(signals <-chan os.Signal, do func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	select {
	case err := <-done:
		return err
	case s := <-signals:
		cancel(nil)
		return errors.Join(fmt.Errorf("stopped by signal: %s", s), <-done)
	}
}

func start(options server.Options, signals <-chan os.Signal) (session *server.Session, err error) {
	err = interruptible(signals, func(ctx context.Context) error {
		session, err = server.Start(ctx, options)
		return err
	})
	if err != nil && session != nil { // the signal came when all was up
		return nil, errors.Join(err, session.Stop())
	}
	return session, err
}

func up(options server.Options, signals <-chan os.Signal, stderr io.Writer) error {
	if _, err := server.Env(options); err == nil {
		return errors.New("a testenv is up already: `testenv env` prints its addresses, `testenv down` ends it")
	}
	options.Announce = true
	session, err := start(options, signals)
	if err != nil {
		return err
	}
	fmt.Fprintf(stderr, "testenv: up. In another terminal: eval \"$(go run ./hack/testenv/cmd env)\"\nCtrl-C stops it. Data and logs: %s\n", session.Dir)
	select {
	case <-signals:
		err = nil
	case err = <-session.Failed():
	}
	return errors.Join(err, session.Stop())
}

func env(options server.Options, stdout io.Writer) error {
	variables, err := server.Env(options)
	if err != nil {
		return fmt.Errorf("%w: start it with `make testenv` in another terminal", err)
	}
	for _, v := range variables {
		name, value, _ := strings.Cut(v, "=")
		fmt.Fprintf(stdout, "export %s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
	}
	return nil
}

// runCommand returns the command's exit code. A signal is handed to the command and all that it started; what does not
// end within ten seconds is killed.
func runCommand(options server.Options, signals <-chan os.Signal, args []string) (code int, err error) {
	session, err := start(options, signals)
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, session.Stop()) }()

	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), session.Env()...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return 127, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	signalGroup := func(s syscall.Signal) { _ = syscall.Kill(-cmd.Process.Pid, s) }
	defer signalGroup(syscall.SIGKILL) // what it left behind

	var kill <-chan time.Time
	failed := session.Failed()
	for {
		select {
		case err := <-done:
			var exit *exec.ExitError
			if errors.As(err, &exit) && exit.ExitCode() >= 0 {
				return exit.ExitCode(), nil
			}
			if err != nil {
				return 1, err
			}
			return 0, nil
		case s := <-signals:
			signalGroup(s.(syscall.Signal))
			if kill == nil {
				kill = time.After(10 * time.Second)
			}
		case err := <-failed:
			fmt.Fprintln(os.Stderr, "testenv:", err)
			failed = nil
		case <-kill:
			signalGroup(syscall.SIGKILL)
		}
	}
}
