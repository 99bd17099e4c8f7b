// Package config is the configuration of analytics-consumer.
package config

import (
	"fmt"
	"time"

	"github.com/zeromicro/go-zero/core/conf"
	"github.com/zeromicro/go-zero/core/proc"
	"github.com/zeromicro/go-zero/core/service"

	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/ops"
	"github.com/linktrail/linktrail/internal/store"
)

// Config is what etc/analytics-consumer.yaml holds. ${NAME} in the file is the environment's variable NAME.
type Config struct {
	service.ServiceConf
	// Store is where clicks are written.
	Store store.Config
	// ClickStream is where clicks come from.
	ClickStream clickstream.Config
	// TelemetryOverlay is a folder whose telemetry.yaml and headers.yaml win over the Telemetry block and are followed
	// while the service runs; empty is none. See docs/tracing.md.
	TelemetryOverlay string `json:",optional"`
	// Ops is the listener for probes and metrics.
	Ops ops.Config
	// Drain is how long the batch in hand may take once the service stops; afterwards spans have EndTime.
	Drain time.Duration `json:",default=20s"`
}

// EndTime is how long the end of each part but the batch in hand may take: the last spans, the connections, the probes.
const EndTime = 5 * time.Second

// margin is what go-zero's own signal handling stays beyond our drain. kq's readers, when a rebalance is under way, take up
// to 30 s to leave their group, and spans are flushed after that.
const margin = time.Minute

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
	if err := c.ClickStream.Validate(); err != nil {
		return err
	}
	if err := c.Store.Check(); err != nil {
		return err
	}
	if c.Drain <= 0 {
		return fmt.Errorf("Drain: %v is not a positive duration, such as 20s", c.Drain)
	}
	return nil
}
