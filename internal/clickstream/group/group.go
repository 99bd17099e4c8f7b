// Package group asks the brokers how a consumer group stands: which members it has, and how far behind they are.
package group

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	franz "github.com/twmb/franz-go/pkg/kgo"
)

// The pauses between two questions.
const (
	// joining is the pause until the members are all there and stable.
	joining = time.Second
	// joined is the pause from then on.
	joined = 10 * time.Second
	// patience is how long an answer may take.
	patience = 5 * time.Second
)

// Config says what to watch.
type Config struct {
	// Client reaches the brokers; it stays the caller's.
	Client *franz.Client
	Topic  string
	Group  string
	// Mine tells our members from others.
	Mine func(kadm.DescribedGroupMember) bool
	// Members is how many of ours there will be.
	Members int
}

// Watch is what is known of a group. Safe for concurrent use.
type Watch struct {
	config Config
	lag    atomic.Int64
	ready  atomic.Pointer[error]
}

// NewWatch makes a Watch that knows nothing yet.
func NewWatch(c Config) *Watch {
	w := &Watch{config: c}
	w.set(errors.New("the consumer group is not yet joined"))
	return w
}

// Run asks every few seconds until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	admin := kadm.NewClient(w.config.Client)
	for {
		pause := joined
		if w.ask(ctx, admin) != nil {
			pause = joining
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// Lag is how many records of our members' partitions are not committed, by the last answer.
func (w *Watch) Lag() int64 { return w.lag.Load() }

// Ready is nil when by the last answer the group was stable and all of our members were in it.
func (w *Watch) Ready() error { return *w.ready.Load() }

func (w *Watch) set(err error) { w.ready.Store(&err) }

func (w *Watch) ask(ctx context.Context, admin *kadm.Client) error {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := w.describe(limited, admin)
	w.set(err)
	return err
}

func (w *Watch) describe(ctx context.Context, admin *kadm.Client) error {
	lags, err := admin.Lag(ctx, w.config.Group)
	if err != nil {
		return fmt.Errorf("describe the consumer group: %w", err)
	}
	described, ok := lags[w.config.Group]
	if !ok {
		return errors.New("the consumer group is not known")
	}
	if err := described.Error(); err != nil {
		return fmt.Errorf("describe the consumer group: %w", err)
	}
	var members int
	for _, m := range described.Members {
		if w.config.Mine(m) {
			members++
		}
	}
	var lag int64
	for _, p := range described.Lag[w.config.Topic] {
		if p.Member != nil && w.config.Mine(*p.Member) && p.Lag > 0 {
			lag += p.Lag
		}
	}
	w.lag.Store(lag)
	if described.State != "Stable" || members < w.config.Members {
		return fmt.Errorf("the consumer group is %s and has %d of our %d members", described.State, members, w.config.Members)
	}
	return nil
}
