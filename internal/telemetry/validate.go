package telemetry

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Validate says what is wrong with a configuration, every key in one error, each
// as `Telemetry.KEY: VALUE is …` with what is allowed.
func (c Config) Validate() error {
	errs := []error{c.checkSampler()}
	if err := c.checkBatcher(); err != nil {
		// What an endpoint may be depends on the batcher.
		return errors.Join(append(errs, err)...)
	}
	return errors.Join(append(errs, c.checkEndpoint(), c.checkHeaders(), c.checkPath(), c.checkTLS())...)
}

func (c Config) checkSampler() error {
	if c.Sampler >= 0 && c.Sampler <= 1 { // false for NaN
		return nil
	}
	return fmt.Errorf("Telemetry.Sampler: %g is not a number from 0 (no trace) to 1 (every trace)", c.Sampler)
}

func (c Config) checkBatcher() error {
	switch c.Batcher {
	case BatcherOTLPGRPC, BatcherOTLPHTTP, BatcherZipkin, BatcherFile:
		return nil
	}
	hint := ""
	if strings.EqualFold(c.Batcher, "jaeger") {
		hint = " (go-zero removed it in 1.10; use otlpgrpc, Jaeger listens on 4317)"
	}
	return fmt.Errorf("Telemetry.Batcher: %q is not one of otlpgrpc, otlphttp, zipkin, file%s", c.Batcher, hint)
}

func (c Config) checkEndpoint() error {
	if c.Endpoint == "" {
		return nil
	}
	wrong := func(why, allowed string) error {
		return fmt.Errorf("Telemetry.Endpoint: %q %s; with Batcher %s it is %s", c.shownEndpoint(), why, c.Batcher, allowed)
	}
	switch c.Batcher {
	case BatcherOTLPGRPC:
		const allowed = "HOST:PORT, like localhost:4317"
		if why := notHostPort(c.Endpoint, true); why != "" {
			return wrong(why, allowed)
		}
	case BatcherOTLPHTTP:
		const allowed = "HOST:PORT, like localhost:4318 (OtlpHttpSecure chooses https, OtlpHttpPath the path)"
		if why := notHostPort(c.Endpoint, false); why != "" {
			return wrong(why, allowed)
		}
	case BatcherZipkin:
		const allowed = "a URL, like http://localhost:9411/api/v2/spans"
		u, err := url.Parse(c.Endpoint)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") {
			return wrong("has no http:// or https://", allowed)
		}
		if u.Hostname() == "" {
			return wrong("has no host", allowed)
		}
	case BatcherFile:
		const allowed = "the path of a file, like data/spans.jsonl"
		if strings.Contains(c.Endpoint, "://") {
			return wrong("has a scheme", allowed)
		}
		if notHostPort(c.Endpoint, true) == "" {
			return wrong("is an address", allowed)
		}
		if info, err := os.Stat(c.Endpoint); err == nil && info.IsDir() {
			return wrong("is a folder", allowed)
		}
	}
	return nil
}

// notHostPort says why an address is none, "" when it is one.
func notHostPort(address string, portNeeded bool) string {
	switch {
	case strings.Contains(address, "://"):
		return "has a scheme"
	case strings.ContainsAny(address, "/?#"):
		return "has a path"
	case strings.ContainsAny(address, " \t\r\n@"):
		return "has a character no address has"
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		bare := strings.Trim(address, "[]")
		if strings.Contains(bare, ":") && net.ParseIP(bare) == nil {
			return "is no address"
		}
		if portNeeded {
			return "has no port"
		}
		return ""
	}
	if host == "" {
		return "has no host"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "has a port that is not 1 to 65535"
	}
	return ""
}

func (c Config) checkHeaders() error {
	var errs []error
	for name, value := range c.OtlpHeaders {
		if !httpguts.ValidHeaderFieldName(name) {
			errs = append(errs, fmt.Errorf("Telemetry.OtlpHeaders: %q is not a header name", name))
		}
		if !httpguts.ValidHeaderFieldValue(value) {
			errs = append(errs, fmt.Errorf("Telemetry.OtlpHeaders: the value of %q (not shown) has a control character", name))
		}
	}
	return errors.Join(errs...)
}

func (c Config) checkPath() error {
	if c.OtlpHttpPath == "" || (strings.HasPrefix(c.OtlpHttpPath, "/") && !strings.ContainsAny(c.OtlpHttpPath, "?# \t\r\n")) {
		return nil
	}
	return fmt.Errorf("Telemetry.OtlpHttpPath: %q is not a path that begins with /, like /v1/traces", c.OtlpHttpPath)
}

// checkTLS refuses what would look secure and is not.
func (c Config) checkTLS() error {
	var errs []error
	if c.OtlpGrpcSecure && c.Batcher != BatcherOTLPGRPC {
		errs = append(errs, fmt.Errorf("Telemetry.OtlpGrpcSecure: true has no effect with Batcher %s; it is for otlpgrpc (otlphttp has OtlpHttpSecure, zipkin https://)", c.Batcher))
	}
	tls := (c.Batcher == BatcherOTLPGRPC && c.OtlpGrpcSecure) || (c.Batcher == BatcherOTLPHTTP && c.OtlpHttpSecure)
	for _, file := range []struct{ key, path string }{
		{"OtlpCaFile", c.OtlpCaFile}, {"OtlpCertFile", c.OtlpCertFile}, {"OtlpKeyFile", c.OtlpKeyFile},
	} {
		if file.path != "" && !tls {
			errs = append(errs, fmt.Errorf("Telemetry.%s: %q has no effect without TLS; set OtlpGrpcSecure (otlpgrpc) or OtlpHttpSecure (otlphttp) to true", file.key, file.path))
		}
	}
	if (c.OtlpCertFile == "") != (c.OtlpKeyFile == "") {
		errs = append(errs, fmt.Errorf("Telemetry.OtlpCertFile: %q and OtlpKeyFile: %q go together; one is empty", c.OtlpCertFile, c.OtlpKeyFile))
	}
	if len(errs) == 0 && tls {
		if _, err := c.tlsConfig(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
