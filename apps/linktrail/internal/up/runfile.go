package up

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// RunFile is DATA/run.json, which scripts may rely on: it is written whole once everything answers, again when a service
// was restarted, and removed at a clean stop. It holds the key, so it is its owner's alone.
type RunFile struct {
	// URL is the front door's address, API the API's.
	URL string `json:"url"`
	API string `json:"api"`
	// APIKey is the local key itself.
	APIKey string `json:"api_key"`
	// PID is the supervisor's.
	PID      int          `json:"pid"`
	Services []RunService `json:"services"`
	// Jaeger is the base URL of Jaeger's query service, Traces the folder with files of spans; one of them at most.
	Jaeger string `json:"jaeger,omitempty"`
	Traces string `json:"traces,omitempty"`
}

// RunService is one service that runs.
type RunService struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
	// Ops is the address of its probes and metrics.
	Ops string `json:"ops"`
}

// ErrNotRunning says that nothing runs on a folder.
var ErrNotRunning = errors.New("linktrail does not run there")

// ReadRunFile reads a folder's run.json. The error wraps ErrNotRunning when there is none, or when its supervisor has
// been killed since.
func ReadRunFile(data string) (RunFile, error) {
	content, err := os.ReadFile(filepath.Join(data, "run.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return RunFile{}, ErrNotRunning
	}
	if err != nil {
		return RunFile{}, err
	}
	var run RunFile
	if err := json.Unmarshal(content, &run); err != nil {
		return RunFile{}, fmt.Errorf("%s: %w", filepath.Join(data, "run.json"), err)
	}
	if !alive(run.PID) {
		return RunFile{}, ErrNotRunning
	}
	return run, nil
}

func alive(pid int) bool {
	if pid <= 0 {
		return false
	}
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

func removeRunFile(data string) error {
	err := os.Remove(filepath.Join(data, "run.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// runFile writes run.json.
type runFile struct {
	path string
	base RunFile

	mu     sync.Mutex
	closed bool
}

func newRunFile(s *supervisor) *runFile {
	return &runFile{path: filepath.Join(s.o.Data, "run.json"), base: RunFile{
		URL: s.plan.url(), API: s.plan.apiURL(), APIKey: s.key, PID: os.Getpid(), Jaeger: s.o.Jaeger, Traces: s.plan.traces,
	}}
}

// write replaces the file. Services are listed in the order in which a click meets them.
func (r *runFile) write(children []*child) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	run := r.base
	for _, c := range children {
		run.Services = append(run.Services, RunService{Name: c.spec.name, PID: c.pid(), Ops: "http://" + c.spec.ops})
	}
	content, err := json.MarshalIndent(run, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(r.path, append(content, '\n'))
}

// close has later writes do nothing.
func (r *runFile) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
}

// writeFile writes a file whole or not at all, for its owner alone.
func writeFile(path string, content []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
