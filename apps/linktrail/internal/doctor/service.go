package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zeromicro/go-zero/core/conf"
	"sigs.k8s.io/yaml"

	"github.com/linktrail/linktrail/apps/linktrail/internal/up"
	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/linkcache"
	"github.com/linktrail/linktrail/internal/store"
	"github.com/linktrail/linktrail/internal/telemetry"
)

// Service is what a service's YAML says of the servers that it needs; nil is a server that it does not have.
type Service struct {
	Name string
	File string
	role string // which of the three it is, whatever its name

	store     *store.Config
	redis     *cache
	kafka     *clickstream.Config
	telemetry *telemetry.Config
	jaeger    *string

	wrong map[string]error // by check: what of the YAML cannot be used
	notes []string
}

// cache is Redis and what url-api keeps there.
type cache struct {
	Server linkcache.RedisConfig
	Keys   linkcache.Config
}

// ReadService reads a service's YAML as the service does, the environment's variables included. A wrong block is told by
// the check that it is about; the error is about a file that cannot be read at all.
func ReadService(file string) (Service, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return Service{}, err
	}
	return parseService(file, content)
}

// ReadServices reads what the latest `linktrail up` on a folder wrote; there may be none.
func ReadServices(data string) ([]Service, error) {
	var services []Service
	for _, name := range []string{up.URLAPI, up.AnalyticsRPC, up.AnalyticsConsumer} {
		service, err := ReadService(filepath.Join(data, "etc", name+".yaml"))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		service.follow(data)
		services = append(services, service)
	}
	return services, nil
}

// follow corrects the path of the SQLite file when its folder has been moved since.
func (s *Service) follow(data string) {
	if s.store == nil {
		return
	}
	path, ok := strings.CutPrefix(s.store.DSN, "sqlite:")
	here := filepath.Join(data, filepath.Base(path))
	if _, err := os.Stat(path); !ok || err == nil {
		return
	}
	if _, err := os.Stat(here); err == nil {
		s.store.DSN = "sqlite:" + here
	}
}

// ClickStream is the service's, nil when it has none. Its error says what of it cannot be used.
func (s *Service) ClickStream() (*clickstream.Config, error) { return s.kafka, s.wrong[checkKafka] }

func parseService(file string, content []byte) (Service, error) {
	s := Service{File: file, wrong: map[string]error{}}
	content = s.expand(content)
	var top map[string]any
	if err := yaml.Unmarshal(content, &top); err != nil {
		return s, fmt.Errorf("%s: %w", file, err)
	}
	var head struct {
		Name      string `json:",optional"`
		PublicURL string `json:",optional"`
		ListenOn  string `json:",optional"`
	}
	if err := conf.LoadFromYamlBytes(content, &head); err != nil {
		return s, fmt.Errorf("%s: %w", file, err)
	}
	s.Name = head.Name
	if s.Name == "" {
		s.Name = strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
	}
	switch {
	case head.PublicURL != "":
		s.role = up.URLAPI
	case head.ListenOn != "":
		s.role = up.AnalyticsRPC
	default:
		s.role = up.AnalyticsConsumer
	}
	s.readStore(content)
	s.readRedis(content)
	s.readKafka(content)
	s.readTelemetry(content)
	s.readJaeger(content)
	return s, nil
}

// expand puts in the environment's variables, and notes those that are not set: a service that is started elsewhere may
// have them.
func (s *Service) expand(content []byte) []byte {
	var missing []string
	lines := strings.SplitAfter(string(content), "\n")
	for i, line := range lines {
		comment := strings.HasPrefix(strings.TrimSpace(line), "#")
		lines[i] = os.Expand(line, func(name string) string {
			value, set := os.LookupEnv(name)
			switch {
			case name == up.Dollar:
				return "$"
			case !set && !comment && !slices.Contains(missing, name):
				missing = append(missing, name)
			}
			return value
		})
	}
	if len(missing) > 0 {
		s.notes = append(s.notes, fmt.Sprintf("%s uses %s, not set in this environment: what is told here is for an empty value",
			s.File, strings.Join(missing, ", ")))
	}
	return []byte(strings.Join(lines, ""))
}

func (s *Service) readStore(content []byte) {
	var c struct {
		Store store.Config `json:",optional"`
	}
	if err := conf.LoadFromYamlBytes(content, &c); err != nil {
		s.wrong[checkStore] = fmt.Errorf("Store: %w", err)
		return
	}
	if err := c.Store.Check(); err != nil {
		s.wrong[checkStore] = err
		return
	}
	s.store = &c.Store
}

func (s *Service) readRedis(content []byte) {
	var c struct {
		Redis     linkcache.RedisConfig `json:",optional"`
		LinkCache linkcache.Config      `json:",optional"`
	}
	if err := conf.LoadFromYamlBytes(content, &c); err != nil {
		s.wrong[checkRedis] = fmt.Errorf("Redis, LinkCache: %w", err)
		return
	}
	if len(c.Redis.Addrs) > 0 {
		s.redis = &cache{c.Redis, c.LinkCache}
	}
}

func (s *Service) readKafka(content []byte) {
	if s.role == up.AnalyticsRPC {
		return
	}
	var c struct{ ClickStream clickstream.Config }
	if err := conf.LoadFromYamlBytes(content, &c); err != nil {
		s.wrong[checkKafka] = fmt.Errorf("ClickStream: %w", err)
		return
	}
	if err := c.ClickStream.Validate(); err != nil {
		s.wrong[checkKafka] = err
		return
	}
	s.kafka = &c.ClickStream
}

func (s *Service) readTelemetry(content []byte) {
	c, err := telemetry.Parse(content)
	if err == nil {
		c, err = overlaid(c, content)
	}
	if err != nil {
		s.wrong[checkOTLP] = err
		return
	}
	if c.Endpoint == "" || c.Disabled {
		return
	}
	// Services that differ in these go to the same place.
	c.Name, c.Sampler = "", 1
	if c.Batcher == telemetry.BatcherFile {
		c.Endpoint = filepath.Dir(c.Endpoint)
	}
	s.telemetry = &c
}

// overlaid puts the files of the service's TelemetryOverlay on top, where there are any.
func overlaid(c telemetry.Config, content []byte) (telemetry.Config, error) {
	var place struct {
		TelemetryOverlay string `json:",optional"`
	}
	if err := conf.LoadFromYamlBytes(content, &place); err != nil {
		return c, err
	}
	dir := place.TelemetryOverlay
	if dir == "" {
		return c, nil
	}
	var files [2][]byte
	for i, name := range []string{telemetry.OverlayFile, telemetry.HeadersFile} {
		part, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return c, overlayError{dir, err}
		}
		files[i] = part
	}
	over, err := c.Overlaid(dir, files[0], files[1])
	if err != nil {
		return c, overlayError{dir, err}
	}
	return over, nil
}

// readJaeger finds out where traces are read: as the service is told, else where it points people who want to see one.
func (s *Service) readJaeger(content []byte) {
	var c struct {
		TraceURL   string `json:",optional"`
		TraceQuery struct {
			Jaeger string `json:",optional"`
		} `json:",optional"`
	}
	if err := conf.LoadFromYamlBytes(content, &c); err != nil {
		s.wrong[checkJaeger] = err
		return
	}
	base := c.TraceQuery.Jaeger
	if base == "" {
		base, _ = strings.CutSuffix(c.TraceURL, "/trace/{trace_id}")
		if base == c.TraceURL { // of another program
			return
		}
	}
	if u, err := url.Parse(base); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		s.wrong[checkJaeger] = fmt.Errorf("%q is not the URL of Jaeger's query service, such as http://localhost:16686", base)
		return
	}
	s.jaeger = &base
}
