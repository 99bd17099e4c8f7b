package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/linktrail/linktrail/apps/analytics-consumer/internal/ingest"
	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/kgo"
)

type member struct {
	name   string
	stop   context.CancelFunc
	dead   atomic.Bool
	doomed atomic.Int32 // before or after, when it is to die at its next batch
	ended  chan error
}

const (
	before = 1
	after  = 2
)

var errDead = errors.New("the process is dead")

// join starts a consumer, of which there are three at most.
func (w *world) join(step) error {
	if w.living() == 3 {
		return nil
	}
	w.names++
	m := &member{name: fmt.Sprintf("consumer-%d", w.names), ended: make(chan error, 1)}
	o := kgo.Options{ClientID: m.name, SessionTimeout: 2 * time.Second}
	consumer, err := kgo.NewConsumer(w.config, 100*time.Millisecond, o)
	if err != nil {
		return err
	}
	letters, err := kgo.NewDeadLetters(w.config, o)
	if err != nil {
		return err
	}
	i := ingest.New(ingest.Config{Store: &brittleStore{Store: w.store, fault: &w.fails}, DeadLetters: letters, Group: w.config.Group})
	ctx, stop := context.WithCancel(w.ctx)
	m.stop = stop
	w.ending.Go(func() {
		err := consumer.Run(ctx, func(ctx context.Context, batch []clickstream.Record) error {
			if m.dead.Load() || m.doomed.Load() == before {
				w.die(m)
				return errDead
			}
			err := i.Handle(ctx, batch)
			if err == nil && m.doomed.Load() == after {
				w.die(m)
				return errDead
			}
			return err
		})
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = letters.Close(ended)
		m.ended <- err
	})
	w.members = append(w.members, m)
	return nil
}

func (w *world) living() (n int) {
	for _, m := range w.members {
		if !m.dead.Load() {
			n++
		}
	}
	return n
}

// die has nobody hear of a member any more, not even that it leaves.
func (w *world) die(m *member) {
	m.dead.Store(true)
	w.gate.ban(m.name)
	m.stop()
}

func (w *world) doom(s step, when int32) error {
	if len(w.members) > 0 {
		w.members[s.pick%uint64(len(w.members))].doomed.Store(when)
	}
	return nil
}

func (w *world) killBefore(s step) error { return w.doom(s, before) }
func (w *world) killAfter(s step) error  { return w.doom(s, after) }

// leave stops a consumer as SIGTERM does.
func (w *world) leave(s step) error {
	if len(w.members) == 0 {
		return nil
	}
	i := int(s.pick % uint64(len(w.members)))
	w.members[i].stop()
	w.members = append(w.members[:i], w.members[i+1:]...)
	return nil
}
