package doctor

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/linktrail/linktrail/apps/linktrail/internal/client"
	"github.com/linktrail/linktrail/apps/linktrail/internal/up"
	"github.com/linktrail/linktrail/internal/buildinfo"
)

// Run is the `linktrail up` of a folder.
type Run struct {
	// Data is the folder.
	Data string
	// File is its run.json; nil when it does not run.
	File *up.RunFile
}

// checks look at what runs.
func (r *Run) checks() []check {
	if r.File == nil {
		return []check{{name: "up", target: r.Data, run: func(context.Context) (string, []Problem) {
			return one(KindNotRunning, r.start(), "`linktrail up` does not run on %s", r.Data)
		}}}
	}
	var all []check
	for _, name := range []string{up.URLAPI, up.AnalyticsRPC, up.AnalyticsConsumer} {
		for _, s := range r.File.Services {
			if s.Name == name {
				all = append(all, check{name: name, target: s.Ops, run: func(ctx context.Context) (string, []Problem) { return r.service(ctx, s) }})
			}
		}
	}
	return append(all,
		check{name: "door", target: r.File.URL, run: r.door},
		check{name: "api", target: r.File.API, run: r.api})
}

func (r *Run) start() string {
	if r.Data == "./data" {
		return "linktrail up"
	}
	return "linktrail up --data " + quoted(r.Data)
}

func (r *Run) log(service string) string {
	return "look at " + filepath.Join(r.Data, "log", service+".log")
}

// whileStopped says of a server that refuses connections that it may be one of those which run only with `linktrail up`.
func (r *Run) whileStopped(c check) check {
	if c.run == nil {
		return c
	}
	examine := c.run
	c.run = func(ctx context.Context) (string, []Problem) {
		detail, problems := examine(ctx)
		for i, p := range problems {
			if p.Kind == KindRefused {
				problems[i].Try = r.start() + ", if it is one of its own servers: they run only while it does; else " + p.Try
			}
		}
		return detail, problems
	}
	return c
}

// service asks a service how it is.
func (r *Run) service(ctx context.Context, s up.RunService) (string, []Problem) {
	k := keys{address: "run.json"}
	answer, p := get(ctx, s.Ops+"/readyz?verbose", k)
	if p != nil {
		p.Try = r.log(s.Name) + "; `linktrail up` starts a service again that has died"
		return "", []Problem{*p}
	}
	var problems []Problem
	var ready struct {
		Ready  bool
		Checks map[string]string
	}
	if err := json.Unmarshal([]byte(answer.body), &ready); err != nil {
		return one(KindProtocol, r.log(s.Name), "its probe answers %s", answer)
	}
	for _, name := range slices.Sorted(maps.Keys(ready.Checks)) {
		if said := ready.Checks[name]; said != "ok" {
			problems = append(problems, problem(KindNotReady, r.log(s.Name)+", and at the check of that server above", "it is not ready: %s: %s", name, shorten(said)))
		}
	}
	if answer.code != http.StatusOK && len(problems) == 0 {
		problems = append(problems, problem(KindNotReady, r.log(s.Name), "it is not ready: its probe answers %s", answer))
	}
	version, found := r.version(ctx, s)
	problems = append(problems, found...)
	return fmt.Sprintf("ready, pid %d%s", s.PID, version), append(problems, r.telemetry(ctx, s)...)
}

var buildLabels = regexp.MustCompile(`^linktrail_build_info\{(.*)\} `)
var buildLabel = regexp.MustCompile(`(\w+)="([^"]*)"`)

// version compares a service's build with this one.
func (r *Run) version(ctx context.Context, s up.RunService) (string, []Problem) {
	answer, p := get(ctx, s.Ops+"/metrics", keys{address: "run.json"})
	if p != nil {
		return "", []Problem{*p}
	}
	labels := map[string]string{}
	lines := bufio.NewScanner(strings.NewReader(answer.body))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		match := buildLabels.FindStringSubmatch(lines.Text())
		if match == nil {
			continue
		}
		for _, label := range buildLabel.FindAllStringSubmatch(match[1], -1) {
			labels[label[1]] = label[2]
		}
	}
	if len(labels) == 0 {
		return "", nil
	}
	own := buildinfo.Read()
	if labels["version"] != own.Version || labels["revision"] != own.Revision {
		return "", []Problem{problem(KindVersion, "stop `linktrail up` (Ctrl-C) and start it with this linktrail",
			"it is version %s, revision %s; this linktrail is version %s, revision %s", labels["version"], labels["revision"], own.Version, own.Revision)}
	}
	return ", version " + own.Version, nil
}

// telemetry tells of an overlay that a service has refused.
func (r *Run) telemetry(ctx context.Context, s up.RunService) []Problem {
	answer, p := get(ctx, s.Ops+"/telemetry", keys{address: "run.json"})
	if p != nil || answer.code != http.StatusOK {
		return nil
	}
	var said struct {
		Overlay string
		Refused *struct{ Reason, At string }
	}
	if err := json.Unmarshal([]byte(answer.body), &said); err != nil || said.Refused == nil {
		return nil
	}
	return []Problem{problem(KindTelemetry, "correct the files in "+said.Overlay+"; `linktrail telemetry show` tells what is in force",
		"it refused the telemetry overlay at %s and keeps the one before: %s", said.Refused.At, shorten(said.Refused.Reason))}
}

// door asks the front door for what needs no link.
func (r *Run) door(ctx context.Context) (string, []Problem) {
	answer, p := get(ctx, r.File.URL+"/robots.txt", keys{address: "run.json"})
	if p != nil {
		p.Try = r.log(up.URLAPI)
		return "", []Problem{*p}
	}
	if answer.code != http.StatusOK {
		return "", []Problem{answer.fault(r.File.URL, r.log(up.URLAPI), r.log(up.URLAPI), r.log(up.URLAPI))}
	}
	return "the front door answers", nil
}

// api makes calls with the local key: of the store's links, and of the statistics behind analytics-rpc.
func (r *Run) api(ctx context.Context) (string, []Problem) {
	api, err := client.New(r.File.API, r.File.APIKey)
	if err != nil {
		return one(KindConfig, r.log(up.URLAPI), "%s", oneLine(err))
	}
	page, err := api.Links(ctx, client.Filter{}, "", 1)
	detail := "the API answers, and takes the local key"
	if err == nil && len(page.Links) > 0 {
		detail += "; statistics answer"
		if _, err = api.Stats(ctx, page.Links[0].Code, client.StatsQuery{}); client.StatusOf(err) == http.StatusNotFound { // deleted meanwhile
			err = nil
		}
	}
	if err == nil {
		return detail, nil
	}
	switch status := client.StatusOf(err); {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return one(KindCredentials, "stop `linktrail up` (Ctrl-C) and start it again: it makes a new key", "the API refuses the local key: %s", oneLine(err))
	case status != 0:
		return one(KindUnavailable, r.log(up.URLAPI)+" and "+up.AnalyticsRPC+".log", "the API answers %d: %s", status, oneLine(err))
	case timedOut(err):
		return "", []Problem{silent(strings.TrimPrefix(r.File.API, "http://"), keys{address: "run.json"})}
	}
	return one(KindOther, r.log(up.URLAPI), "%s", oneLine(err))
}
