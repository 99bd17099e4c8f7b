package telemetry

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// The batchers: the ways spans can leave the process. They are go-zero's.
const (
	BatcherOTLPGRPC = "otlpgrpc"
	BatcherOTLPHTTP = "otlphttp"
	BatcherZipkin   = "zipkin"
	BatcherFile     = "file"
)

// Config is the `Telemetry:` block of a service's YAML: go-zero's keys with
// go-zero's defaults, and beside them the four that give otlpgrpc its TLS. The
// zero value is not a valid one; begin with Default.
type Config struct {
	// Name is the service.name of every span. Empty means the service's Name.
	Name string `json:",optional"`
	// Endpoint is where the spans go: HOST:PORT for otlpgrpc, HOST[:PORT] for
	// otlphttp, an http(s) URL for zipkin, a path for file. Empty exports none:
	// spans then exist for propagation and for the logs alone.
	Endpoint string `json:",optional"`
	// Sampler is the share, 0 to 1, of the traces beginning here which are
	// sampled. A span with a parent always follows its parent.
	Sampler float64 `json:",default=1.0"`
	// Batcher is one of otlpgrpc, otlphttp, zipkin and file.
	Batcher string `json:",default=otlpgrpc,options=zipkin|otlpgrpc|otlphttp|file"`
	// OtlpHeaders go with every OTLP request, often as a credential. They are
	// never printed.
	OtlpHeaders map[string]string `json:",optional"`
	// OtlpHttpPath is the path otlphttp posts to, /v1/traces when empty.
	OtlpHttpPath string `json:",optional"`
	// OtlpHttpSecure makes otlphttp use https.
	OtlpHttpSecure bool `json:",optional"`
	// Disabled samples and exports nothing. Spans still have ids, so that logs
	// and responses can carry them.
	Disabled bool `json:",optional"`

	// OtlpGrpcSecure makes otlpgrpc use TLS.
	OtlpGrpcSecure bool `json:",optional"`
	// OtlpCaFile is a PEM file with the authorities the collector's certificate
	// is checked against; empty means the system's. It needs OtlpGrpcSecure or
	// OtlpHttpSecure.
	OtlpCaFile string `json:",optional"`
	// OtlpCertFile and OtlpKeyFile are the client's certificate and key in PEM,
	// for a collector that asks for one. They are read again for each connection,
	// so that a renewed certificate is used.
	OtlpCertFile string `json:",optional"`
	OtlpKeyFile  string `json:",optional"`
}

// Default is the block as go-zero reads an empty one: everything sampled, nothing
// exported.
func Default() Config { return Config{Sampler: 1, Batcher: BatcherOTLPGRPC} }

// String shows the configuration without the values of its headers.
func (c Config) String() string {
	headers := make([]string, 0, len(c.OtlpHeaders))
	for name := range c.OtlpHeaders {
		headers = append(headers, name)
	}
	slices.Sort(headers)
	return fmt.Sprintf("name=%s batcher=%s endpoint=%s sampler=%g secure=%t headers=%v disabled=%t",
		c.Name, c.Batcher, c.shownEndpoint(), c.Sampler, c.secure(), headers, c.Disabled)
}

// shownEndpoint is Endpoint without what may be a credential: user and password,
// and what follows a question mark.
func (c Config) shownEndpoint() string {
	if c.Batcher == BatcherFile {
		return c.Endpoint
	}
	scheme, rest, ok := strings.Cut(c.Endpoint, "://")
	if !ok {
		scheme, rest = "", c.Endpoint
	} else {
		scheme += "://"
	}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		rest = "***" + rest[at:]
	}
	if query := strings.IndexByte(rest, '?'); query >= 0 {
		rest = rest[:query] + "?***"
	}
	return scheme + rest
}

// secure says whether spans travel over TLS.
func (c Config) secure() bool {
	switch c.Batcher {
	case BatcherOTLPGRPC:
		return c.OtlpGrpcSecure
	case BatcherOTLPHTTP:
		return c.OtlpHttpSecure
	case BatcherZipkin:
		return strings.HasPrefix(strings.ToLower(c.Endpoint), "https://")
	}
	return false
}

// exports says whether any span leaves the process.
func (c Config) exports() bool { return c.Endpoint != "" && !c.Disabled }

// LoadOption changes how a file is read.
type LoadOption func(*loading)

type loading struct{ env bool }

// UseEnv expands $NAME and ${NAME} in the file from the environment, as go-zero's
// conf.UseEnv does. A service uses both or neither.
func UseEnv() LoadOption { return func(l *loading) { l.env = true } }

// Load reads a service's YAML file and returns its Telemetry block, checked. Of
// the rest it looks only at Name. Keys may be written in any case, as go-zero
// allows. The error names the file, every wrong key, its value and what is
// allowed.
func Load(file string, opts ...LoadOption) (Config, error) {
	var l loading
	for _, opt := range opts {
		opt(&l)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return Config{}, fmt.Errorf("telemetry: %w", err)
	}
	if l.env {
		content = []byte(os.ExpandEnv(string(content)))
	}
	cfg, err := Parse(content)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", file, err)
	}
	return cfg, nil
}

// Parse is Load for the content of a file.
func Parse(content []byte) (Config, error) {
	var document any
	if err := yaml.Unmarshal(content, &document); err != nil {
		return Config{}, fmt.Errorf("not YAML: %w", err)
	}
	top, ok := document.(map[string]any)
	if !ok && document != nil {
		return Config{}, errors.New("not a YAML mapping of keys to values")
	}
	cfg, err := decode(top)
	if err != nil {
		return Config{}, err
	}
	if err := cfg.Validate(); err != nil {
		return Config{}, err
	}
	return cfg, nil
}

// decode reads Name and Telemetry out of a document and checks keys and types.
func decode(top map[string]any) (Config, error) {
	cfg := Default()
	block, err := lookup(top, "Telemetry")
	if err != nil {
		return Config{}, err
	}
	if block != nil {
		keys, ok := block.(map[string]any)
		if !ok {
			return Config{}, fmt.Errorf("Telemetry: %s is not a mapping of keys to values", shown(block))
		}
		if err := cfg.set(keys); err != nil {
			return Config{}, err
		}
	}
	if cfg.Name != "" {
		return cfg, nil
	}
	name, err := lookup(top, "Name")
	if err != nil {
		return Config{}, err
	}
	if name != nil {
		if err := setText(&cfg.Name, name); err != nil {
			return Config{}, fmt.Errorf("Name: %w", err)
		}
	}
	return cfg, nil
}

// lookup finds a key whatever its case; nil when there is none. Two spellings of
// one key are an error, since either could be meant.
func lookup(mapping map[string]any, key string) (any, error) {
	var value any
	var spelled string
	for k, v := range mapping {
		if !strings.EqualFold(k, key) {
			continue
		}
		if spelled != "" {
			return nil, fmt.Errorf("%s: given twice, as %q and %q", key, min(spelled, k), max(spelled, k))
		}
		spelled, value = k, v
	}
	return value, nil
}

// set puts the values of a Telemetry block into the configuration. A key without
// a value keeps its default.
func (c *Config) set(block map[string]any) error {
	setters := []struct {
		key string
		set func(any) error
	}{
		{"Name", func(v any) error { return setText(&c.Name, v) }},
		{"Endpoint", func(v any) error { return setText(&c.Endpoint, v) }},
		{"Sampler", func(v any) error { return setNumber(&c.Sampler, v) }},
		{"Batcher", func(v any) error { return setText(&c.Batcher, v) }},
		{"OtlpHeaders", func(v any) error { return setHeaders(&c.OtlpHeaders, v) }},
		{"OtlpHttpPath", func(v any) error { return setText(&c.OtlpHttpPath, v) }},
		{"OtlpHttpSecure", func(v any) error { return setBool(&c.OtlpHttpSecure, v) }},
		{"Disabled", func(v any) error { return setBool(&c.Disabled, v) }},
		{"OtlpGrpcSecure", func(v any) error { return setBool(&c.OtlpGrpcSecure, v) }},
		{"OtlpCaFile", func(v any) error { return setText(&c.OtlpCaFile, v) }},
		{"OtlpCertFile", func(v any) error { return setText(&c.OtlpCertFile, v) }},
		{"OtlpKeyFile", func(v any) error { return setText(&c.OtlpKeyFile, v) }},
	}
	var errs []error
	known := make([]string, 0, len(setters))
	for _, s := range setters {
		known = append(known, s.key)
		value, err := lookup(block, s.key)
		if err != nil {
			errs = append(errs, fmt.Errorf("Telemetry.%w", err))
			continue
		}
		if value == nil {
			continue
		}
		if err := s.set(value); err != nil {
			errs = append(errs, fmt.Errorf("Telemetry.%s: %w", s.key, err))
		}
	}
	for key := range block {
		if !slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, key) }) {
			// Its value may be a header's that was indented too little.
			errs = append(errs, fmt.Errorf("Telemetry.%s: unknown key; the keys are %s", key, strings.Join(known, ", ")))
		}
	}
	slices.SortStableFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

func setText(to *string, value any) error {
	text, ok := value.(string)
	if !ok {
		return fmt.Errorf("%s is not text; put it in quotes if it is meant", shown(value))
	}
	*to = text
	return nil
}

func setNumber(to *float64, value any) error {
	number, ok := value.(float64)
	if !ok {
		return fmt.Errorf("%s is not a number", shown(value))
	}
	*to = number
	return nil
}

func setBool(to *bool, value any) error {
	is, ok := value.(bool)
	if !ok {
		return fmt.Errorf("%s is not one of true, false", shown(value))
	}
	*to = is
	return nil
}

// setHeaders never shows a value: it may be a credential.
func setHeaders(to *map[string]string, value any) error {
	mapping, ok := value.(map[string]any)
	if !ok {
		return errors.New("the value (not shown) is not a mapping of header names to text")
	}
	headers := make(map[string]string, len(mapping))
	for name, v := range mapping {
		text, ok := v.(string)
		if !ok {
			return fmt.Errorf("the value of %q (not shown) is not text; put it in quotes", name)
		}
		headers[name] = text
	}
	*to = headers
	return nil
}

// shown prints a value as the file may have had it.
func shown(value any) string {
	switch v := value.(type) {
	case string:
		return fmt.Sprintf("%q", v)
	case map[string]any:
		return "a mapping"
	case []any:
		return "a list"
	case nil:
		return "empty"
	}
	return fmt.Sprint(value)
}
