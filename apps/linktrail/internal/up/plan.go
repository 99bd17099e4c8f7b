package up

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// port names what listens.
type port int

const (
	doorPort port = iota
	apiPort
	rpcPort
	urlAPIOpsPort
	rpcOpsPort
	consumerOpsPort
	kafkaPort
	redisPort
)

// usual are the ports that documentation speaks of; Kafka and Redis in this process take any.
var usual = [...]struct {
	port int
	what string
}{
	doorPort:        {8080, "the front door"},
	apiPort:         {8081, "the API"},
	rpcPort:         {8082, AnalyticsRPC},
	urlAPIOpsPort:   {6060, "ops of " + URLAPI},
	rpcOpsPort:      {6061, "ops of " + AnalyticsRPC},
	consumerOpsPort: {6062, "ops of " + AnalyticsConsumer},
}

// plan is where everything listens and what it talks to. The ports are held until release, so that none is given twice.
type plan struct {
	held  map[port]net.Listener
	addrs map[port]string
	notes []string // what people should know

	dsn     string
	brokers []string
	redis   map[string]any // the Redis block
	traces  string         // the folder of span files; empty when there is a collector
}

func newPlan(o Options) (p plan, err error) {
	p = plan{held: map[port]net.Listener{}, addrs: map[port]string{}, dsn: o.Postgres, brokers: splitList(o.Kafka)}
	defer func() {
		if err != nil {
			p.release()
		}
	}()
	if p.redis, err = redisBlock(o.Redis); err != nil {
		return p, err
	}
	if o.Postgres == "" {
		p.dsn = "sqlite:" + filepath.Join(o.Data, "linktrail.db")
	}
	if o.OTLP == "" {
		p.traces = filepath.Join(o.Data, "traces")
	}
	// What was asked for comes first: a usual port must not take it.
	for _, given := range []struct {
		of         port
		flag, addr string
	}{{doorPort, "addr", o.Addr}, {apiPort, "api-addr", o.APIAddr}} {
		if given.addr == "" {
			continue
		}
		ln, err := holdGiven(given.flag, given.addr)
		if err != nil {
			return p, err
		}
		p.hold(given.of, ln)
	}
	for of, u := range usual {
		if err := p.holdUsual(port(of), u.port, u.what); err != nil {
			return p, err
		}
	}
	for _, of := range []port{kafkaPort, redisPort} {
		ln, err := holdFree(loopback)
		if err != nil {
			return p, err
		}
		p.hold(of, ln)
	}
	return p, nil
}

func (p *plan) holdUsual(of port, number int, what string) error {
	if p.held[of] != nil {
		return nil
	}
	ln, replaced, err := holdUsual(number)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	p.hold(of, ln)
	if replaced {
		p.notes = append(p.notes, fmt.Sprintf("port %d is taken: %s listens on %s", number, what, p.addrs[of]))
	}
	return nil
}

func (p *plan) hold(of port, ln net.Listener) {
	p.held[of], p.addrs[of] = ln, ln.Addr().String()
}

// take hands a listener over; whoever takes it closes it.
func (p *plan) take(of port) net.Listener {
	ln := p.held[of]
	delete(p.held, of)
	return ln
}

// release lets the ports go that were not taken.
func (p *plan) release() {
	for of, ln := range p.held {
		_ = ln.Close()
		delete(p.held, of)
	}
}

// url is where the front door is reached from this machine, apiURL where the API is.
func (p *plan) url() string    { return "http://" + reachable(p.addrs[doorPort]) }
func (p *plan) apiURL() string { return "http://" + reachable(p.addrs[apiPort]) }

// reachable is an address to connect to for one to listen on.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	ip := net.ParseIP(host)
	switch {
	case ip == nil || !ip.IsUnspecified():
		return addr
	case ip.To4() == nil && !dualStack(addr):
		return net.JoinHostPort("::1", port)
	}
	return net.JoinHostPort(loopback, port)
}

// dualStack reports whether an address of all interfaces takes IPv4 too, as Go's listeners on [::] do by default.
func dualStack(addr string) bool { return strings.HasPrefix(addr, "[::]") }

// ownHosts are the names of this machine under which the doors are reached; a link to one would redirect to itself.
func (p *plan) ownHosts() []string {
	names := []string{loopback, "localhost", "::1"}
	if name, err := os.Hostname(); err == nil && name != "" {
		names = append(names, name)
	}
	var hosts []string
	for _, of := range []port{doorPort, apiPort} {
		host, number, err := net.SplitHostPort(p.addrs[of])
		if err != nil {
			continue
		}
		for _, name := range append([]string{host}, names...) {
			hosts = append(hosts, net.JoinHostPort(name, number))
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// publicURL is what short addresses begin with.
func (p *plan) publicURL(o Options) string {
	if o.PublicURL != "" {
		return o.PublicURL
	}
	return p.url()
}

// traceURL is where url-api points people who want to see a trace.
func traceURL(jaeger string) string {
	if jaeger == "" {
		return ""
	}
	u, err := url.Parse(jaeger)
	if err != nil {
		return ""
	}
	return strings.TrimRight(u.String(), "/") + "/trace/{trace_id}"
}
