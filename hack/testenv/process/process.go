//go:build linux

// Package process runs programs as processes of their own, for those who measure or break them. They end with the one who
// started them, also when that is killed.
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// StartDeadline is how long a process may take until it answers, StopDeadline until it has ended.
const (
	StartDeadline = 60 * time.Second
	StopDeadline  = 40 * time.Second
)

// Process is a running program. Its methods may be called from several goroutines.
type Process struct {
	Name string
	cmd  *exec.Cmd
	log  *tail
	done chan struct{}
	err  error // valid once done is closed
}

// Start starts a command with more variables than this program's own. name is for messages.
func Start(name string, env []string, command string, args ...string) (*Process, error) {
	p := &Process{Name: name, cmd: exec.Command(command, args...), log: new(tail), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.Env = append(os.Environ(), env...)
	// A group of its own: Ctrl-C is for who started it, and stops it in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Await returns when check passes, or an error when the process ends or the time is up before.
func (p *Process) Await(ctx context.Context, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, StartDeadline)
	defer cancel()
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		err := check()
		if err == nil {
			tick.Stop()
			return nil
		}
		select {
		case <-tick.C:
		case <-p.done:
			return fmt.Errorf("%s ended at its start: %w\n%s", p.Name, p.err, p.log)
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %w\n%s", p.Name, ctx.Err(), err, p.log)
		}
	}
}

// Stop ends the process by SIGTERM and waits for it; one that does not end is killed. A process that did not end well is an error.
func (p *Process) Stop() error {
	if err := p.Alive(); err != nil {
		return err
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	late := time.NewTimer(StopDeadline)
	defer late.Stop()
	select {
	case <-p.done:
	case <-late.C:
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
		return fmt.Errorf("%s did not end within %v", p.Name, StopDeadline)
	}
	var exit *exec.ExitError
	if p.err != nil && (!errors.As(p.err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM) {
		return fmt.Errorf("%s: %w\n%s", p.Name, p.err, p.log)
	}
	return nil
}

// Alive is nil as long as the process runs.
func (p *Process) Alive() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s has ended by itself: %w\n%s", p.Name, p.err, p.log)
	default:
		return nil
	}
}

// Kill ends the process by SIGKILL and waits for it. It is an error when it had ended already.
func (p *Process) Kill() error {
	if err := p.Alive(); err != nil {
		return err
	}
	if err := p.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	<-p.done
	return nil
}

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Log is the last of what the process wrote.
func (p *Process) Log() string { return p.log.String() }

// CPU returns the time that the process and its children have spent on a core, in user and system mode.
func (p *Process) CPU() (time.Duration, error) { return cpuOf(p.cmd.Process.Pid) }

func cpuOf(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The command's name, in brackets, may hold anything; utime and stime are the 12th and 13th field behind it, in
	// hundredths of a second (proc(5)).
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	sum := time.Duration(ticks) * 10 * time.Millisecond
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0, err
	}
	for _, child := range strings.Fields(string(children)) {
		n, err := strconv.Atoi(child)
		if err != nil {
			return 0, err
		}
		spent, err := cpuOf(n)
		if err != nil {
			return 0, err
		}
		sum += spent
	}
	return sum, nil
}

// Accepts checks that something listens at addr.
func Accepts(addr string) func() error {
	return func() error {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// Answers checks that a URL is answered with 200.
func Answers(url string) func() error {
	return func() error {
		client := http.Client{Timeout: 2 * time.Second}
		res, err := client.Get(url)
		if err != nil {
			return err
		}
		defer func() { _ = res.Body.Close() }()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", url, res.Status)
		}
		return nil
	}
}

// FreeAddr returns a loopback address that was free a moment ago.
func FreeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// tail keeps the last of what a process writes.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if extra := len(t.text) - 8<<10; extra > 0 {
		t.text = append(t.text[:0], t.text[extra:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
