package up

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/linktrail/linktrail/internal/clickstream"
)

// OptionError says which option is wrong, and what is allowed.
type OptionError struct{ text string }

func (e *OptionError) Error() string { return e.text }

func wrong(format string, args ...any) error { return &OptionError{fmt.Sprintf(format, args...)} }

// check refuses what cannot work before anything is started.
func (o Options) check() error {
	if o.Data == "" {
		return wrong("--data is empty: it is the folder that everything is kept in, such as ./data")
	}
	if o.Postgres != "" && !strings.HasPrefix(o.Postgres, "postgres://") && !strings.HasPrefix(o.Postgres, "postgresql://") {
		return wrong("--postgres is not a DSN such as postgres://user:password@host:5432/database")
	}
	if o.Driver != clickstream.DriverKgo && o.Driver != clickstream.DriverKq {
		return wrong("--driver %q is not one of kgo, kq", o.Driver)
	}
	if o.Kafka != "" {
		for _, broker := range splitList(o.Kafka) {
			if !isHostPort(broker) {
				return wrong("--kafka %q is not host:port, several with commas between, such as localhost:9092", o.Kafka)
			}
		}
	}
	if _, err := redisBlock(o.Redis); err != nil {
		return err
	}
	if _, err := exporter(o.OTLP); err != nil {
		return err
	}
	if o.Jaeger != "" {
		if o.OTLP == "" {
			return wrong("--jaeger needs --otlp: without it spans go to files and Jaeger never gets them; Jaeger takes OTLP on port 4317")
		}
		if u, err := url.Parse(o.Jaeger); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return wrong("--jaeger %q is not the URL of Jaeger's query service, such as http://localhost:16686", o.Jaeger)
		}
	}
	if o.PublicURL != "" {
		u, err := url.Parse(o.PublicURL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil ||
			u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
			return wrong("--public-url %q is not an http or https URL of a host alone, such as https://go.example.com", o.PublicURL)
		}
	}
	for name := range o.Services {
		if name != URLAPI && name != AnalyticsRPC && name != AnalyticsConsumer {
			return wrong("services: %q is not one of %s, %s, %s", name, URLAPI, AnalyticsRPC, AnalyticsConsumer)
		}
	}
	return nil
}

// redisBlock is the Redis block of url-api's YAML for a server that was given.
func redisBlock(given string) (map[string]any, error) {
	if !strings.Contains(given, "://") {
		addrs := splitList(given)
		for _, addr := range addrs {
			if !isHostPort(addr) {
				return nil, wrong("--redis %q is not host:port, such as localhost:6379, nor redis://user:password@host:port/db", given)
			}
		}
		return map[string]any{"Addrs": addrs}, nil
	}
	u, err := url.Parse(given)
	if err != nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.Hostname() == "" {
		return nil, wrong("--redis is not a URL such as redis://user:password@host:6379/0")
	}
	port := u.Port()
	if port == "" {
		port = "6379"
	}
	block := map[string]any{"Addrs": []string{net.JoinHostPort(u.Hostname(), port)}}
	if u.User != nil {
		password, _ := u.User.Password()
		block["Username"], block["Password"] = u.User.Username(), password
	}
	if db := strings.Trim(u.Path, "/"); db != "" {
		n, err := strconv.Atoi(db)
		if err != nil {
			return nil, wrong("--redis: %q is not a database's number, such as redis://localhost:6379/0", db)
		}
		block["DB"] = n
	}
	if u.Scheme == "rediss" {
		block["TLS"] = map[string]any{"Enabled": true}
	}
	return block, nil
}

// exporter is the Telemetry block's way to a collector.
func exporter(otlp string) (map[string]any, error) {
	if !strings.Contains(otlp, "://") {
		if otlp != "" && !isHostPort(otlp) {
			return nil, wrong("--otlp %q is not host:port, such as localhost:4317, nor an http or https URL", otlp)
		}
		return map[string]any{"Batcher": "otlpgrpc", "Endpoint": otlp}, nil
	}
	u, err := url.Parse(otlp)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, wrong("--otlp %q is not host:port, such as localhost:4317, nor an http or https URL", otlp)
	}
	block := map[string]any{"Batcher": "otlphttp", "Endpoint": u.Host, "OtlpHttpSecure": u.Scheme == "https"}
	if path := strings.TrimRight(u.Path, "/"); path != "" {
		block["OtlpHttpPath"] = path
	}
	return block, nil
}

func isHostPort(addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

func splitList(text string) []string {
	var list []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}
