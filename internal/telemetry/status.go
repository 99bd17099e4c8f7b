package telemetry

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/zeromicro/go-zero/core/logx"
)

// Status is what is in force, as /telemetry on a service's ops listener shows it.
// It holds no header and no credential.
type Status struct {
	// Service is the service.name of the spans.
	Service string `json:"service"`
	// Hash is the OverlayHash of the overlay in force; "" when there is none.
	Hash string `json:"hash"`
	// Exporter is otlpgrpc, otlphttp, zipkin or file; "none" without an Endpoint.
	Exporter string `json:"exporter"`
	Endpoint string `json:"endpoint"`
	// Sampler is the share of the traces beginning here that are sampled.
	Sampler  float64 `json:"sampler"`
	Disabled bool    `json:"disabled"`
	// Began is whether a trace has begun here since the process started, recorded or
	// not, and Continued whether one that began elsewhere was continued. Where none
	// begins, Sampler is without effect.
	Began     bool `json:"began"`
	Continued bool `json:"continued"`
	// Since is when this came into force.
	Since time.Time `json:"since"`
	// Overlay is the folder that is followed; "" when there is none.
	Overlay string `json:"overlay"`
	// Refused is the overlay that lies there and is not in force; nil when there is
	// none.
	Refused *Refusal `json:"refused"`
}

// Refusal is an overlay that could not be put in force, and why.
type Refusal struct {
	// Hash is its OverlayHash.
	Hash string `json:"hash"`
	// Reason names file, key, value and what is allowed, on one line.
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// inForce is a configuration with where it comes from.
type inForce struct {
	cfg   Config
	hash  string
	tls   string // which files of keys and certificates it was read from
	since time.Time
}

// exportsLike says whether both need the same exporter: then it goes on, with its
// connection and what it holds.
func (f inForce) exportsLike(other inForce) bool {
	a, b := f.cfg, other.cfg
	switch {
	case !a.exports() || !b.exports():
		return a.exports() == b.exports()
	case a.Batcher != b.Batcher || a.Endpoint != b.Endpoint:
		return false
	case a.Batcher == BatcherFile || a.Batcher == BatcherZipkin:
		return true
	}
	return maps.Equal(a.OtlpHeaders, b.OtlpHeaders) && a.OtlpHttpPath == b.OtlpHttpPath &&
		a.OtlpHttpSecure == b.OtlpHttpSecure && a.OtlpGrpcSecure == b.OtlpGrpcSecure &&
		a.OtlpCaFile == b.OtlpCaFile && a.OtlpCertFile == b.OtlpCertFile && a.OtlpKeyFile == b.OtlpKeyFile &&
		f.tls == other.tls
}

// begin puts the first configuration in force: the overlay's, or the service's own
// when that is refused.
func (p *Provider) begin(cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	p.inForce = inForce{cfg: Config{Name: cfg.Name, Batcher: cfg.Batcher}} // nothing is exported yet
	if p.dir != "" {
		p.first = p.look()
		if p.adopt(p.first) {
			return nil
		}
	}
	return p.swap(inForce{cfg: cfg, tls: identify(cfg), since: time.Now()})
}

// look reads the overlay.
func (p *Provider) look() target { return aim(p.base, p.dir, readOverlay(p.dir)) }

// adopt puts an overlay in force or refuses it. What was refused before for the
// same reason is not told again.
func (p *Provider) adopt(t target) bool {
	err, hash := t.err, t.overlay.hash()
	if err == nil {
		err = p.swap(inForce{cfg: t.cfg, hash: hash, tls: t.tls, since: time.Now()})
		if errors.Is(err, errStopped) {
			return false
		}
		if err != nil && hash != "" {
			err = fmt.Errorf("%s: %w", filepath.Join(p.dir, OverlayFile), err)
		}
	}
	if err == nil {
		p.mu.Lock()
		p.refused = nil
		p.mu.Unlock()
		return true
	}
	refusal := &Refusal{Hash: hash, Reason: strings.ReplaceAll(err.Error(), "\n", "; "), At: time.Now()}
	p.mu.Lock()
	known := p.refused != nil && p.refused.Hash == hash && p.refused.Reason == refusal.Reason
	if !known {
		p.refused = refusal
	}
	p.mu.Unlock()
	if !known {
		p.counts.reloads[reloadRefused].Add(1)
		logx.Errorw("telemetry overlay refused; what was in force stays", logx.Field("reason", refusal.Reason), logx.Field("hash", hash))
	}
	return false
}

// Status tells what is in force.
func (p *Provider) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Status{
		Service: p.name, Hash: p.inForce.hash, Exporter: "none", Sampler: p.inForce.cfg.Sampler,
		Disabled: p.inForce.cfg.Disabled, Since: p.inForce.since, Overlay: p.dir,
		Began: p.sampler.traces.began.Load(), Continued: p.sampler.traces.continued.Load(),
	}
	if p.inForce.cfg.Endpoint != "" {
		s.Exporter, s.Endpoint = p.inForce.cfg.Batcher, p.inForce.cfg.shownEndpoint()
	}
	if p.refused != nil {
		refused := *p.refused
		s.Refused = &refused
	}
	return s
}

// shownState is what the metrics tell of it.
func (p *Provider) shownState() (refused, since, draining float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refused != nil {
		refused = 1
	}
	return refused, float64(p.inForce.since.UnixMilli()) / 1000, float64(len(p.draining))
}

// StatusHandler answers with Status as JSON.
func (p *Provider) StatusHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		body, err := json.Marshal(p.Status())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(append(body, '\n'))
	})
}
