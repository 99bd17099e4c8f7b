// Package analyticsrpc is the service analytics-rpc: it answers zRPC calls about clicks from the store's rollups.
package analyticsrpc

import (
	"context"
	"errors"
	"fmt"
	"time"

	// Statistics are by the caller's time zone; images need not hold the database.
	_ "time/tzdata"

	"github.com/zeromicro/go-zero/core/logx"
	"github.com/zeromicro/go-zero/core/proc"

	"github.com/linktrail/linktrail/apps/analytics-rpc/internal/config"
	"github.com/linktrail/linktrail/apps/analytics-rpc/internal/svc"
	"github.com/linktrail/linktrail/internal/ops"
	"github.com/linktrail/linktrail/internal/store"
	"github.com/linktrail/linktrail/internal/telemetry"
)

// Run serves until ctx ends, then answers what is in flight, flushes spans and returns nil. A configuration that is
// wrong, a port that is taken and a store that is not migrated are errors at the start. go-zero's state is the
// process's: run it once at a time.
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
	return errors.Join(err, s.drain())
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

// service is what wire makes, serve starts and drain ends.
type service struct {
	config    config.Config
	telemetry *telemetry.Provider
	ops       *ops.Server
	store     store.Store
	rpc       *rpcServer
	opsDone   chan error
}

func (s *service) wire(ctx context.Context, traces telemetry.Config) (err error) {
	if s.telemetry, err = telemetry.Start(traces, telemetry.WithOverlay(s.config.TelemetryOverlay)); err != nil {
		return err
	}
	s.ops = ops.New(s.config.Ops)
	s.telemetry.Register(s.ops.Registry())
	s.ops.Handle("GET /telemetry", s.telemetry.StatusHandler())
	if s.store, err = store.Open(ctx, s.config.Store); err != nil {
		return err
	}
	if s.rpc, err = newRPCServer(s.config.RpcServerConf, s.config.MaxConnectionAge, &svc.ServiceContext{Clicks: s.store}); err != nil {
		return err
	}
	s.ops.Ready("store", ops.Once(s.store.Ping))
	s.ops.Ready("rpc", s.rpc.ready)
	return nil
}

// serve returns nil when ctx has ended, and an error when a listener could not start or failed.
func (s *service) serve(ctx context.Context) error {
	if err := s.ops.Listen(); err != nil {
		return err
	}
	s.opsDone = make(chan error, 1)
	go func() { s.opsDone <- s.ops.Serve() }()
	s.rpc.start()
	logx.Infow("serving", logx.Field("grpc", s.config.ListenOn), logx.Field("ops", s.ops.Addr()))

	select {
	case <-ctx.Done():
		logx.Info("stopping")
		return nil
	case <-s.rpc.done:
		return s.rpc.err
	case err := <-s.opsDone:
		s.opsDone = nil
		return err
	}
}

// drain ends whatever there is, in the order in which one part needs the other, within the drain deadline.
func (s *service) drain() error {
	ctx, cancel := context.WithTimeout(context.Background(), s.config.Drain)
	defer cancel()
	var errs []error
	if s.ops != nil {
		s.ops.Drain()
	}
	if s.rpc != nil {
		errs = append(errs, s.rpc.shutdown(ctx))
	}
	if s.telemetry != nil {
		s.flushSpans()
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	if s.ops != nil {
		errs = append(errs, s.ops.Shutdown(ctx))
	}
	if s.opsDone != nil {
		errs = append(errs, <-s.opsDone)
	}
	return errors.Join(errs...)
}

// flushDeadline is how long the last spans may take, beyond the drain deadline.
const flushDeadline = 5 * time.Second

// flushSpans comes after the last call. Spans that a collector did not take are told in the log: the stop was in order
// all the same.
func (s *service) flushSpans() {
	ctx, cancel := context.WithTimeout(context.Background(), flushDeadline)
	defer cancel()
	if err := s.telemetry.Shutdown(ctx); err != nil {
		logx.Errorw("spans were lost", logx.Field("error", err.Error()))
	}
}
