package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Pods asks pods what is in force in them. Safe for concurrent use.
type Pods interface {
	// Hash returns the hash of the overlay that is in force in a pod, or an error when that cannot be told.
	Hash(ctx context.Context, pod *corev1.Pod) (string, error)
}

const (
	// opsPort is the name of the container port that a service's ops listener has, opsNumber its number without one.
	opsPort   = "ops"
	opsNumber = 6060
	// reportTimeout is how long a pod may take, maxReports how many are asked at once.
	reportTimeout = 2 * time.Second
	maxReports    = 32
	// reportLimit is the most bytes that are read of an answer.
	reportLimit = 64 << 10
)

// OpsListeners asks the ops listeners of linktrail's services, /telemetry.
type OpsListeners struct {
	Client *http.Client
}

// Hash asks the first port that is called ops, or 6060.
func (o OpsListeners) Hash(ctx context.Context, pod *corev1.Pod) (string, error) {
	port := opsNumber
	for _, container := range pod.Spec.Containers {
		for _, p := range container.Ports {
			if p.Name == opsPort {
				port = int(p.ContainerPort)
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	url := "http://" + net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(port)) + "/telemetry"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	req.Close = true // thousands of connections, kept for the next time, would be memory
	res, err := o.Client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", url, res.Status)
	}
	var status struct {
		Hash *string `json:"hash"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, reportLimit)).Decode(&status); err != nil {
		return "", fmt.Errorf("%s: %w", url, err)
	}
	if status.Hash == nil {
		return "", fmt.Errorf("%s: no hash in the answer", url)
	}
	return *status.Hash, nil
}

// count is how many pods have a hash in force.
type count struct{ done, pending, unknown int32 }

func (c *count) add(other count) {
	c.done += other.done
	c.pending += other.pending
	c.unknown += other.unknown
}

// ask asks all pods for their hash, each within a slot, and counts those that have the one wanted. A pod that has not
// started is pending.
func (r *TelemetryReconciler) ask(ctx context.Context, pods []*corev1.Pod, want string, slots chan struct{}) count {
	var mu sync.Mutex
	var all count
	var running sync.WaitGroup
	for _, pod := range pods {
		if pod.Status.Phase != corev1.PodRunning || pod.Status.PodIP == "" {
			mu.Lock()
			all.pending++
			mu.Unlock()
			continue
		}
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			hash, err := r.Pods.Hash(ctx, pod)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				all.unknown++
			case hash == want:
				all.done++
			default:
				all.pending++
			}
		})
	}
	running.Wait()
	return all
}
