package cmd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/linktrail/linktrail/internal/outage"
)

// How soon work is tried again, and how often a wait that goes on is told.
const (
	tryAgain  = 2 * time.Second
	tellAgain = 30 * time.Second
)

// patience tries work again for as long as servers cannot be reached, as when all of them are started at once.
type patience struct {
	until time.Time
	tell  func(string)
}

// try returns nil once work does, and its error when that is no outage or time is up.
func (p patience) try(ctx context.Context, what string, work func(context.Context) error) error {
	var told time.Time
	for {
		err := work(ctx)
		if err == nil || !away(err) || ctx.Err() != nil {
			return err
		}
		left := time.Until(p.until)
		if left <= 0 {
			return err
		}
		if time.Since(told) >= tellAgain {
			p.tell(fmt.Sprintf("waiting for %s, for %v at most: %s", what, left.Round(time.Second), oneLine(err)))
			told = time.Now()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(tryAgain, left)):
		}
	}
}

// away reports whether a server cannot be reached, or cannot do it yet: the first of several brokers to be up refuses a
// topic for which it knows too few. So says an answer in another protocol: until a cluster has made the way to a new
// Service, what is sent there leaves the cluster, and a proxy may answer.
func away(err error) bool {
	if _, ok := errors.AsType[*pgproto3.ExceededMaxBodyLenErr](err); ok {
		return true
	}
	const notKafka = "invalid large response size" // franz-go's error has no type
	if err != nil && strings.Contains(err.Error(), notKafka) {
		return true
	}
	return outage.Of(err) || kerr.IsRetriable(err) || errors.Is(err, kerr.InvalidReplicationFactor)
}
