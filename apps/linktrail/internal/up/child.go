package up

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// lifeline is the descriptor on which a service sees its supervisor's end; the services' lock follows it.
	lifeline = 3
	// orphanDrain is how long a service goes on without its supervisor when Kafka was in it: what it holds has nowhere to
	// go.
	orphanDrain = 3 * time.Second
	// A service that dies is started again after firstPause, twice as long each time up to lastPause; one that ran for
	// steady begins anew.
	firstPause = 250 * time.Millisecond
	lastPause  = 15 * time.Second
	steady     = 30 * time.Second
	// exportDelay is how long a span waits for its batch, so that a trace can be read about a second after its click.
	exportDelay = 300 * time.Millisecond
)

// child is a service, through all of its processes.
type child struct {
	spec   spec
	log    *serviceLog
	term   *terminal
	binary string
	linger time.Duration         // how long it may go on without us
	lock   *os.File              // inherited by its processes
	rope   *os.File              // the end of the lifeline that its process holds
	pull   *os.File              // our end: it closes when we die
	mourn  func(context.Context) // called before a process that died gets a successor; may be nil

	life   context.Context // ends when no further process is to be started
	letGo  context.CancelFunc
	keeper sync.WaitGroup // starts processes
	waiter sync.WaitGroup // waits for them

	mu      sync.Mutex
	process *process
}

// process is one run of a service.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how, once done is closed
}

func newChild(sp spec, s *supervisor) (_ *child, err error) {
	c := &child{spec: sp, term: s.term, lock: s.locks.services, linger: drain + drainMargin}
	c.life, c.letGo = context.WithCancel(context.Background())
	if s.kafka != nil {
		c.linger = orphanDrain
	}
	if c.binary, err = os.Executable(); err != nil {
		return nil, err
	}
	if c.log, err = openLog(sp.name, filepath.Join(s.o.Data, "log", sp.name+".log"), s.term); err != nil {
		return nil, err
	}
	if c.rope, c.pull, err = os.Pipe(); err != nil {
		return nil, err
	}
	return c, nil
}

// launch starts a process of the service in a process group of its own, so that Ctrl-C reaches us alone and the order
// of the stop is ours.
func (c *child) launch() error {
	cmd := exec.Command(c.binary, "service", c.spec.name, "--config", c.spec.config,
		"--lifeline", strconv.Itoa(lifeline), "--linger", c.linger.String())
	cmd.Env = append(os.Environ(), dollar+"=$")
	if os.Getenv("OTEL_BSP_SCHEDULE_DELAY") == "" {
		cmd.Env = append(cmd.Env, "OTEL_BSP_SCHEDULE_DELAY="+strconv.FormatInt(exportDelay.Milliseconds(), 10))
	}
	cmd.ExtraFiles = []*os.File{c.rope, c.lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stdout, cmd.Stderr = c.log, c.log
	cmd.WaitDelay = 2 * time.Second
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", c.spec.name, err)
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	c.mu.Lock()
	c.process = p
	c.mu.Unlock()
	c.waiter.Go(func() {
		p.err = cmd.Wait()
		close(p.done)
	})
	return nil
}

func (c *child) current() *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.process
}

// pid is that of the newest process.
func (c *child) pid() int {
	if p := c.current(); p != nil {
		return p.cmd.Process.Pid
	}
	return 0
}

// awaitReady returns once the newest process answers that it is ready. The error tells what its log says last.
func (c *child) awaitReady(ctx context.Context) error {
	p := c.current()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	says := "nothing"
	for {
		ready, text := probe(ctx, client, c.spec)
		if ready {
			return nil
		}
		if text != "" {
			says = text
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before it was ready (%s); its log, %s, ends with:%s",
				c.spec.name, exitText(p.err), shownPath(c.log.path), c.log.tail())
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return fmt.Errorf("%s is not ready (it answers %s); its log, %s, ends with:%s",
				c.spec.name, says, shownPath(c.log.path), c.log.tail())
		case <-time.After(25 * time.Millisecond):
		}
	}
}

// probe asks a service whether it is ready, and knocks at its doors.
func probe(ctx context.Context, client *http.Client, sp spec) (ready bool, says string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+sp.ops+"/readyz", nil)
	if err != nil {
		return false, err.Error()
	}
	response, err := client.Do(request)
	if err != nil {
		return false, ""
	}
	defer func() { _ = response.Body.Close() }()
	body, _ := io.ReadAll(io.LimitReader(response.Body, 2048))
	if response.StatusCode != http.StatusOK {
		return false, strings.TrimSpace(string(body))
	}
	for _, door := range sp.doors {
		conn, err := net.DialTimeout("tcp", door, time.Second)
		if err != nil {
			return false, err.Error()
		}
		_ = conn.Close()
	}
	return true, ""
}

// keep starts the service again whenever it dies, until letGo. restarted is called once a new process is ready.
func (c *child) keep(restarted func(context.Context)) {
	c.keeper.Go(func() {
		pause, began := firstPause, time.Now()
		for {
			p := c.current()
			select {
			case <-c.life.Done():
				return
			case <-p.done:
			}
			if time.Since(began) > steady {
				pause = firstPause
			}
			c.term.warn("%s ended (%s): starting it again", c.spec.name, exitText(p.err))
			select {
			case <-c.life.Done():
				return
			case <-time.After(pause):
			}
			if c.mourn != nil {
				c.mourn(c.life)
			}
			pause = min(2*pause, lastPause)
			began = time.Now()
			if err := c.launch(); err != nil {
				c.term.warn("%v", err)
				continue
			}
			c.confirm(began, restarted)
		}
	})
}

// confirm waits for a new process's answer. One that dies meanwhile is keep's.
func (c *child) confirm(began time.Time, restarted func(context.Context)) {
	ctx, cancel := context.WithTimeout(c.life, readyDeadline)
	defer cancel()
	err := c.awaitReady(ctx)
	switch {
	case err == nil:
		restarted(ctx)
		c.term.say("%s runs again after %s, pid %d", c.spec.name, shownSeconds(time.Since(began)), c.pid())
	case c.life.Err() == nil:
		c.term.warn("%v", err)
	}
}

// stop asks the service to end, waits for it to finish what it has, and kills it when quick has ended or when it takes
// longer than it may.
func (c *child) stop(quick context.Context) (err error) {
	c.letGo()
	c.keeper.Wait() // from here on no further process comes
	defer func() {
		c.waiter.Wait()
		c.log.close()
		err = errors.Join(err, c.rope.Close(), c.pull.Close())
	}()
	p := c.current()
	if p == nil || p.ended() {
		return nil // that it had died was told already
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-quick.Done():
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("%s was stopped at once; what it had in hand may be lost", c.spec.name)
	case <-time.After(drain + drainMargin):
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("%s did not end within %v and was killed; its log is %s", c.spec.name, drain+drainMargin, shownPath(c.log.path))
	}
	if p.err != nil {
		return fmt.Errorf("%s ended with a fault (%s); its log, %s, ends with:%s", c.spec.name, exitText(p.err), shownPath(c.log.path), c.log.tail())
	}
	return nil
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// exitText says how a process ended.
func exitText(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}
