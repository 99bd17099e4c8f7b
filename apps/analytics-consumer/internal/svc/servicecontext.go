// Package svc holds what analytics-consumer works with, from its start to its end.
package svc

import (
	"context"
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/linktrail/linktrail/apps/analytics-consumer/internal/config"
	"github.com/linktrail/linktrail/apps/analytics-consumer/internal/ingest"
	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/driver"
	"github.com/linktrail/linktrail/internal/store"
)

// ServiceContext is the store, the click stream and what lies between them. Close ends it.
type ServiceContext struct {
	Store      store.Store
	Consumer   clickstream.Consumer
	Ingester   *ingest.Ingester
	Partitions *Partitions
	Purges     *Purges

	deadLetters driver.DeadLetterWriter
}

// New opens the store and makes the clients of the click stream, which connect when they are used. Whoever has a
// ServiceContext must run its Consumer.
func New(ctx context.Context, c config.Config, r prometheus.Registerer) (*ServiceContext, error) {
	s := &ServiceContext{}
	if err := s.open(ctx, c, r); err != nil {
		return nil, errors.Join(err, s.Close(ctx))
	}
	return s, nil
}

func (s *ServiceContext) open(ctx context.Context, c config.Config, r prometheus.Registerer) (err error) {
	if s.Store, err = store.Open(ctx, c.Store); err != nil {
		return err
	}
	if s.deadLetters, err = driver.DeadLetters(c.ClickStream); err != nil {
		return err
	}
	if s.Consumer, err = driver.Consumer(c.ClickStream, c.Drain, driver.Options{Registerer: r}); err != nil {
		return err
	}
	s.Ingester = ingest.New(ingest.Config{Store: s.Store, DeadLetters: s.deadLetters, Group: c.ClickStream.Group, Registerer: r})
	s.Partitions = NewPartitions(s.Store, r)
	s.Purges = NewPurges(s.Store, r)
	return nil
}

// Close lets go of the connections. The consumer must have ended.
func (s *ServiceContext) Close(ctx context.Context) error {
	var errs []error
	if s.deadLetters != nil {
		errs = append(errs, s.deadLetters.Close(ctx))
	}
	if s.Store != nil {
		errs = append(errs, s.Store.Close())
	}
	return errors.Join(errs...)
}
