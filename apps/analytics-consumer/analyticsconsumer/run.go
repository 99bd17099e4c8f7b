// Package analyticsconsumer is the service analytics-consumer: it writes the clicks of the click stream to the store and
// continues their traces there.
package analyticsconsumer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/zeromicro/go-zero/core/logx"
	"github.com/zeromicro/go-zero/core/proc"

	"github.com/linktrail/linktrail/apps/analytics-consumer/internal/config"
	"github.com/linktrail/linktrail/apps/analytics-consumer/internal/svc"
	"github.com/linktrail/linktrail/internal/ops"
	"github.com/linktrail/linktrail/internal/telemetry"
)

// Run consumes until ctx ends, then lets the batch in hand finish, commits its offsets, flushes spans and returns nil. A
// configuration that is wrong, a port that is taken and a SQLite store that is not migrated are errors at the start; a
// database or a Kafka that is away is waited for. go-zero's state is the process's: run it once at a time.
func Run(ctx context.Context, configFile string) (err error) {
	// go-zero would end the process on its own 5.5 s after a signal: long after our drain is soon enough.
	proc.Setup(proc.ShutdownConf{WrapUpTime: time.Hour, WaitTime: 2 * time.Hour})

	traces, err := telemetry.Load(configFile, telemetry.UseEnv())
	if err != nil {
		return err
	}
	c, err := config.Load(configFile)
	if err != nil {
		return err
	}
	proc.Setup(c.Shutdown)
	if err := logx.SetUp(c.Log); err != nil {
		return fmt.Errorf("Log: %w", err)
	}

	s := &service{config: c}
	err = s.wire(ctx, traces)
	if err == nil {
		err = s.serve(ctx)
	}
	return errors.Join(err, s.end())
}

// service is what wire makes, serve runs and end ends.
type service struct {
	config    config.Config
	telemetry *telemetry.Provider
	ops       *ops.Server
	svc       *svc.ServiceContext
	opsDone   chan error
}

func (s *service) wire(ctx context.Context, traces telemetry.Config) (err error) {
	if s.telemetry, err = telemetry.Start(traces); err != nil {
		return err
	}
	s.ops = ops.New(s.config.Ops)
	s.telemetry.Register(s.ops.Registry())
	if err := s.ops.Listen(); err != nil {
		return err
	}
	if s.svc, err = svc.New(ctx, s.config, s.ops.Registry()); err != nil {
		return err
	}
	s.ops.Ready("store", ops.Once(s.svc.Store.Ping))
	s.ops.Ready("clickstream", func(context.Context) error { return s.svc.Consumer.Ready() })
	return nil
}

// serve returns when the consumer has ended: nil after ctx has, an error when the consumer or a listener failed.
func (s *service) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, s.ops.Drain)()
	s.opsDone = make(chan error, 1)
	go func() {
		err := s.ops.Serve()
		cancel()
		s.opsDone <- err
	}()
	var partitions sync.WaitGroup
	partitions.Go(func() { s.svc.Partitions.Run(ctx) })

	err := s.svc.Consumer.Run(ctx, s.svc.Ingester.Handle)
	cancel()
	partitions.Wait()
	if err != nil {
		return fmt.Errorf("click stream: %w", err)
	}
	logx.Info("stopping")
	return nil
}

// end ends whatever there is, in the order in which one part needs the other. The batch in hand is done by now.
func (s *service) end() error {
	ctx, cancel := context.WithTimeout(context.Background(), config.FlushTime)
	defer cancel()
	var errs []error
	if s.ops != nil {
		s.ops.Drain()
	}
	if s.telemetry != nil {
		errs = append(errs, s.telemetry.Shutdown(ctx))
	}
	if s.svc != nil {
		errs = append(errs, s.svc.Close(ctx))
	}
	if s.ops != nil {
		errs = append(errs, s.ops.Shutdown(ctx))
	}
	if s.opsDone != nil {
		errs = append(errs, <-s.opsDone)
	}
	return errors.Join(errs...)
}
