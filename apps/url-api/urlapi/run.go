// Package urlapi is the service url-api: it redirects visitors at its front door and serves the link API behind the
// other.
package urlapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	// Statistics are by the caller's time zone; images need not hold the database.
	_ "time/tzdata"

	"github.com/redis/go-redis/v9"
	"github.com/zeromicro/go-zero/core/logx"
	"github.com/zeromicro/go-zero/core/proc"
	"github.com/zeromicro/go-zero/zrpc"
	"golang.org/x/sync/errgroup"

	"github.com/linktrail/linktrail/apps/url-api/internal/config"
	"github.com/linktrail/linktrail/apps/url-api/internal/door"
	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/linkcache"
	"github.com/linktrail/linktrail/internal/ops"
	"github.com/linktrail/linktrail/internal/store"
	"github.com/linktrail/linktrail/internal/telemetry"
)

// Run serves until ctx ends, then stops in order and returns nil: it takes no further requests, answers those in flight,
// sends the clicks that are left, flushes spans and closes. A configuration that is wrong, a port that is taken and a
// store that is not migrated are errors at the start; a store, Redis, Kafka or analytics-rpc that is away is none.
// go-zero's state is the process's: run it once at a time.
func Run(ctx context.Context, configFile string) error {
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

// service is what wire makes, serve starts and drain ends; what is nil was not made.
type service struct {
	config config.Config

	telemetry *telemetry.Provider
	ops       *ops.Server
	store     store.Store
	redis     redis.UniversalClient
	cache     *linkcache.Cache
	clicks    clickstream.Publisher
	countries *click.Countries
	analytics zrpc.Client
	door      *door.Door
	api       *api

	doorListener, apiListener net.Listener

	running  *errgroup.Group    // the listeners, once serve has started them
	unfollow context.CancelFunc // ends the cache's following of its channel
	followed chan error         // tells that it has ended
}

// serve opens all ports before it answers on any, and returns when it is time to stop.
func (s *service) serve(ctx context.Context) (err error) {
	if err := s.ops.Listen(); err != nil {
		return err
	}
	if s.doorListener, err = listen("Door.Addr", s.config.Door.Addr); err != nil {
		return err
	}
	if s.apiListener, err = listen("Host, Port", apiAddr(s.config)); err != nil {
		return err
	}

	following, unfollow := context.WithCancel(context.Background())
	running, stopping := errgroup.WithContext(ctx)
	s.unfollow, s.followed, s.running = unfollow, make(chan error, 1), running
	go func() { s.followed <- s.cache.Run(following) }()
	running.Go(func() error { return s.door.Serve(s.doorListener) })
	running.Go(func() error { return s.api.serve(s.apiListener) })
	running.Go(s.ops.Serve)
	logx.Infow("serving", logx.Field("door", s.doorListener.Addr().String()),
		logx.Field("api", s.apiListener.Addr().String()), logx.Field("ops", s.ops.Addr()))

	<-stopping.Done() // ctx has ended, or one of them has failed: then drain tells why
	logx.Info("stopping")
	return nil
}
