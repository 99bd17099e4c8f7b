// Package config is the configuration of analytics-rpc.
package config

import (
	"fmt"
	"net"
	"time"

	"github.com/zeromicro/go-zero/core/conf"
	"github.com/zeromicro/go-zero/core/proc"
	"github.com/zeromicro/go-zero/zrpc"

	"github.com/linktrail/linktrail/internal/ops"
	"github.com/linktrail/linktrail/internal/store"
)

// Config is what etc/analytics-rpc.yaml holds. ${NAME} in the file is the environment's variable NAME.
type Config struct {
	zrpc.RpcServerConf
	// Store is where links and clicks are kept.
	Store store.Config
	// TelemetryOverlay is a folder whose telemetry.yaml and headers.yaml win over the Telemetry block and are followed
	// while the service runs; empty is none. See docs/tracing.md.
	TelemetryOverlay string `json:",optional"`
	// Ops is the listener for probes and metrics.
	Ops ops.Config
	// MaxConnectionAge is how long a client keeps its connection, a tenth more or less; its calls in flight are finished
	// first. A client asks DNS again only when a connection ends, so this is how soon it finds a new replica; 0s is for ever.
	MaxConnectionAge time.Duration `json:",default=0s"`
	// Drain is how long calls in flight may take once the service stops.
	Drain time.Duration `json:",default=20s"`
}

// margin is what go-zero's own signal handling stays beyond our drain.
const margin = 10 * time.Second

// Load reads the configuration; an error names the key, its value and what is allowed. The parts of go-zero that
// linktrail does itself (telemetry, the development server, the end of the process) are switched off in it.
func Load(file string) (Config, error) {
	var c Config
	if err := conf.Load(file, &c, conf.UseEnv()); err != nil {
		return c, fmt.Errorf("%s: %w", file, err)
	}
	if err := c.check(); err != nil {
		return c, fmt.Errorf("%s: %w", file, err)
	}
	c.Telemetry.Disabled = true
	c.DevServer.Enabled = false
	c.Log.ServiceName = c.Name
	c.Shutdown = proc.ShutdownConf{WrapUpTime: c.Drain + margin, WaitTime: c.Drain + 2*margin}
	return c, nil
}

func (c Config) check() error {
	if _, _, err := net.SplitHostPort(c.ListenOn); err != nil {
		return fmt.Errorf("ListenOn: %q is not host:port, such as 0.0.0.0:8082", c.ListenOn)
	}
	if err := c.Store.Check(); err != nil {
		return err
	}
	if c.Drain <= 0 {
		return fmt.Errorf("Drain: %v is not a positive duration, such as 20s", c.Drain)
	}
	if c.MaxConnectionAge < 0 {
		return fmt.Errorf("MaxConnectionAge: %v is negative; it is a duration such as 30s, or 0s for no limit", c.MaxConnectionAge)
	}
	if c.HasEtcd() {
		return fmt.Errorf("Etcd: analytics-rpc is not registered anywhere; leave it out")
	}
	return nil
}
