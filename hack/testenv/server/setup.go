package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// setup is what a definition's prepare works with.
type setup struct {
	options Options
	cache   string
}

// prepare makes sure that every wanted server can be run, and tells for each whether a container has to do it.
func prepare(ctx context.Context, o Options, wanted []definition) (container map[string]bool, err error) {
	if err := os.MkdirAll(o.Cache, 0o755); err != nil {
		return nil, err
	}
	unlock, err := o.lockCache()
	if err != nil {
		return nil, err
	}
	defer unlock()

	s := &setup{options: o, cache: o.Cache}
	if err := s.installPackages(ctx, wanted); err != nil {
		return nil, err
	}
	container = map[string]bool{}
	var failures []error
	for _, d := range wanted {
		command := d.missing()
		if command == "" {
			continue
		}
		if !dockerAnswers(ctx) {
			failures = append(failures, d.cannot(command))
			continue
		}
		container[d.name] = true
	}
	if len(failures) > 0 {
		return nil, errors.Join(failures...)
	}

	failures = make([]error, len(wanted))
	var group sync.WaitGroup
	for i, d := range wanted {
		group.Go(func() {
			switch {
			case container[d.name]:
				failures[i] = s.pull(ctx, d)
			case d.prepare != nil:
				failures[i] = d.prepare(ctx, s)
			}
			if failures[i] != nil {
				failures[i] = fmt.Errorf("%s: %w", d.name, failures[i])
			}
		})
	}
	group.Wait()
	return container, errors.Join(failures...)
}

// cannot says which server cannot be had and how to get it.
func (d definition) cannot(command string) error {
	how := "put `" + command + "` on the PATH"
	if len(d.packages) > 0 {
		how += ", or install Debian's " + strings.Join(d.packages, " and ") + " (as root this is done for you)"
	}
	return fmt.Errorf("no %s: there is no %s on this machine and Docker does not answer.\n"+
		"  To get it %s,\n  or start Docker (it then runs %s),\n  or set %s to a server of your own",
		d.name, command, how, d.image, strings.Join(d.variables, ", "))
}

// installPackages installs what is missing and Debian has, where we may.
func (s *setup) installPackages(ctx context.Context, wanted []definition) error {
	var packages []string
	for _, d := range wanted {
		if d.missing() != "" {
			packages = append(packages, d.packages...)
		}
	}
	if missingCommand("gcc") != "" { // what the tests' race detector is linked with
		packages = append(packages, "gcc", "libc6-dev")
	}
	if len(packages) == 0 || os.Getuid() != 0 || missingCommand("apt-get") != "" {
		return nil
	}
	defer s.progress("installing Debian's " + strings.Join(packages, ", "))()
	restore, err := keepServicesDown()
	if err != nil {
		return err
	}
	defer restore()
	apt := func(args ...string) error {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		_, err := s.output(cmd)
		return err
	}
	if err := apt("update"); err != nil {
		s.options.logf("apt-get update complains, going on: %v", err)
	}
	return apt(slices.Concat([]string{"install", "-y", "--no-install-recommends"}, packages)...)
}

// keepServicesDown has Debian not start the services that it installs: we start our own, and only for the tests.
func keepServicesDown() (restore func(), err error) {
	const policy = "/usr/sbin/policy-rc.d"
	if exists(policy) {
		return func() {}, nil
	}
	if err := os.WriteFile(policy, []byte("#!/bin/sh\nexit 101\n"), 0o755); err != nil {
		return nil, err
	}
	return func() { _ = os.Remove(policy) }, nil
}

// once makes target with build, unless it is there. build works in a folder which then becomes target's: a target that
// is there is whole.
func (s *setup) once(target, what string, build func(dir string) error) error {
	if exists(target) {
		return nil
	}
	defer s.progress(what)()
	final := filepath.Dir(target)
	work, err := os.MkdirTemp(s.cache, "making-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	if err := os.Chmod(work, 0o755); err != nil {
		return err
	}
	if err := build(work); err != nil {
		return err
	}
	if !exists(filepath.Join(work, filepath.Base(target))) {
		return fmt.Errorf("%s: nothing was made", what)
	}
	if err := os.RemoveAll(final); err != nil {
		return err
	}
	return os.Rename(work, final)
}

// progress tells that something long begins, every 20 seconds that it goes on, and, when called, how long it took.
func (s *setup) progress(what string) (done func()) {
	begin := time.Now()
	s.options.logf("%s", what)
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		tick := time.NewTicker(20 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.options.logf("%s: %.0f s", what, time.Since(begin).Seconds())
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		group.Wait()
		s.options.logf("%s: done after %.0f s", what, time.Since(begin).Seconds())
	}
}

// output runs a command and returns its standard output; its error carries the end of what it printed.
func (s *setup) output(cmd *exec.Cmd) ([]byte, error) {
	var stdout, all bytes.Buffer
	cmd.Stdout = io.MultiWriter(&stdout, &all)
	cmd.Stderr = &all
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopWithin
	if err := cmd.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(all.String()), "\n")
		if len(lines) > 15 {
			lines = lines[len(lines)-15:]
		}
		return nil, fmt.Errorf("%s: %w\n    %s", strings.Join(cmd.Args, " "), err, strings.Join(lines, "\n    "))
	}
	return stdout.Bytes(), nil
}

// lockCache lets one process at a time install and build.
func (o Options) lockCache() (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(o.Cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		o.logf("waiting for another testenv which is setting up")
		if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
			_ = file.Close()
			return nil, err
		}
	}
	return func() { _ = file.Close() }, nil
}

func missingCommand(name string) string {
	if _, err := exec.LookPath(name); err != nil {
		return name
	}
	return ""
}
