// Package server starts the real servers that the tests run against, on free loopback ports and with their data in a
// fresh temporary folder, and takes all of it away again.
//
// A server is run from what is installed on the machine; as root on Debian what is missing is installed first. Where
// that cannot be, and Docker answers, it runs in a container. What had to be fetched or built is kept in a cache
// folder (see Options.Cache), so that the next start takes seconds.
//
// The servers end with the process that started them, also when that is killed (on Linux; elsewhere the next start or
// Down ends them).
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options say what is started and where things are kept. The zero value starts all servers.
type Options struct {
	// Only names the servers to start, of Names; empty means all of them.
	Only []string
	// TempDir is where the session's folder is made; by default the system's.
	TempDir string
	// Cache is where built and fetched servers are kept; by default linktrail/testenv in the user's cache folder.
	Cache string
	// Announce lets Env and Down, called in other processes, find the session.
	Announce bool
	// Own starts them also when the environment names others.
	Own bool
	// Durable has PostgreSQL keep what it has committed when it is killed.
	Durable bool
	// KafkaProxy is an address through which a client is sent to Kafka that begins at KafkaBehind of the session: a proxy's,
	// which is to pass on to KafkaBehind. Without one there is no such listener.
	KafkaProxy string
	// Progress receives a line for every step; by default nothing is written.
	Progress io.Writer
}

// Names are the servers there are.
func Names() []string {
	var names []string
	for _, d := range definitions() {
		names = append(names, d.name)
	}
	return names
}

// definition describes one server.
type definition struct {
	name      string
	variables []string // what tests read; when the first is set already, the server is not started
	image     string   // the container which can stand in
	packages  []string // the Debian packages with its commands
	// missing returns the command which is not on this machine, or "".
	missing func() string
	// prepare fetches or builds what no package has. It is nil where the packages suffice.
	prepare func(ctx context.Context, s *setup) error
	// start runs the server until it answers and returns the values of its variables.
	start func(ctx context.Context, l *launch) (map[string]string, error)
}

func definitions() []definition {
	return []definition{postgres(), redis(), kafka(), jaeger()}
}

// launch is what a definition's start works with.
type launch struct {
	definition
	session   *Session
	dir       string // its own folder, empty
	cache     string
	container bool // to be run by Docker
}

// Start prepares and starts the servers and returns when each of them answers. The variables of those that the
// environment names already are left alone. When one fails, all are stopped. The caller calls Session.Stop.
func Start(ctx context.Context, o Options) (_ *Session, err error) {
	o, err = o.withDefaults()
	if err != nil {
		return nil, err
	}
	wanted, err := o.selected()
	if err != nil {
		return nil, err
	}
	how, err := prepare(ctx, o, wanted)
	if err != nil {
		return nil, err
	}
	session, err := newSession(o)
	if err != nil {
		return nil, err
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group sync.WaitGroup
	failures := make([]error, len(wanted))
	for i, d := range wanted {
		group.Go(func() {
			if failures[i] = session.launch(ctx, d, how[d.name]); failures[i] != nil {
				cancel()
			}
		})
	}
	group.Wait()
	if err := firstCause(failures); err != nil {
		return nil, errors.Join(err, session.Stop())
	}
	if err := session.writeEnv(); err != nil {
		return nil, errors.Join(err, session.Stop())
	}
	session.started.Store(true)
	return session, nil
}

// Setup installs, fetches and builds all that Start needs, and starts nothing.
func Setup(ctx context.Context, o Options) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	wanted, err := o.selected()
	if err != nil {
		return err
	}
	_, err = prepare(ctx, o, wanted)
	return err
}

// firstCause prefers the error that made the others be cancelled.
func firstCause(failures []error) error {
	for _, err := range failures {
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return errors.Join(failures...)
}

func (o Options) withDefaults() (Options, error) {
	if o.TempDir == "" {
		o.TempDir = os.TempDir()
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if o.Cache == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return o, fmt.Errorf("no folder to keep the servers in: %w", err)
		}
		o.Cache = filepath.Join(cache, "linktrail", "testenv")
	}
	return o, nil
}

// selected returns the servers that are wanted and not given by the environment.
func (o Options) selected() ([]definition, error) {
	for _, name := range o.Only {
		if !slices.Contains(Names(), name) {
			return nil, fmt.Errorf("there is no server %q; there are %s", name, strings.Join(Names(), ", "))
		}
	}
	var wanted []definition
	for _, d := range definitions() {
		switch {
		case len(o.Only) > 0 && !slices.Contains(o.Only, d.name):
		case os.Getenv(d.variables[0]) != "" && !o.Own:
			o.logf("%s: given by %s, not started", d.name, d.variables[0])
		default:
			wanted = append(wanted, d)
		}
	}
	return wanted, nil
}

func (o Options) logf(format string, args ...any) {
	fmt.Fprintf(o.Progress, format+"\n", args...)
}

// launch starts one server. A second try is for the free port that somebody else took first.
func (s *Session) launch(ctx context.Context, d definition, container bool) error {
	begin := time.Now()
	var env map[string]string
	var err error
	for try := 1; try <= 2; try++ {
		l := &launch{definition: d, session: s, container: container, cache: s.options.Cache,
			dir: filepath.Join(s.Dir, fmt.Sprintf("%s-%d", d.name, try))}
		if err = os.Mkdir(l.dir, 0o755); err != nil {
			return err
		}
		if env, err = d.start(ctx, l); !errors.Is(err, errExited) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	s.mu.Lock()
	maps.Copy(s.env, env)
	s.mu.Unlock()
	s.options.logf("%s: ready on %s (%.1f s)", d.name, readyOn(env[d.variables[0]]), time.Since(begin).Seconds())
	return nil
}

// readyOn shortens a DSN to its host and port.
func readyOn(address string) string {
	_, rest, found := strings.Cut(address, "@")
	if !found {
		return address
	}
	host, _, _ := strings.Cut(rest, "/")
	return host
}
