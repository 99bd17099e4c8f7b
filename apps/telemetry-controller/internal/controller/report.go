package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
)

// Pods asks pods what is in force in them. Safe for concurrent use.
type Pods interface {
	// Report returns what a pod says, or an error when that cannot be told before ctx ends.
	Report(ctx context.Context, pod *corev1.Pod) (Report, error)
}

// Report is what a pod says.
type Report struct {
	// Hash is that of the overlay in force.
	Hash string
	// Began is whether a trace has begun in it since it started, Continued whether one from elsewhere was continued. Neither
	// is of a service that does not say.
	Began, Continued bool
}

const (
	// opsPort is the name of the container port that a service's ops listener has, opsNumber its number without one.
	opsPort   = "ops"
	opsNumber = 6060
	// reportTimeout is how long a pod may take, maxReports how many are asked at once. When that has gone by, so that some did not
	// answer, those that are left may take hurriedTimeout: most pods answer within milliseconds.
	reportTimeout  = 2 * time.Second
	hurriedTimeout = 250 * time.Millisecond
	maxReports     = 32
	// reportLimit is the most bytes that are read of an answer.
	reportLimit = 64 << 10
)

// OpsListeners asks the ops listeners of linktrail's services, /telemetry.
type OpsListeners struct {
	Client *http.Client
}

// opsAddress is where a pod's ops listener is.
func opsAddress(pod *corev1.Pod) string {
	return net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(opsPortOf(pod.Spec.Containers)))
}

// opsPortOf is the first port that is called ops, or 6060.
func opsPortOf(containers []corev1.Container) int {
	for _, container := range containers {
		for _, p := range container.Ports {
			if p.Name == opsPort {
				return int(p.ContainerPort)
			}
		}
	}
	return opsNumber
}

// Report asks a pod's ops listener.
func (o OpsListeners) Report(ctx context.Context, pod *corev1.Pod) (Report, error) {
	url := "http://" + opsAddress(pod) + "/telemetry"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return Report{}, err
	}
	req.Close = true // thousands of connections, kept for the next time, would be memory
	res, err := o.Client.Do(req)
	if err != nil {
		return Report{}, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return Report{}, fmt.Errorf("%s: %s", url, res.Status)
	}
	var status struct {
		Hash      *string `json:"hash"`
		Began     bool    `json:"began"`
		Continued bool    `json:"continued"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, reportLimit)).Decode(&status); err != nil {
		return Report{}, fmt.Errorf("%s: %w", url, err)
	}
	if status.Hash == nil {
		return Report{}, fmt.Errorf("%s: no hash in the answer", url)
	}
	return Report{Hash: *status.Hash, Began: status.Began, Continued: status.Continued}, nil
}

// inquiry is one round of asking pods.
type inquiry struct {
	slots chan struct{}
	begin time.Time
}

func newInquiry() inquiry { return inquiry{slots: make(chan struct{}, maxReports), begin: time.Now()} }

// timeout is how long a pod may take that is asked now.
func (i inquiry) timeout() time.Duration {
	if time.Since(i.begin) >= reportTimeout {
		return hurriedTimeout
	}
	return reportTimeout
}

// count is how many pods have a hash in force.
type count struct{ done, pending, unknown int32 }

func (c *count) add(other count) {
	c.done += other.done
	c.pending += other.pending
	c.unknown += other.unknown
}

// ask asks all pods for their hash, each within a slot, and counts those that have the one wanted. A pod that has not
// started is pending. rootless says that those which answer, if any, have continued traces and begun none.
func (r *TelemetryReconciler) ask(ctx context.Context, pods []*corev1.Pod, want string, asking inquiry) (all count, rootless bool) {
	var mu sync.Mutex
	var running sync.WaitGroup
	var answers, rootlessAnswers int
	for _, pod := range pods {
		if pod.Status.Phase != corev1.PodRunning || pod.Status.PodIP == "" {
			mu.Lock()
			all.pending++
			mu.Unlock()
			continue
		}
		asking.slots <- struct{}{}
		running.Go(func() {
			defer func() { <-asking.slots }()
			ctx, cancel := context.WithTimeout(ctx, asking.timeout())
			defer cancel()
			report, err := r.report(ctx, pod)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				all.unknown++
				return
			}
			answers++
			if report.Continued && !report.Began {
				rootlessAnswers++
			}
			if report.Hash == want {
				all.done++
			} else {
				all.pending++
			}
		})
	}
	running.Wait()
	return all, answers > 0 && answers == rootlessAnswers
}

// report asks a pod. A panic becomes an error: nobody recovers those of other goroutines than Reconcile's.
func (r *TelemetryReconciler) report(ctx context.Context, pod *corev1.Pod) (report Report, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
			ctrl.LoggerFrom(ctx).Error(err, "A pod cannot be asked", "pod", pod.Name, "stack", string(debug.Stack()))
		}
	}()
	return r.Pods.Report(ctx, pod)
}
