// Package config is the configuration of url-api.
package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/zeromicro/go-zero/core/conf"
	"github.com/zeromicro/go-zero/core/proc"
	"github.com/zeromicro/go-zero/rest"
	"github.com/zeromicro/go-zero/zrpc"

	"github.com/linktrail/linktrail/apps/url-api/internal/console"
	"github.com/linktrail/linktrail/apps/url-api/internal/door"
	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/journal"
	"github.com/linktrail/linktrail/internal/linkcache"
	"github.com/linktrail/linktrail/internal/ops"
	"github.com/linktrail/linktrail/internal/store"
)

// Config is what etc/url-api.yaml holds. ${NAME} in the file is the environment's variable NAME. go-zero's keys, Host
// and Port among them, are those of the API.
type Config struct {
	rest.RestConf
	// IdleTimeout is how long the API keeps a connection for the next request.
	IdleTimeout time.Duration `json:",default=2m"`
	// PublicURL is where visitors reach the front door; short addresses begin with it.
	PublicURL string
	// OwnHosts are further hosts under which linktrail is reached, as host or host:port; links must not point there.
	OwnHosts []string `json:",optional"`
	// TraceURL is where traces are seen, with {trace_id} in it, such as http://localhost:16686/trace/{trace_id}.
	TraceURL string `json:",optional"`
	// TraceQuery is where the API reads the traces that it shows.
	TraceQuery TraceQuery `json:",optional"`
	// TrustedProxies are addresses and networks whose headers are believed: traceparent at both doors, the caller's
	// address and country at the front door. Empty is loopback; the single word none is nobody.
	TrustedProxies []string `json:",optional"`
	// FollowSampled has the sampled flag of a trusted proxy's traceparent decide whether its trace is recorded here, at
	// both doors. Otherwise the ratio of Telemetry.Sampler decides, by the trace's id.
	FollowSampled bool `json:",default=true"`
	// CountryHeader names the header in which a trusted proxy tells the visitor's country.
	CountryHeader string `json:",optional"`
	// CountryDB is an MMDB file that tells countries of addresses.
	CountryDB string `json:",optional"`
	// Door is the front door.
	Door door.Config
	// Console is the page at / of the API's address.
	Console console.Config
	// Store is where links and keys are kept.
	Store store.Config
	// Redis is the cache that replicas share; without Addrs there is none.
	Redis linkcache.RedisConfig `json:",optional"`
	// LinkCache is the cache in the process.
	LinkCache linkcache.Config
	// ClickStream is where clicks go.
	ClickStream clickstream.Config
	// Journal keeps clicks on the disk until Kafka has them; without Dir there is none.
	Journal journal.Config `json:",optional"`
	// Analytics is how analytics-rpc is reached.
	Analytics zrpc.RpcClientConf
	// TelemetryOverlay is a folder whose telemetry.yaml and headers.yaml win over the Telemetry block and are followed
	// while the service runs; empty is none. See docs/tracing.md.
	TelemetryOverlay string `json:",optional"`
	// Ops is the listener for probes and metrics.
	Ops ops.Config
	// Drain is how long requests in flight and clicks not yet sent may take once the service stops.
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
	c.PublicURL = strings.TrimRight(c.PublicURL, "/")
	c.Telemetry.Disabled = true
	c.DevServer.Enabled = false
	c.Log.ServiceName = c.Name
	c.Shutdown = proc.ShutdownConf{WrapUpTime: c.Drain + margin, WaitTime: c.Drain + 2*margin}
	return c, nil
}

// Hosts are all the hosts under which linktrail is reached.
func (c Config) Hosts() []string {
	hosts := c.OwnHosts
	if u, err := url.Parse(c.PublicURL); err == nil {
		hosts = append([]string{u.Host}, hosts...)
	}
	return hosts
}

func (c Config) check() error {
	if err := checkPublicURL(c.PublicURL); err != nil {
		return err
	}
	if c.TraceURL != "" {
		u, err := url.Parse(strings.ReplaceAll(c.TraceURL, "{trace_id}", "0"))
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || !strings.Contains(c.TraceURL, "{trace_id}") {
			return fmt.Errorf("TraceURL: %q is not an http or https URL with {trace_id} in it", c.TraceURL)
		}
	}
	if _, err := c.TraceQuery.Open(); err != nil {
		return err
	}
	if _, err := door.TrustedBy(c.TrustedProxies); err != nil {
		return err
	}
	for _, part := range []interface{ Validate() error }{c.Door, c.Redis, c.ClickStream, c.Journal} {
		if err := part.Validate(); err != nil {
			return err
		}
	}
	if err := c.Store.Check(); err != nil {
		return err
	}
	if c.Port < 0 || c.Port > 65535 {
		return fmt.Errorf("Port: %d is not 0 to 65535", c.Port)
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		return errors.New("CertFile and KeyFile: one is set and the other is not; TLS needs both")
	}
	if _, _, err := net.SplitHostPort(c.Door.Addr); err != nil {
		return fmt.Errorf("Door.Addr: %q is not host:port, such as 0.0.0.0:8080", c.Door.Addr)
	}
	if len(c.Analytics.Endpoints) == 0 && c.Analytics.Target == "" {
		return errors.New("Analytics: neither Endpoints, such as [localhost:8082], nor Target is set")
	}
	for key, d := range map[string]time.Duration{"Drain": c.Drain, "IdleTimeout": c.IdleTimeout} {
		if d <= 0 {
			return fmt.Errorf("%s: %v is not a positive duration, such as 20s", key, d)
		}
	}
	if c.MaxBytes <= 0 {
		return fmt.Errorf("MaxBytes: %d is not positive", c.MaxBytes)
	}
	return nil
}

func checkPublicURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil ||
		u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return fmt.Errorf("PublicURL: %q is not an http or https URL of a host alone, such as https://go.example.com", raw)
	}
	return nil
}
