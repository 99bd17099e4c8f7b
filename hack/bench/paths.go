//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/linktrail/linktrail/hack/bench/load"
)

// path is one row of the second table: a way that a request can take.
type path struct {
	name    string
	samples []sample
	analyst []time.Duration // CPU time of analytics-rpc, a request
}

// The ways, in the table's order.
const (
	pathRedis   = "redirect, link from Redis"
	pathStore   = "redirect, link from PostgreSQL"
	pathUnknown = "unknown code, asked of PostgreSQL"
	pathCreate  = "create a link"
	pathStats   = "statistics of 30 days"
)

// walk measures all the ways, each on a url-api of its own.
func (s *system) walk(ctx context.Context, o options) ([]path, error) {
	if err := s.writeClicks(ctx, time.Now()); err != nil {
		return nil, err
	}
	var paths []path
	for _, w := range []struct {
		name      string
		requests  []load.Request
		api       bool
		redirects bool
		change    func(map[string]any)
	}{
		{pathRedis, s.followed(), false, true, forgetful},
		{pathStore, s.followed(), false, true, func(c map[string]any) { forgetful(c); delete(c, "Redis") }},
		{pathUnknown, s.unknown(), false, false, forgetful},
		{pathCreate, s.creations(), true, false, unshed},
		{pathStats, s.questions(time.Now()), true, false, unshed},
	} {
		if !o.wants(w.name) {
			continue
		}
		p, err := s.walkOne(ctx, o, w.name, w.requests, w.api, w.redirects, w.change)
		if err != nil {
			return paths, err
		}
		paths = append(paths, p)
	}
	return paths, nil
}

func (s *system) walkOne(ctx context.Context, o options, name string, requests []load.Request, api, redirects bool, change func(map[string]any)) (p path, err error) {
	p.name = name
	analytics, address, err := s.startAnalytics(ctx)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, analytics.Stop()) }()
	v := &subject{name: name}
	v.service, err = s.startURLAPI(ctx, name, s.binary, func(c map[string]any) {
		c["Analytics"].(map[string]any)["Endpoints"] = []string{address}
		change(c)
	})
	if err != nil {
		return p, err
	}
	v.Process, v.addr = v.service.Process, v.service.door
	defer func() { err = errors.Join(err, v.Stop()) }()
	if api {
		v.addr = v.service.api
	}
	plan := load.Plan{Requests: requests, Connections: o.connections, Duration: o.duration()}
	first := plan
	first.Count = len(requests)
	if api {
		first.Count = min(len(requests), 200)
	}
	if _, err := s.measure(ctx, v, first, redirects); err != nil {
		return p, err
	}
	for round := range o.rounds {
		before, err := analytics.CPU()
		if err != nil {
			return p, err
		}
		got, err := s.measure(ctx, v, plan, redirects)
		if err != nil {
			return p, err
		}
		after, err := analytics.CPU()
		if err != nil {
			return p, err
		}
		p.samples = append(p.samples, got)
		p.analyst = append(p.analyst, time.Duration(float64(after-before)/(got.perSecond*plan.Duration.Seconds())))
		fmt.Fprintf(os.Stderr, "bench: round %d of %d: %-34s %8.0f requests/s  %6.1f µs CPU  p99 %6.2f ms\n", round+1, o.rounds, name,
			got.perSecond, micros(got.cpu), millis(got.p99))
	}
	return p, nil
}

// forgetful has the process know no code for longer than a moment.
func forgetful(c map[string]any) {
	cache := c["LinkCache"].(map[string]any)
	cache["TTL"], cache["NegativeTTL"] = "1ns", "1ns"
}

// unshed has go-zero answer all requests of the API: as a rule it refuses some once the machine's cores are busy.
func unshed(c map[string]any) { c["CpuThreshold"] = 0 }

// unknown are requests for codes that no link has.
func (s *system) unknown() []load.Request {
	list := make([]load.Request, 0, len(s.links))
	for _, l := range s.links {
		list = append(list, load.Request{Send: load.Get("s.example", "/no"+l.Code), Status: 404})
	}
	return list
}

// creations are requests that make links.
func (s *system) creations() []load.Request {
	list := make([]load.Request, 1000)
	for i := range list {
		body := fmt.Sprintf(`{"url":"https://www.example.org/made/%d","tags":["bench"]}`, i)
		text := fmt.Sprintf("POST /api/v1/links HTTP/1.1\r\nHost: s.example\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			s.token, len(body), body)
		list[i] = load.Request{Send: []byte(text), Status: 201}
	}
	return list
}

// questions are requests for the statistics of the links that have been clicked.
func (s *system) questions(now time.Time) []load.Request {
	list := make([]load.Request, readLinks)
	from := now.AddDate(0, 0, -30).UTC().Format(time.DateOnly)
	for i := range list {
		list[i] = load.Request{
			Send:   load.Get("s.example", "/api/v1/links/"+s.links[i].Code+"/stats?interval=day&from="+from, "Authorization: Bearer "+s.token),
			Status: 200,
		}
	}
	return list
}
