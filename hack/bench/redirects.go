//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/linktrail/linktrail/hack/bench/bare"
	"github.com/linktrail/linktrail/hack/bench/load"
	"github.com/linktrail/linktrail/hack/testenv/process"
)

// The subjects of the first table.
const (
	bareNetHTTP  = "bare net/http"
	bareFastHTTP = "bare fasthttp"
	nginxOne     = "nginx, one worker"
	nginxAll     = "nginx, a worker a core"
	sampledOne   = "linktrail, 1 % sampled"
	sampledAll   = "linktrail, 100 % sampled"
	againstOne   = "the other, 1 % sampled"
	againstAll   = "the other, 100 % sampled"
)

// redirects is the first table: one row a subject.
type redirects struct {
	rows []row
	rate float64 // requests a second of the second measurement
}

// row is all that was measured of one subject.
type row struct {
	name       string
	flat, half []sample
}

func (t *redirects) row(name string) *row {
	for i := range t.rows {
		if t.rows[i].name == name {
			return &t.rows[i]
		}
	}
	return nil
}

// followed are the requests for redirects that are followed, by the order of makeLinks.
func (s *system) followed() []load.Request {
	list := make([]load.Request, len(s.links))
	for i, l := range s.links {
		list[i] = load.Request{Send: load.Get("s.example", "/"+l.Code), Status: 302, Location: l.URL}
	}
	return list
}

// compare measures all subjects side by side: each round takes one after the other, in another order each time.
func (s *system) compare(ctx context.Context, o options) (t *redirects, err error) {
	subjects, err := s.startSubjects(ctx, o)
	defer func() {
		for _, v := range subjects {
			err = errors.Join(err, v.Stop())
		}
	}()
	if err != nil {
		return nil, err
	}
	if err := s.alike(ctx, subjects); err != nil {
		return nil, err
	}
	requests := s.followed()
	t = &redirects{rows: make([]row, len(subjects))}
	for i, v := range subjects {
		t.rows[i].name = v.name
		every := load.Plan{Requests: requests, Count: len(requests), Connections: o.connections, Duration: time.Minute}
		if _, err := s.measure(ctx, v, every, true); err != nil {
			return nil, err
		}
	}
	plan := load.Plan{
		Requests: requests, Order: load.Zipf(seed, 1.1, len(requests), 1<<20), Connections: o.connections, Duration: o.duration(),
	}
	flat := func(r *row) *[]sample { return &r.flat }
	if err := s.rounds(ctx, o, "flat out", subjects, t, plan, flat); err != nil {
		return nil, err
	}
	ours := t.row(sampledOne)
	if ours == nil {
		return t, nil
	}
	// The rate is the same for all: latencies, and CPU time a request, can be compared at equal load only.
	t.rate = median(pick(ours.flat, perSecond)) / 2
	plan.Rate = t.rate
	half := func(r *row) *[]sample { return &r.half }
	return t, s.rounds(ctx, o, fmt.Sprintf("at %.0f a second", t.rate), subjects, t, plan, half)
}

func perSecond(s sample) float64 { return s.perSecond }

func (s *system) rounds(ctx context.Context, o options, what string, subjects []*subject, t *redirects, p load.Plan, to func(*row) *[]sample) error {
	for round := range o.rounds {
		for _, i := range rand.New(rand.NewPCG(seed, uint64(round))).Perm(len(subjects)) {
			stopProfile := subjects[i].profile(ctx, o, what)
			got, err := s.measure(ctx, subjects[i], p, true)
			if err = errors.Join(err, stopProfile()); err != nil {
				return err
			}
			list := to(&t.rows[i])
			*list = append(*list, got)
			fmt.Fprintf(os.Stderr, "bench: round %d of %d, %s: %-24s %8.0f requests/s  %5.1f µs CPU  p99 %6.2f ms  (generator %.1f µs)\n", round+1, o.rounds,
				what, subjects[i].name, got.perSecond, micros(got.cpu), millis(got.p99), micros(got.generator))
		}
	}
	return nil
}

// alike makes sure that all servers answer with the same status and headers; nginx may have more of them.
func (s *system) alike(ctx context.Context, subjects []*subject) error {
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	var first http.Header
	for _, v := range subjects {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+v.addr+"/"+s.links[0].Code, nil)
		if err != nil {
			return err
		}
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		_ = res.Body.Close()
		if v.service != nil {
			v.clicks++
		}
		h := res.Header
		for _, changing := range []string{"Date", "Traceparent"} {
			if h.Get(changing) != "" {
				h.Set(changing, "some")
			}
		}
		if strings.HasPrefix(v.name, "nginx") {
			for _, own := range []string{"Server", "Content-Type", "Connection", "Content-Length"} {
				h.Del(own)
			}
			h.Set("Content-Length", "0")
		}
		if first == nil {
			first = h
		}
		if res.StatusCode != http.StatusFound || !maps.EqualFunc(h, first, slices.Equal) {
			return fmt.Errorf("%s answers %d with %v and not as %s does, with %v", v.name, res.StatusCode, h, subjects[0].name, first)
		}
	}
	return nil
}

// startSubjects starts those of the first table; what was started is returned also with an error.
func (s *system) startSubjects(ctx context.Context, o options) (subjects []*subject, err error) {
	for _, name := range []string{bareNetHTTP, bareFastHTTP, nginxOne, nginxAll, sampledOne, sampledAll, againstOne, againstAll} {
		if !o.wants(name) {
			continue
		}
		v := &subject{name: name}
		switch name {
		case bareNetHTTP:
			err = s.startBare(ctx, v, "net-http")
		case bareFastHTTP:
			err = s.startBare(ctx, v, "fasthttp")
		case nginxOne:
			err = s.startNginx(ctx, v, "1")
		case nginxAll:
			err = s.startNginx(ctx, v, "auto")
		case sampledOne:
			err = s.startDoor(ctx, v, o.binary, 0.01)
		case sampledAll:
			err = s.startDoor(ctx, v, o.binary, 1)
		case againstOne:
			err = s.startDoor(ctx, v, o.against, 0.01)
		case againstAll:
			err = s.startDoor(ctx, v, o.against, 1)
		}
		if err != nil {
			return subjects, err
		}
		subjects = append(subjects, v)
	}
	return subjects, nil
}

func (s *system) startBare(ctx context.Context, v *subject, server string) (err error) {
	if v.addr, err = process.FreeAddr(); err != nil {
		return err
	}
	if v.Process, err = startSelf(server, "-addr", v.addr, "-targets", s.targetsFile()); err != nil {
		return err
	}
	if err = v.Await(ctx, process.Accepts(v.addr)); err != nil {
		return errors.Join(err, v.Stop())
	}
	return nil
}

func (s *system) startNginx(ctx context.Context, v *subject, workers string) (err error) {
	if v.addr, err = process.FreeAddr(); err != nil {
		return err
	}
	dir := filepath.Join(s.dir, "nginx-"+workers)
	if err = os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	file := filepath.Join(dir, "nginx.conf")
	if err = os.WriteFile(file, []byte(bare.Nginx(v.addr, dir, workers, s.targets)), 0o600); err != nil {
		return err
	}
	if v.Process, err = process.Start(v.name, nil, "nginx", "-e", filepath.Join(dir, "error.log"), "-p", dir, "-c", file); err != nil {
		return err
	}
	if err = v.Await(ctx, process.Accepts(v.addr)); err != nil {
		return errors.Join(err, v.Stop())
	}
	return nil
}

// startDoor starts url-api with its usual configuration, but that it keeps links for an hour: each redirect of the first
// table finds its link in memory.
func (s *system) startDoor(ctx context.Context, v *subject, binary string, sampler float64) (err error) {
	v.service, err = s.startURLAPI(ctx, v.name, binary, func(c map[string]any) {
		c["LinkCache"].(map[string]any)["TTL"] = "1h"
		c["Telemetry"].(map[string]any)["Sampler"] = sampler
	})
	if err != nil {
		return err
	}
	v.Process, v.addr = v.service.Process, v.service.door
	return nil
}
