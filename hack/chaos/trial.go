//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// leastAnswered is how many redirects a trial must have answered, or it is void.
const leastAnswered = 10000

// The parts of a trial around the fault. load goes on through all of them but the last.
const (
	warmUp   = 3 * time.Second
	baseline = 10 * time.Second
	outlast  = 3 * time.Second // how long the load outlasts the fault, at least
)

// enoughWithin is how long after the fault there may be load until so many are answered.
const enoughWithin = 3 * time.Minute

// errVoid says that a trial is worth nothing, because it did not do what it was to do.
var errVoid = errors.New("VOID")

// fault is something that is broken on purpose.
type fault struct {
	// name is what -only takes; title is what the table says.
	name, title string
	settings    settings
	// restarts says that url-api itself is ended: what is asked of it meanwhile has no answer.
	restarts bool
	// clock has the services' clocks go back an hour, clockAfter after their start.
	clock bool
	// harm breaks things and mends them again, while there is load.
	harm func(context.Context, *trial) error
	// costs is the metric that must count exactly what is lost; without one nothing may be. places has it count damaged
	// places, each of at least one click, instead.
	costs  []string
	places bool
}

// trial is a fault in a running system, and what became of it.
type trial struct {
	*system
	fault
	options options
	client  *client

	times  int // how often the harm was done
	notes  []string
	begin  time.Time
	lasted time.Duration
}

// run carries a fault out and returns what is to be told of it. The error is for what could not be done at all.
func run(ctx context.Context, o options, f fault) (_ result, err error) {
	binaries, err := o.binaries(ctx, f.clock)
	if err != nil {
		return result{}, err
	}
	s, err := newSystem(ctx, binaries, o.driver, f.settings)
	defer func() { err = errors.Join(err, s.close()) }()
	if err != nil {
		return result{}, err
	}
	t := &trial{system: s, fault: f, options: o, client: newClient(s.door, s.links, o.rate, o.connections), times: 1}
	if err := t.underLoad(ctx); err != nil {
		return result{}, fmt.Errorf("%s: %w", f.name, err)
	}
	return t.judge(ctx)
}

// underLoad does the harm while the client asks.
func (t *trial) underLoad(ctx context.Context) error {
	t.client.start(ctx)
	defer t.client.end()
	for _, part := range []struct {
		phase int32
		lasts time.Duration
	}{{warming, warmUp}, {before, baseline}} {
		t.client.enter(part.phase)
		if err := sleep(ctx, part.lasts); err != nil {
			return err
		}
	}
	t.client.enter(during)
	t.begin = time.Now()
	err := t.harm(ctx, t)
	t.lasted = time.Since(t.begin)
	if err != nil {
		return err
	}
	t.client.enter(after)
	if err := sleep(ctx, outlast); err != nil {
		return err
	}
	// A fault may have been over sooner than there were enough redirects.
	enough := func() bool { return t.client.count.Load() >= leastAnswered }
	if err := until(ctx, enoughWithin, "enough redirects are answered", enough); err != nil {
		return err
	}
	for _, v := range []*service{t.urlAPI, t.rpc, t.consumer} {
		if err := v.Alive(); err != nil {
			return err
		}
	}
	return nil
}

// judge waits until the clicks are where they belong, and compares.
func (t *trial) judge(ctx context.Context) (result, error) {
	ledger := t.client.ledger()
	quiet := time.Now()
	if err := t.settle(ctx, len(ledger)); err != nil {
		return result{}, err
	}
	took := time.Since(quiet)
	f, err := t.look(ctx)
	if err != nil {
		return result{}, err
	}
	r := t.result(ctx, ledger, f)
	r.QuietSeconds = took.Seconds()
	if len(ledger) != r.Answered {
		return r, fmt.Errorf("%w: %s: %d redirects were answered under %d traces", errVoid, t.name, r.Answered, len(ledger))
	}
	return r, t.valid(r)
}

// valid returns an error when the trial is void.
func (t *trial) valid(r result) error {
	switch {
	case r.Answered < leastAnswered:
		return fmt.Errorf("%w: %s: %d redirects were answered, not %d: %s", errVoid, t.name, r.Answered, leastAnswered, t.client.complaint())
	case t.client.tally(during).attempts == 0:
		return fmt.Errorf("%w: %s: nothing was asked while it lasted", errVoid, t.name)
	}
	return nil
}

// note is shown with the row.
func (t *trial) note(format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

// sleep waits for a while, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// until polls until something holds, or returns an error that says it never did.
func until(ctx context.Context, within time.Duration, what string, holds func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		if holds() {
			tick.Stop()
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: not within %v: %s", errVoid, within, what)
		}
	}
}
