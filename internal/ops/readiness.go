package ops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// CheckDeadline is how long a readiness check may take; one that takes longer
// counts as failed.
const CheckDeadline = 2 * time.Second

// shownError is how much of a failed check's error /readyz shows, in bytes;
// /readyz?verbose shows all of it.
const shownError = 120

// readiness is the set of conditions a service needs to be ready.
type readiness struct {
	draining atomic.Bool
	flights  singleflight.Group // at most one run of a check at a time, whoever asks
	running  sync.WaitGroup

	mu     sync.Mutex
	closed bool // no check starts any more: wait has been called
	checks []check
}

type check struct {
	name string
	run  func(context.Context) error
}

// outcome is what became of one check.
type outcome struct {
	err  error
	took time.Duration
}

// answer is the body of /readyz.
type answer struct {
	Ready  bool              `json:"ready"`
	Checks map[string]string `json:"checks"`
	// Millis is how long each check took; only with ?verbose.
	Millis map[string]float64 `json:"duration_ms,omitempty"`
}

func (r *readiness) add(name string, run func(context.Context) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.ContainsFunc(r.checks, func(c check) bool { return c.name == name }) {
		panic(fmt.Sprintf("ops: a readiness check named %q exists", name))
	}
	r.checks = append(r.checks, check{name, run})
}

func (r *readiness) serve(w http.ResponseWriter, req *http.Request) {
	verbose := req.URL.Query().Has("verbose")
	body := answer{Ready: true, Checks: map[string]string{}}
	if verbose {
		body.Millis = map[string]float64{}
	}
	for name, result := range r.runAll(req.Context()) {
		body.Checks[name] = "ok"
		if verbose {
			body.Millis[name] = float64(result.took.Microseconds()) / 1000
		}
		if result.err != nil {
			body.Ready = false
			body.Checks[name] = errorText(result.err, verbose)
		}
	}
	if r.draining.Load() {
		body.Ready = false
		body.Checks["drain"] = "stopping"
	}

	status := http.StatusOK
	if !body.Ready {
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// runAll runs every check and returns within CheckDeadline, whatever the checks
// do.
func (r *readiness) runAll(ctx context.Context) map[string]outcome {
	ctx, cancel := context.WithTimeout(ctx, CheckDeadline)
	defer cancel()

	r.mu.Lock()
	checks := slices.Clone(r.checks)
	r.mu.Unlock()

	start := time.Now()
	flights := make([]<-chan singleflight.Result, len(checks))
	for i, c := range checks {
		flights[i] = r.start(c)
	}
	outcomes := make(map[string]outcome, len(checks))
	for i, c := range checks {
		select {
		case flight := <-flights[i]:
			outcomes[c.name] = flight.Val.(outcome)
		case <-ctx.Done():
			// An answer that came at the last moment is still an answer.
			select {
			case flight := <-flights[i]:
				outcomes[c.name] = flight.Val.(outcome)
			default:
				outcomes[c.name] = outcome{fmt.Errorf("no answer within %v", CheckDeadline), time.Since(start)}
			}
		}
	}
	return outcomes
}

// start runs a check, or joins the run that is under way. The run is not bound to
// the request that started it, since others may have joined.
func (r *readiness) start(c check) <-chan singleflight.Result {
	return r.flights.DoChan(c.name, func() (any, error) {
		r.mu.Lock()
		if r.closed {
			r.mu.Unlock()
			return outcome{err: errors.New("stopping")}, nil
		}
		r.running.Add(1)
		r.mu.Unlock()
		defer r.running.Done()

		ctx, cancel := context.WithTimeout(context.Background(), CheckDeadline)
		defer cancel()
		start := time.Now()
		err := guard(ctx, c.run)
		return outcome{err, time.Since(start)}, nil
	})
}

// guard turns a check's panic into its failure.
func guard(ctx context.Context, run func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return run(ctx)
}

// wait lets no further check start and waits for those that run.
func (r *readiness) wait(ctx context.Context) error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()

	done := make(chan struct{})
	go func() {
		r.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("a readiness check still runs: %w", ctx.Err())
	}
}

func errorText(err error, verbose bool) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if errors.Is(err, context.DeadlineExceeded) && !verbose {
		return fmt.Sprintf("no answer within %v", CheckDeadline)
	}
	if verbose || len(text) <= shownError {
		return text
	}
	return strings.ToValidUTF8(text[:shownError], "") + "…"
}
