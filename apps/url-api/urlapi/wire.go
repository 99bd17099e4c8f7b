package urlapi

import (
	"context"
	"fmt"
	"time"

	"github.com/zeromicro/go-zero/zrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/linktrail/linktrail/apps/analytics-rpc/pb"
	"github.com/linktrail/linktrail/apps/url-api/internal/door"
	"github.com/linktrail/linktrail/apps/url-api/internal/svc"
	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/clickstream/driver"
	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/linkcache"
	"github.com/linktrail/linktrail/internal/ops"
	"github.com/linktrail/linktrail/internal/store"
	"github.com/linktrail/linktrail/internal/telemetry"
	"github.com/linktrail/linktrail/internal/tracequery"
)

// wire makes all parts. Telemetry comes first, so that everything else finds its provider.
func (s *service) wire(ctx context.Context, traces telemetry.Config) (err error) {
	c := s.config
	options := []telemetry.Option{telemetry.WithOverlay(c.TelemetryOverlay)}
	if !c.FollowSampled {
		options = append(options, telemetry.IgnoreRemoteFlags())
	}
	if s.telemetry, err = telemetry.Start(traces, options...); err != nil {
		return err
	}
	s.ops = ops.New(c.Ops)
	s.telemetry.Register(s.ops.Registry())
	s.ops.Handle("GET /telemetry", s.telemetry.StatusHandler())
	if s.store, err = store.Open(ctx, c.Store); err != nil {
		return err
	}
	s.ops.Ready("store", ops.Once(s.store.Ping))
	if s.redis, err = linkcache.OpenRedis(c.Redis); err != nil {
		return err
	}
	s.cache = linkcache.New(c.LinkCache, s.store, s.redis, linkcache.WithRegisterer(s.ops.Registry()))
	if s.clicks, err = driver.Publisher(c.ClickStream, driver.Options{Registerer: s.ops.Registry(), TracerProvider: s.telemetry.Light(), Journal: c.Journal}); err != nil {
		return err
	}
	if c.CountryDB != "" {
		if s.countries, err = click.OpenCountries(c.CountryDB); err != nil {
			return fmt.Errorf("CountryDB: %w", err)
		}
	}
	if s.door, err = door.New(c.Door, door.Deps{
		Links:          s.cache,
		Clicks:         s.clicks,
		Countries:      s.countries,
		TrustedProxies: c.TrustedProxies,
		CountryHeader:  c.CountryHeader,
		Registry:       s.ops.Registry(),
		Tracers:        s.telemetry.Light(),
	}); err != nil {
		return err
	}
	if s.analytics, err = dialAnalytics(c.Analytics); err != nil {
		return err
	}
	return s.wireAPI(traces.Name)
}

// wireAPI makes the API; name is that of url-api in its spans.
func (s *service) wireAPI(name string) error {
	trusted, err := door.TrustedBy(s.config.TrustedProxies)
	if err != nil {
		return err
	}
	svcCtx := svc.NewServiceContext(s.store, s.store)
	svcCtx.Cache = s.cache
	svcCtx.Analytics = pb.NewAnalyticsClient(s.analytics.Conn())
	svcCtx.Targets = link.TargetPolicy{OwnHosts: s.config.Hosts()}
	svcCtx.PublicURL = s.config.PublicURL
	svcCtx.TraceURL = s.config.TraceURL
	reader, err := s.config.TraceQuery.Open(tracequery.WithLimits(svc.MaxTraceSpans, svc.MaxTraceBytes))
	if err != nil {
		return err
	}
	svcCtx.Traces = svc.NewTraces(reader, name, traceTimeout(s.config.Timeout))
	svcCtx.MaxBody = s.config.MaxBytes
	s.api, err = newAPI(s.config, svcCtx, trusted)
	return err
}

// traceTimeout is how long reading a trace may take, so that its answer is still ours when Jaeger's does not come: the
// API's own timeout, in milliseconds, would answer first otherwise.
func traceTimeout(timeout int64) time.Duration {
	const most = 3 * time.Second
	if timeout <= 0 {
		return most
	}
	return min(most, time.Duration(timeout)*time.Millisecond*2/3)
}

// dialAnalytics connects to analytics-rpc in the background; while it is away, statistics are, and nothing else.
func dialAnalytics(c zrpc.RpcClientConf) (zrpc.Client, error) {
	c.NonBlock = true
	// gRPC would let two minutes pass between attempts once it has been away for long.
	backoff := backoff.DefaultConfig
	backoff.MaxDelay = 5 * time.Second
	client, err := zrpc.NewClient(c, zrpc.WithDialOption(grpc.WithConnectParams(
		grpc.ConnectParams{Backoff: backoff, MinConnectTimeout: 3 * time.Second})))
	if err != nil {
		return nil, fmt.Errorf("Analytics: %w", err)
	}
	return client, nil
}
