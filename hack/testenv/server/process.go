package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	readyWithin     = 90 * time.Second  // of a server on this machine
	containerWithin = 180 * time.Second // of one in a container, whose image is there
	stopWithin      = 10 * time.Second
)

// errExited says that a server ended before it answered.
var errExited = errors.New("ended before it answered")

// process is one running server.
type process struct {
	name       string
	cmd        *exec.Cmd
	stopSignal syscall.Signal
	log        string // the file with its output
	stopping   atomic.Bool
	done       chan struct{} // closed when it has ended
	err        error         // how; to be read after done
}

// serve runs cmd as the server and returns when ready says nil. stop is the signal that ends it.
func (l *launch) serve(ctx context.Context, cmd *exec.Cmd, stop syscall.Signal, ready func(context.Context) error) error {
	within := readyWithin
	if l.container {
		within = containerWithin
	}
	p, err := l.spawn(cmd, stop)
	if err != nil {
		return err
	}
	l.session.runs(l.name, &running{launch: l, process: p, ready: ready})
	return p.await(ctx, within, ready)
}

// await returns when ready says nil.
func (p *process) await(ctx context.Context, within time.Duration, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		last := attempt(ctx, ready)
		if last == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%w: %w\n%s", errExited, p.exitError(), tail(p.log))
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return fmt.Errorf("does not answer within %s: %w\n%s", within, last, tail(p.log))
		case <-tick.C:
		}
	}
}

// attempt asks once, and not for longer than a server that is up takes to answer.
func attempt(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return ready(ctx)
}

// spawn starts cmd in a process group of its own, so that a Ctrl-C in the terminal is ours to handle.
func (l *launch) spawn(cmd *exec.Cmd, stop syscall.Signal) (*process, error) {
	output, err := os.Create(filepath.Join(l.dir, "output.log"))
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = output, output
	if cmd.Dir == "" {
		cmd.Dir = l.dir
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	deathSignal := syscall.SIGKILL
	if l.container {
		deathSignal = syscall.SIGTERM // docker hands it on
	}
	dieWithParent(cmd, deathSignal)

	p := &process{name: l.name, cmd: cmd, stopSignal: stop, log: output.Name(), done: make(chan struct{})}
	started := make(chan error, 1)
	go func() { // ends with the process; stop waits for it
		defer close(p.done)
		// The kernel sends the death signal when the thread ends which started the child: this one is kept till then.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		_ = output.Close()
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		if l.session.started.Load() && !p.stopping.Load() {
			select {
			case l.session.failed <- fmt.Errorf("%s has ended: %w\n%s", p.name, p.exitError(), tail(p.log)):
			default:
			}
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, l.session.record(p)
}

func (p *process) exitError() error {
	if p.err == nil {
		return errors.New("exit status 0")
	}
	return p.err
}

// stop ends the process, by force when it takes too long, and whatever is left in its group.
func (p *process) stop() {
	p.stopping.Store(true)
	pid := p.cmd.Process.Pid
	_ = p.cmd.Process.Signal(p.stopSignal)
	timer := time.NewTimer(stopWithin)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
	}
	_ = syscall.Kill(-pid, syscall.SIGKILL)
	<-p.done
}

// freePorts returns n TCP ports that are free on the loopback address.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = listener.Close() }() // all are held till the last is found
		ports[i] = listener.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// tail returns the last lines of a log, indented.
func tail(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	lines := strings.Split(string(bytes.TrimSpace(text)), "\n")
	if len(lines) > 20 {
		lines = lines[len(lines)-20:]
	}
	return "    " + strings.Join(lines, "\n    ")
}
