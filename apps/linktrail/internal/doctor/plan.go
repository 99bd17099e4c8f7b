package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/linkcache"
	"github.com/linktrail/linktrail/internal/store"
	"github.com/linktrail/linktrail/internal/telemetry"
)

// Plan is what to look at. The zero Plan has nothing.
type Plan struct {
	checks []check
	notes  []string
}

// Empty says whether there is nothing to look at.
func (p Plan) Empty() bool { return len(p.checks) == 0 }

// System is a linktrail, as far as it is known: the services' settings and, beside them, servers that are named one by
// one, each of which stands in for what the services say of it. A nil field is not named.
type System struct {
	Services []Service
	// Run is the `linktrail up` to look at; nil leaves what runs alone.
	Run *Run

	Store     *store.Config
	Redis     *linkcache.RedisConfig
	Kafka     *clickstream.Config
	Telemetry *telemetry.Config
	Jaeger    *string
}

// Names of the checks.
const (
	checkStore  = "store"
	checkRedis  = "redis"
	checkKafka  = "kafka"
	checkOTLP   = "otlp"
	checkJaeger = "jaeger"
)

// Plan makes the checks, in their order. What several services have alike is looked at once. Without services only what
// is named is looked at.
func (s System) Plan() Plan {
	var redis *cache
	if s.Redis != nil {
		redis = &cache{Server: *s.Redis}
	}
	var p Plan
	p.add(checksOf(checkStore, s.Store, s.Services, func(v Service) *store.Config { return v.store }, storeCheck))
	p.add(checksOf(checkRedis, redis, s.Services, func(v Service) *cache { return v.redis }, redisCheck))
	p.add(checksOf(checkKafka, s.Kafka, s.Services, func(v Service) *clickstream.Config { return v.kafka }, kafkaCheck))
	p.add(checksOf(checkOTLP, s.Telemetry, s.Services, func(v Service) *telemetry.Config { return v.telemetry }, telemetryCheck))
	p.add(checksOf(checkJaeger, s.Jaeger, s.Services, func(v Service) *string { return v.jaeger }, jaegerCheck))
	for _, service := range s.Services {
		p.notes = append(p.notes, service.notes...)
	}
	if s.Run != nil && s.Run.File == nil {
		for i, c := range p.checks {
			p.checks[i] = s.Run.whileStopped(c)
		}
	}
	if s.Run != nil {
		p.add(s.Run.checks())
	}
	return p
}

func (p *Plan) add(checks []check) { p.checks = append(p.checks, checks...) }

// checksOf makes the checks of one kind of server: of the named one, else of each that services have, else one which says
// that none is configured.
func checksOf[T any](name string, named *T, services []Service, of func(Service) *T, examine func(T, []Service) check) []check {
	if named != nil {
		c := examine(*named, nil)
		c.name = name
		return []check{c.inFlags()}
	}
	var (
		checks []check
		order  []string
		users  = map[string][]Service{}
	)
	for _, service := range services {
		if err := service.wrong[name]; err != nil {
			checks = addWrong(checks, name, service, err)
		}
		setting := of(service)
		if setting == nil {
			continue
		}
		same := sameness(*setting)
		if users[same] == nil {
			order = append(order, same)
		}
		users[same] = append(users[same], service)
	}
	for _, same := range order {
		c := examine(*of(users[same][0]), users[same])
		c.name = name
		for _, service := range users[same] {
			c.services = append(c.services, service.Name)
		}
		checks = append(checks, c)
	}
	if len(checks) == 0 && len(services) > 0 {
		return []check{{name: name}}
	}
	return checks
}

// addressKeys are what the services' YAML calls the addresses that the checks' flags give.
var addressKeys = map[string]string{
	checkStore: "Store.DSN", checkRedis: "Redis.Addrs", checkKafka: "ClickStream.Brokers", checkOTLP: "Telemetry.Endpoint",
	checkJaeger: "TraceQuery.Jaeger",
}

// inFlags is the check of a server that a flag names: what to type is said of that flag, for there is no YAML to correct.
func (c check) inFlags() check {
	run := c.run
	c.run = func(ctx context.Context) (string, []Problem) {
		detail, problems := run(ctx)
		for i := range problems {
			problems[i].Try = strings.ReplaceAll(problems[i].Try, addressKeys[c.name], "--"+c.name)
		}
		return detail, problems
	}
	return c
}

// overlayError is a fault of an overlay, which services share.
type overlayError struct {
	dir string
	error
}

// addWrong adds a check that fails because of a wrong setting. What is wrong with an overlay is told once.
func addWrong(checks []check, name string, service Service, err error) []check {
	where := service.File
	if overlay, ok := errors.AsType[overlayError](err); ok {
		where = overlay.dir
	}
	for i, known := range checks {
		if known.target == where && where != service.File {
			checks[i].services = append(checks[i].services, service.Name)
			return checks
		}
	}
	return append(checks, check{name: name, target: where, services: []string{service.Name}, run: func(context.Context) (string, []Problem) {
		return one(KindConfig, "correct it in "+where, "%s", oneLine(err))
	}})
}

// sameness is alike for settings that are.
func sameness(setting any) string {
	content, err := json.Marshal(setting)
	if err != nil {
		return fmt.Sprintf("%+v", setting)
	}
	return string(content)
}

// anyIs reports whether one of the services has a role; without services, what is named by a flag has all roles.
func anyIs(services []Service, role string) bool {
	for _, service := range services {
		if service.role == role {
			return true
		}
	}
	return len(services) == 0
}
