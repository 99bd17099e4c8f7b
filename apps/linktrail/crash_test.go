package main

import (
	"bufio"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/linktrail/linktrail/apps/linktrail/internal/up"
)

// TestServiceKilled kills each service in turn: it comes back, run.json says so, and nothing is lost.
func TestServiceKilled(t *testing.T) {
	for _, driver := range []string{"kgo", "kq"} {
		t.Run(driver, func(t *testing.T) {
			r := start(t, t.TempDir(), "--driver", driver)
			code := r.create("")
			for i, name := range []string{up.AnalyticsConsumer, up.AnalyticsRPC, up.URLAPI} {
				r.click(code)
				r.wantClicks(code, int64(2*i+1))
				before := r.run
				dead := r.service(name).PID
				kill(t, dead, syscall.SIGKILL)
				eventually(t, "run.json with the new "+name, func() error {
					r.awaitRunFile()
					if r.service(name).PID == dead {
						return fmt.Errorf("it still names pid %d", dead)
					}
					return nil
				})
				if r.run.URL != before.URL || r.run.API != before.API {
					t.Errorf("the addresses moved: %+v, %+v", before, r.run)
				}
				r.click(code)
				r.wantClicks(code, int64(2*i+2))
			}
			r.stop()
		})
	}
}

// TestSupervisorKilled kills only the supervisor: the services end, and the next start works, at once too.
func TestSupervisorKilled(t *testing.T) {
	data := t.TempDir()
	r := start(t, data)
	code := r.create("")
	r.click(code)
	r.wantClicks(code, 1)
	kill(t, r.run.PID, syscall.SIGKILL)
	r.ended()
	want(t, 2, "links", "list", "--data", data) // run.json is there, but what it names is not

	again := start(t, data) // waits for the services that are left
	for _, s := range r.run.Services {
		if err := endedErr(s.PID); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
	}
	again.click(code)
	again.wantClicks(code, 2)

	kill(t, again.run.PID, syscall.SIGKILL)
	again.ended()
	for _, s := range again.run.Services {
		eventually(t, s.Name+" ends", func() error { return endedErr(s.PID) })
	}
	third := start(t, data)
	third.wantClicks(code, 2)
}

// TestEverythingKilled kills all processes while clicks are in Kafka alone: all that it acknowledged are counted by the
// next start.
func TestEverythingKilled(t *testing.T) {
	const clicks = 200
	data := t.TempDir()
	r := start(t, data)
	code := r.create("")
	r.click(code)
	r.wantClicks(code, 1)
	kill(t, r.service(up.AnalyticsConsumer).PID, syscall.SIGSTOP)
	for range clicks {
		r.click(code)
	}
	eventually(t, "acknowledged clicks", func() error {
		if n := metric(t, r.service(up.URLAPI).Ops, "linktrail_clicks_published_total"); n != clicks+1 {
			return fmt.Errorf("%v of %d", n, clicks+1)
		}
		return nil
	})
	kill(t, r.run.PID, syscall.SIGKILL)
	for _, s := range r.run.Services {
		kill(t, s.PID, syscall.SIGKILL)
	}
	r.ended()

	again := start(t, data)
	again.wantClicks(code, clicks+1)
	again.stop()
}

// metric adds up the samples of a metric.
func metric(t *testing.T, ops, name string) float64 {
	t.Helper()
	response, err := http.Get(ops + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var sum float64
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) != 2 || strings.SplitN(fields[0], "{", 2)[0] != name {
			continue
		}
		n, err := strconv.ParseFloat(fields[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}
