// Package doctor finds out what is wrong with a linktrail: which of its servers cannot be reached, refuses it, or lacks
// what it needs, and what to type. It changes nothing but a key in Redis, which goes by itself a second later, and sends
// nothing but an empty batch of spans.
package doctor

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Status is how a check ended.
type Status string

// The statuses.
const (
	OK            Status = "ok"
	Failed        Status = "failed"
	NotConfigured Status = "not configured"
)

// Kind names what sort of thing is wrong, for scripts.
type Kind string

// The kinds.
const (
	KindConfig      Kind = "config"      // a value is wrong
	KindFile        Kind = "file"        // a file or folder is missing, or cannot be used
	KindDNS         Kind = "dns"         // a name does not resolve
	KindRefused     Kind = "refused"     // nothing listens there
	KindUnreachable Kind = "unreachable" // no way there
	KindTimeout     Kind = "timeout"     // no answer, or not in time
	KindTLS         Kind = "tls"         // TLS fails, or only one side wants it
	KindProtocol    Kind = "protocol"    // something else listens there
	KindCredentials Kind = "credentials" // who we are is refused
	KindPermission  Kind = "permission"  // we may not do what is needed
	KindDatabase    Kind = "database"    // the database, or the number of one, is not there
	KindSchema      Kind = "schema"      // the schema is too old, too new, or missing
	KindReadOnly    Kind = "read_only"   // nothing can be written
	KindTopic       Kind = "topic"       // a topic is missing
	KindLeader      Kind = "leader"      // a partition cannot be written: no leader, too few replicas
	KindAdvertised  Kind = "advertised"  // what the brokers call themselves cannot be reached
	KindMaster      Kind = "master"      // Sentinel knows no master
	KindUnavailable Kind = "unavailable" // it answers that it cannot serve
	KindNotRunning  Kind = "not_running" // linktrail does not run
	KindNotReady    Kind = "not_ready"   // a service says it is not ready
	KindVersion     Kind = "version"     // services are of different builds
	KindTelemetry   Kind = "telemetry"   // the overlay was refused
	KindOther       Kind = "other"       // what the server said
)

// Problem is one thing that is wrong: what it is, and what to do about it.
type Problem struct {
	Kind   Kind   `json:"kind"`
	Detail string `json:"detail"`
	Try    string `json:"try,omitempty"`
}

// Finding is what one check found.
type Finding struct {
	// Check is what was looked at: store, redis, kafka, otlp, jaeger, or what runs.
	Check string `json:"check"`
	// Target is where it is, without secrets.
	Target string `json:"target,omitempty"`
	// Services are those that are configured so; empty when it was named by a flag.
	Services []string `json:"services,omitempty"`
	Status   Status   `json:"status"`
	// Detail says what was found well.
	Detail   string    `json:"detail,omitempty"`
	Problems []Problem `json:"problems,omitempty"`
	// Millis is how long the check took.
	Millis int64 `json:"duration_ms"`
}

// Report is what all checks found, in an order that does not change.
type Report struct {
	OK     bool      `json:"ok"`
	Checks []Finding `json:"checks"`
	// Notes are worth knowing and no fault by themselves.
	Notes []string `json:"notes,omitempty"`
}

// Failed is how many checks found something wrong.
func (r Report) Failed() int {
	var n int
	for _, f := range r.Checks {
		if f.Status == Failed {
			n++
		}
	}
	return n
}

// check is one thing to look at. run returns what it found well, and what is wrong.
type check struct {
	name     string
	target   string
	services []string
	run      func(ctx context.Context) (detail string, problems []Problem)
}

// Run makes all checks of a plan at once, each within the timeout.
func (p Plan) Run(ctx context.Context, timeout time.Duration) Report {
	report := Report{OK: true, Checks: make([]Finding, len(p.checks)), Notes: p.notes}
	var checks sync.WaitGroup
	for i, c := range p.checks {
		checks.Go(func() { report.Checks[i] = c.finding(ctx, timeout) })
	}
	checks.Wait()
	report.OK = report.Failed() == 0
	return report
}

func (c check) finding(ctx context.Context, timeout time.Duration) Finding {
	f := Finding{Check: c.name, Target: c.target, Services: c.services, Status: NotConfigured}
	if c.run == nil {
		return f
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	began := time.Now()
	detail, problems := c.run(ctx)
	f.Millis = time.Since(began).Milliseconds()
	f.Status, f.Detail = OK, detail
	if len(problems) > 0 {
		f.Status, f.Problems = Failed, unique(problems)
	}
	return f
}

// unique takes out what was found twice, such as at two addresses of one server.
func unique(problems []Problem) []Problem {
	var kept []Problem
	for _, p := range problems {
		if !slices.Contains(kept, p) {
			kept = append(kept, p)
		}
	}
	return kept
}

// problem makes one from a detail's format.
func problem(kind Kind, try, format string, args ...any) Problem {
	return Problem{Kind: kind, Detail: fmt.Sprintf(format, args...), Try: try}
}

// one is the result of a check that found one problem.
func one(kind Kind, try, format string, args ...any) (string, []Problem) {
	return "", []Problem{problem(kind, try, format, args...)}
}
