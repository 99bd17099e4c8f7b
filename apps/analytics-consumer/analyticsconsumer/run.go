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

	c, traces, err := load(configFile)
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

// Check reads a configuration as Run does and reports the first wrong value. It opens no other file and reaches nothing.
func Check(configFile string) error {
	_, _, err := load(configFile)
	return err
}

// load reads the service's own keys and, by itself, the Telemetry block.
func load(configFile string) (config.Config, telemetry.Config, error) {
	traces, err := telemetry.Load(configFile, telemetry.UseEnv())
	if err != nil {
		return config.Config{}, traces, err
	}
	c, err := config.Load(configFile)
	return c, traces, err
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
	if s.telemetry, err = telemetry.Start(traces, telemetry.WithOverlay(s.config.TelemetryOverlay)); err != nil {
		return err
	}
	s.ops = ops.New(s.config.Ops)
	s.telemetry.Register(s.ops.Registry())
	s.ops.Handle("GET /telemetry", s.telemetry.StatusHandler())
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
	var upkeep sync.WaitGroup
	upkeep.Go(func() { s.svc.Partitions.Run(ctx) })
	upkeep.Go(func() { s.svc.Purges.Run(ctx) })

	err := s.svc.Consumer.Run(ctx, s.svc.Ingester.Handle)
	cancel()
	upkeep.Wait()
	if err != nil {
		return fmt.Errorf("click stream: %w", err)
	}
	logx.Info("stopping")
	return nil
}

// end ends whatever there is, in the order in which one part needs the other. The batch in hand is done by now. Each part
// has a time of its own: a collector that is away must not cost another's.
func (s *service) end() error {
	if s.ops != nil {
		s.ops.Drain()
	}
	s.flushSpans()
	var errs []error
	if s.svc != nil {
		errs = append(errs, within(s.svc.Close))
	}
	if s.ops != nil {
		errs = append(errs, within(s.ops.Shutdown))
	}
	if s.opsDone != nil {
		errs = append(errs, <-s.opsDone)
	}
	return errors.Join(errs...)
}

// flushSpans tells in the log of spans that a collector did not take: the stop was in order all the same.
func (s *service) flushSpans() {
	if s.telemetry == nil {
		return
	}
	if err := within(s.telemetry.Shutdown); err != nil {
		logx.Errorw("spans were lost", logx.Field("error", err.Error()))
	}
}

func within(end func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), config.EndTime)
	defer cancel()
	return end(ctx)
}
