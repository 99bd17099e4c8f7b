package server

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"time"
)

// running is a server that can be ended and begun again.
type running struct {
	*launch
	process *process
	ready   func(context.Context) error
}

func (s *Session) runs(name string, r *running) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running[name] = r
}

func (s *Session) find(name string) (*running, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.running[name]
	switch {
	case r == nil:
		return nil, fmt.Errorf("%s was not started here", name)
	case r.container:
		return nil, fmt.Errorf("%s runs in a container, which keeps nothing; install it on this machine", name)
	}
	return r, nil
}

// Signal sends a server a signal, as SIGSTOP and SIGCONT.
func (s *Session) Signal(name string, signal syscall.Signal) error {
	r, err := s.find(name)
	if err != nil {
		return err
	}
	return r.process.cmd.Process.Signal(signal)
}

// End sends a server a signal and waits until it has ended. Its data stays for Begin.
func (s *Session) End(ctx context.Context, name string, signal syscall.Signal) error {
	r, err := s.find(name)
	if err != nil {
		return err
	}
	p := r.process
	select {
	case <-p.done:
		return fmt.Errorf("%s has ended already: %w", name, p.exitError())
	default:
	}
	p.stopping.Store(true)
	if err := p.cmd.Process.Signal(signal); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s does not end: %w", name, ctx.Err())
	}
}

// beginWithin is how long a server may take that is begun again: it has data to look through, and clients that wait for it.
const beginWithin = 4 * time.Minute

// Begin runs a server that was ended again, with the same data and ports, and returns when it answers.
func (s *Session) Begin(ctx context.Context, name string) error {
	r, err := s.find(name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, beginWithin)
	defer cancel()
	for {
		old := r.process.cmd
		cmd := exec.Command(old.Path, old.Args[1:]...) //nolint:gosec // it is the command of before
		cmd.Dir, cmd.Env, cmd.SysProcAttr = old.Dir, old.Env, old.SysProcAttr
		if r.process, err = r.spawn(cmd, r.process.stopSignal); err != nil {
			return err
		}
		err = r.process.await(ctx, beginWithin, r.ready)
		// PostgreSQL refuses to start as long as processes of one that was killed are there.
		if !errors.Is(err, errExited) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}
