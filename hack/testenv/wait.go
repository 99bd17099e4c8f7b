package testenv

import (
	"testing"
	"time"
)

// Within tries again and again until try returns nil, and returns its last error once the limit has passed.
func Within(limit time.Duration, try func() error) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return err
		}
	}
}

// Eventually is Within for a test, which ends when the limit has passed.
func Eventually(t *testing.T, limit time.Duration, try func() error) {
	t.Helper()
	if err := Within(limit, try); err != nil {
		t.Fatalf("not within %v: %v", limit, err)
	}
}
