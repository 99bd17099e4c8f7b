//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/linktrail/linktrail/hack/bench/load"
	"github.com/linktrail/linktrail/internal/telemetry"
)

const overlayRow = "overlay"

// pairsOfRound is how many pairs of measurements a round has. A difference of two in a hundred is to be seen: they are many,
// and short, and the two of a pair follow each other at once.
const pairsOfRound = 4

// pair is a measurement of url-api with something, and one without.
type pair struct{ with, without sample }

// compareOverlay measures whether it costs anything that an overlay is there, which says what url-api's own configuration does.
func (s *system) compareOverlay(ctx context.Context, o options) (pairs []pair, err error) {
	if !o.wants(overlayRow) {
		return nil, nil
	}
	folder := filepath.Join(s.dir, "overlay")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	text := fmt.Appendf(nil, "Telemetry:\n  Batcher: otlpgrpc\n  Endpoint: %s\n  Sampler: 0.01\n", s.otlp)
	if err := os.WriteFile(filepath.Join(folder, telemetry.OverlayFile), text, 0o600); err != nil {
		return nil, err
	}
	var subjects [2]*subject
	for i, name := range []string{"without an overlay", "with an overlay"} {
		v := &subject{name: name}
		v.service, err = s.startURLAPI(ctx, name, s.binary, func(c map[string]any) {
			c["LinkCache"].(map[string]any)["TTL"] = "1h"
			if i == 1 {
				c["TelemetryOverlay"] = folder
			}
		})
		if err != nil {
			return nil, err
		}
		v.Process, v.addr = v.service.Process, v.service.door
		defer func() { err = errors.Join(err, v.Stop()) }()
		subjects[i] = v
	}
	hash := telemetry.OverlayHash(text, nil)
	if err := subjects[1].Await(ctx, func() error { return subjects[1].service.follows(hash) }); err != nil {
		return nil, err
	}
	if pairs, err = s.takePairs(ctx, o, subjects); err != nil {
		return nil, err
	}
	return pairs, subjects[1].service.follows(hash)
}

// takePairs measures two url-api in turns: the first is without something, the second with it.
func (s *system) takePairs(ctx context.Context, o options, subjects [2]*subject) (list []pair, err error) {
	requests := s.followed()
	for _, v := range subjects {
		every := load.Plan{Requests: requests, Count: len(requests), Connections: o.connections, Duration: time.Minute}
		if _, err := s.measure(ctx, v, every, true); err != nil {
			return nil, err
		}
	}
	plan := load.Plan{
		Requests: requests, Order: load.Zipf(seed, 1.1, len(requests), 1<<20), Connections: o.connections, Duration: o.duration() / 2,
	}
	for n := range o.rounds * pairsOfRound {
		var got [2]sample
		for i := range subjects {
			first := (i + n) % 2 // each goes first as often
			if got[first], err = s.measure(ctx, subjects[first], plan, true); err != nil {
				return nil, err
			}
		}
		list = append(list, pair{without: got[0], with: got[1]})
		fmt.Fprintf(os.Stderr, "bench: pair %d of %d: %s %8.0f requests/s  %5.1f µs CPU, %s %8.0f requests/s  %5.1f µs CPU\n", n+1, o.rounds*pairsOfRound,
			subjects[1].name, got[1].perSecond, micros(got[1].cpu), subjects[0].name, got[0].perSecond, micros(got[0].cpu))
	}
	return list, nil
}

// follows returns nil when a service has an overlay in force.
func (v *service) follows(hash string) error {
	client := http.Client{Timeout: 2 * time.Second}
	res, err := client.Get("http://" + v.ops + "/telemetry")
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	var status telemetry.Status
	if err := json.NewDecoder(io.LimitReader(res.Body, 64<<10)).Decode(&status); err != nil {
		return err
	}
	if status.Hash != hash {
		return fmt.Errorf("the overlay in force is %q, want %q", status.Hash, hash)
	}
	return nil
}
