package up

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/zeromicro/go-zero/core/conf"
	"sigs.k8s.io/yaml"

	"github.com/linktrail/linktrail/internal/clickstream"
)

// drain is how long a service may take to finish what it has, once it is asked to stop.
const drain = 15 * time.Second

// drainMargin is what a service may take beyond: its last spans and the closing of its connections.
const drainMargin = 12 * time.Second

// dollar is a variable of the services' environment that stands for a dollar sign: their YAML may hold ${NAME}, and a
// value that has a dollar sign of its own must come through.
const dollar = "LINKTRAIL_DOLLAR"

// spec is a service to run.
type spec struct {
	name   string
	config string // its YAML
	ops    string // host:port
	serves string // what people find there
	doors  []string
}

// writeConfigs writes the services' YAML. The order is that in which they are stopped.
func (p *plan) writeConfigs(o Options) ([]spec, error) {
	specs := []spec{
		{name: URLAPI, ops: p.addrs[urlAPIOpsPort], serves: p.url() + ", API " + p.apiURL(),
			doors: []string{reachable(p.addrs[doorPort]), reachable(p.addrs[apiPort])}},
		{name: AnalyticsConsumer, ops: p.addrs[consumerOpsPort], serves: "writes clicks"},
		{name: AnalyticsRPC, ops: p.addrs[rpcOpsPort], serves: "answers statistics", doors: []string{p.addrs[rpcPort]}},
	}
	for i := range specs {
		block, err := p.config(specs[i].name, o)
		if err != nil {
			return nil, err
		}
		content, err := yaml.Marshal(block)
		if err != nil {
			return nil, err
		}
		text := "# Written by `linktrail up` at each start.\n" + strings.ReplaceAll(string(content), "$", "${"+dollar+"}")
		specs[i].config = filepath.Join(o.Data, "etc", specs[i].name+".yaml")
		if err := writeFile(specs[i].config, []byte(text)); err != nil {
			return nil, err
		}
	}
	return specs, nil
}

// Postgres is the DSN of the PostgreSQL that the latest `linktrail up` on a folder used, empty when it used SQLite or when
// there was none.
func Postgres(data string) (string, error) {
	file := filepath.Join(data, "etc", URLAPI+".yaml")
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var c struct{ Store struct{ DSN string } }
	if err := yaml.Unmarshal([]byte(strings.ReplaceAll(string(content), "${"+dollar+"}", "$")), &c); err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	if strings.HasPrefix(c.Store.DSN, "sqlite:") { // its path is that of the folder, which may have been moved
		return "", nil
	}
	return c.Store.DSN, nil
}

// config is a service's configuration, with what the user's YAML says on top.
func (p *plan) config(service string, o Options) (map[string]any, error) {
	traces, err := p.telemetry(service, o)
	if err != nil {
		return nil, err
	}
	c := map[string]any{
		"Name":      service,
		"Log":       map[string]any{"Encoding": "json", "Level": "info", "Stat": false},
		"Store":     map[string]any{"DSN": p.dsn},
		"Telemetry": traces,
		"Drain":     drain.String(),

		"TelemetryOverlay": OverlayDir(o.Data),
	}
	if service != AnalyticsConsumer {
		// go-zero refuses requests while the machine's cores are busy, whoever keeps them busy: here that is often a compiler,
		// and the console would stay blank.
		c["CpuThreshold"] = 0
	}
	stream := map[string]any{"Driver": o.Driver, "Brokers": p.brokers}
	switch service {
	case URLAPI:
		host, number, err := net.SplitHostPort(p.addrs[apiPort])
		if err != nil {
			return nil, err
		}
		port, err := strconv.Atoi(number)
		if err != nil {
			return nil, err
		}
		c["Host"], c["Port"], c["Timeout"], c["MaxBytes"] = host, port, 3000, 65536
		c["Middlewares"] = map[string]any{"Log": false}
		c["PublicURL"], c["OwnHosts"] = p.publicURL(o), p.ownHosts()
		c["Door"] = map[string]any{"Addr": p.addrs[doorPort]}
		c["Console"] = map[string]any{"Enabled": true}
		c["Redis"], c["ClickStream"] = p.redis, stream
		c["Journal"] = map[string]any{"Dir": filepath.Join(o.Data, "journal")}
		c["Analytics"] = map[string]any{"Endpoints": []string{p.addrs[rpcPort]}, "NonBlock": true}
		c["Ops"] = map[string]any{"Addr": p.addrs[urlAPIOpsPort]}
		if see := traceURL(o.Jaeger); see != "" {
			c["TraceURL"] = see
		}
		if source := p.traceQuery(o); !names(o.Services[service], "TraceQuery") && source != nil {
			c["TraceQuery"] = source
		}
	case AnalyticsRPC:
		c["ListenOn"], c["Timeout"] = p.addrs[rpcPort], 2000
		c["Ops"] = map[string]any{"Addr": p.addrs[rpcOpsPort]}
	case AnalyticsConsumer:
		c["ClickStream"] = stream
		c["Ops"] = map[string]any{"Addr": p.addrs[consumerOpsPort]}
	}
	return merge(c, o.Services[service]), nil
}

// console is the address of the console with the key in it, for a browser; empty where the user's YAML has it off. The key
// is in the fragment, which no browser sends.
func (p *plan) console(o Options, key string) string {
	block, err := p.config(URLAPI, o)
	if err != nil {
		return ""
	}
	if page, ok := block["Console"].(map[string]any); !ok || page["Enabled"] != true {
		return ""
	}
	return p.apiURL() + "/#key=" + key
}

// telemetry is a service's Telemetry block.
func (p *plan) telemetry(service string, o Options) (map[string]any, error) {
	if p.traces != "" {
		return map[string]any{"Batcher": "file", "Endpoint": filepath.Join(p.traces, service+".jsonl"), "Sampler": 1.0}, nil
	}
	block, err := exporter(o.OTLP)
	if err != nil {
		return nil, err
	}
	block["Sampler"] = 1.0
	return block, nil
}

// traceQuery is where the API reads traces: where the services' spans go, nil when that cannot be read.
func (p *plan) traceQuery(o Options) map[string]any {
	switch {
	case p.traces != "":
		return map[string]any{"Files": p.traces}
	case o.Jaeger != "":
		return map[string]any{"Jaeger": o.Jaeger}
	}
	return nil
}

// clickStream is url-api's ClickStream block as its driver will see it.
func (p *plan) clickStream(o Options) (clickstream.Config, error) {
	block, err := p.config(URLAPI, o)
	if err != nil {
		return clickstream.Config{}, err
	}
	content, err := json.Marshal(block)
	if err != nil {
		return clickstream.Config{}, err
	}
	var c struct{ ClickStream clickstream.Config }
	if err := conf.LoadFromJsonBytes(content, &c); err != nil {
		return clickstream.Config{}, fmt.Errorf("services: %s: %w", URLAPI, err)
	}
	return c.ClickStream, nil
}

// names reports whether a block has a key; letter case makes no difference.
func names(block map[string]any, key string) bool {
	for known := range block {
		if strings.EqualFold(known, key) {
			return true
		}
	}
	return false
}

// merge puts the values of over into base, block by block. Letter case of keys makes no difference, as in go-zero.
func merge(base, over map[string]any) map[string]any {
	for key, value := range over {
		for known := range base {
			if strings.EqualFold(known, key) {
				key = known
			}
		}
		inner, isBlock := value.(map[string]any)
		known, isKnown := base[key].(map[string]any)
		if isBlock && isKnown {
			value = merge(known, inner)
		}
		base[key] = value
	}
	return base
}
