package server

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A session's folder holds, beside the servers' data:
const (
	lockFile      = "lock"      // locked as long as the owner lives; holds its pid
	pidsFile      = "pids"      // a line for each process started: its pid and the server's name
	announcedFile = "announced" // there when Env and Down may find the session
	envFile       = "env"       // a line for each variable: NAME=VALUE; written when all servers answer

	sessionPrefix = "linktrail-testenv-"
)

// ErrNotRunning says that no testenv is up.
var ErrNotRunning = errors.New("no testenv is up")

// Session is a set of running servers. Its methods may be called from one goroutine at a time.
type Session struct {
	// Dir is the temporary folder with the servers' data and logs. Stop removes it.
	Dir string

	options Options
	lock    *os.File

	started atomic.Bool
	failed  chan error // the first one; later ones are dropped

	mu        sync.Mutex
	env       map[string]string
	processes []*process
	running   map[string]*running
	proxied   string
}

func newSession(o Options) (*Session, error) {
	for _, dir := range sessionDirs(o.TempDir) {
		sweep(dir)
	}
	dir, err := os.MkdirTemp(o.TempDir, sessionPrefix)
	if err != nil {
		return nil, err
	}
	// As root PostgreSQL runs as another user, who has to reach its folder.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if _, err := fmt.Fprintln(lock, os.Getpid()); err != nil {
		return nil, err
	}
	if o.Announce {
		if err := os.WriteFile(filepath.Join(dir, announcedFile), nil, 0o600); err != nil {
			return nil, err
		}
	}
	return &Session{Dir: dir, options: o, lock: lock, env: map[string]string{}, running: map[string]*running{}, failed: make(chan error, 1)}, nil
}

// Env returns the variables of the servers that were started, as NAME=VALUE, sorted.
func (s *Session) Env() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var env []string
	for name, value := range s.env {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env
}

// Stop ends all servers, those that ignore it after ten seconds by force, and removes the session's folder.
func (s *Session) Stop() error {
	s.mu.Lock()
	processes := s.processes
	s.processes = nil
	s.mu.Unlock()

	var group sync.WaitGroup
	for _, p := range processes {
		group.Go(p.stop)
	}
	group.Wait()
	err := os.RemoveAll(s.Dir)
	return errors.Join(err, s.lock.Close())
}

// KafkaBehind is the address to which what listens at Options.KafkaProxy is to pass on.
func (s *Session) KafkaBehind() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proxied
}

func (s *Session) behind(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proxied = address
}

// Failed delivers the error of a server that ended by itself after Start had returned.
func (s *Session) Failed() <-chan error { return s.failed }

func (s *Session) record(p *process) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.processes = append(s.processes, p)
	file, err := os.OpenFile(filepath.Join(s.Dir, pidsFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(file, p.cmd.Process.Pid, p.name)
	return errors.Join(err, file.Close())
}

func (s *Session) writeEnv() error {
	text := strings.Join(s.Env(), "\n") + "\n"
	temporary := filepath.Join(s.Dir, envFile+".new")
	if err := os.WriteFile(temporary, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, filepath.Join(s.Dir, envFile))
}

// Env returns the variables, as NAME=VALUE, of the youngest announced session under o.TempDir whose servers all answer,
// or ErrNotRunning.
func Env(o Options) ([]string, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	var youngest time.Time
	var env []string
	for _, dir := range sessionDirs(o.TempDir) {
		file := filepath.Join(dir, envFile)
		info, err := os.Stat(file)
		if err != nil || !announced(dir) || !alive(dir) || info.ModTime().Before(youngest) {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		youngest = info.ModTime()
		env = strings.Split(strings.TrimSpace(string(text)), "\n")
	}
	if env == nil {
		return nil, ErrNotRunning
	}
	return env, nil
}

// Down ends all announced sessions under o.TempDir, also half-started ones, and waits until they are gone; and it takes
// away what killed sessions left behind. It returns ErrNotRunning when there was nothing to do.
func Down(o Options) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	found := false
	for _, dir := range sessionDirs(o.TempDir) {
		if alive(dir) && !announced(dir) {
			continue // somebody's tests are running
		}
		found = true
		if pid, err := readPid(filepath.Join(dir, lockFile)); err == nil && alive(dir) {
			_ = syscall.Kill(pid, syscall.SIGTERM)
		}
		if !eventually(30*time.Second, func() bool { return !alive(dir) }) {
			return fmt.Errorf("the testenv with the folder %s does not end", dir)
		}
		sweep(dir)
		o.logf("down: %s", filepath.Base(dir))
	}
	if !found {
		return ErrNotRunning
	}
	return nil
}

func announced(dir string) bool { return exists(filepath.Join(dir, announcedFile)) }

// sessionDirs returns the folders of this user's sessions, living and dead.
func sessionDirs(temp string) []string {
	matches, _ := filepath.Glob(filepath.Join(temp, sessionPrefix+"*"))
	return slices.DeleteFunc(matches, func(dir string) bool {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() {
			return true
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		return !ok || int(stat.Uid) != os.Getuid()
	})
}

// alive tells whether the session's owner lives: only then somebody holds the lock.
func alive(dir string) bool {
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer func() { _ = lock.Close() }()
	return syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil
}

// sweep takes away what a dead session left behind: processes that are still the session's own, and its folder.
func sweep(dir string) {
	info, err := os.Stat(dir)
	if err != nil || alive(dir) || time.Since(info.ModTime()) < 5*time.Second && !exists(filepath.Join(dir, pidsFile)) {
		return // the last: a session which is just being made has no lock yet
	}
	if file, err := os.Open(filepath.Join(dir, pidsFile)); err == nil {
		for lines := bufio.NewScanner(file); lines.Scan(); {
			text, _, _ := strings.Cut(lines.Text(), " ")
			if pid, err := strconv.Atoi(text); err == nil && belongs(pid, dir) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
				eventually(5*time.Second, func() bool { return !belongs(pid, dir) })
			}
		}
		_ = file.Close()
	}
	_ = os.RemoveAll(dir)
}

// belongs tells whether the process is the session's: its command line names the folder. A pid may have been reused.
func belongs(pid int, dir string) bool {
	line, err := exec.Command("ps", "-o", "args=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(line), dir)
}

func readPid(file string) (int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// eventually polls until the condition holds, and tells whether it came to hold in time.
func eventually(limit time.Duration, condition func() bool) bool {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline.C:
			return condition()
		}
	}
	return true
}
