// Package ops is the small listener every service has beside its own ports:
// /livez, /readyz, /metrics, what a service adds, and, by choice, pprof under
// /debug/pprof/.
//
// It stands in for go-zero's DevServer, whose probes a consumer-only process can
// never satisfy and whose taken port is only logged. Nothing served here makes a
// span.
package ops

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	gozero "github.com/zeromicro/go-zero/core/prometheus"

	"github.com/linktrail/linktrail/internal/buildinfo"
)

// Config is the `Ops:` block of a service's YAML.
type Config struct {
	// Addr is where to listen, HOST:PORT; port 0 takes any free one.
	Addr string `json:",default=0.0.0.0:6060"`
	// Pprof serves Go's profiles under /debug/pprof/. They tell a reader much
	// about the process: leave it off where the port is open to strangers.
	Pprof bool `json:",optional"`
}

// Server is the ops listener. Its methods are safe for concurrent use. Checks
// may be added before and after Listen.
type Server struct {
	addr     string
	mux      *http.ServeMux
	http     *http.Server
	registry *prometheus.Registry
	ready    readiness

	mu       sync.Mutex
	listener net.Listener
}

// New makes a server which does not listen yet. It switches go-zero's own
// metrics on, which /metrics shows beside those of the server's registry.
func New(cfg Config) *Server {
	gozero.Enable()

	s := &Server{addr: cfg.Addr, mux: http.NewServeMux(), registry: prometheus.NewRegistry()}
	s.registry.MustRegister(newBuildInfo())
	s.mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		writeText(w, http.StatusOK, "ok\n")
	})
	s.mux.HandleFunc("GET /readyz", s.ready.serve)
	s.mux.Handle("GET /metrics", metricsHandler(s.registry))
	if cfg.Pprof {
		s.mux.HandleFunc("/debug/pprof/", pprof.Index)
		s.mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		s.mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		s.mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		s.mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	s.http = &http.Server{
		Handler:           s.mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      2 * time.Minute, // a profile takes as long as its ?seconds= says
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	return s
}

// newBuildInfo is the metric linktrail_build_info.
func newBuildInfo() prometheus.Collector {
	info := buildinfo.Read()
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "linktrail_build_info",
		Help:        "Always 1; the labels say which version of linktrail runs and from which commit it was built.",
		ConstLabels: prometheus.Labels{"version": info.Version, "revision": info.Revision},
	}, func() float64 { return 1 })
}

// metricsHandler serves the registry and Prometheus' default one, where go-zero's
// metrics live and where client_golang itself puts the Go runtime's and the
// process's. One collector that fails does not hide the others.
func metricsHandler(registry *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(prometheus.Gatherers{registry, prometheus.DefaultGatherer}, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 8,
		Timeout:             10 * time.Second,
	})
}

// Registry is where a service registers its metrics.
func (s *Server) Registry() *prometheus.Registry { return s.registry }

// Ready adds a condition of readiness: /readyz answers 200 while every check
// returns nil. Checks run together, each within CheckDeadline, and never twice at
// a time. The error's text is shown to whoever asks, so it must hold no secret. It
// panics on a name that is taken.
func (s *Server) Ready(name string, check func(context.Context) error) { s.ready.add(name, check) }

// Handle adds what a service shows of itself, under a pattern of http.ServeMux. It
// panics on a pattern that is taken. Whoever reaches the port can read it.
func (s *Server) Handle(pattern string, handler http.Handler) { s.mux.Handle(pattern, handler) }

// Drain makes /readyz answer 503 from now on, so that no new work is sent here,
// while /livez stays 200. It is the first step of a stop.
func (s *Server) Drain() { s.ready.draining.Store(true) }

// Listen takes the port. A port that is taken, or an address that is none, is an
// error which names address and key.
func (s *Server) Listen() error {
	listener, err := net.Listen("tcp", s.addr)
	if err != nil {
		return fmt.Errorf("Ops.Addr: cannot listen on %q: %w", s.addr, reason(err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		_ = listener.Close()
		return fmt.Errorf("Ops.Addr: already listening on %s", s.listener.Addr())
	}
	s.listener = listener
	return nil
}

// reason drops the address from a listener's error: the caller has named it.
func reason(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// Addr is the address listened on, with the port that was chosen for port 0;
// before Listen it is the configured one.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return s.addr
	}
	return s.listener.Addr().String()
}

// Serve answers until Shutdown, and then returns nil. It listens first when
// Listen was not called.
func (s *Server) Serve() error {
	s.mu.Lock()
	listener := s.listener
	s.mu.Unlock()
	if listener == nil {
		if err := s.Listen(); err != nil {
			return err
		}
		return s.Serve()
	}
	if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("ops: %w", err)
	}
	return nil
}

// Shutdown stops listening and waits for the answers and checks under way, at
// most until ctx ends; then it cuts the connections that are left.
func (s *Server) Shutdown(ctx context.Context) error {
	s.Drain()
	err := s.http.Shutdown(ctx)
	if err != nil {
		_ = s.http.Close()
	}
	s.mu.Lock()
	if s.listener != nil {
		_ = s.listener.Close() // Serve may never have been called
	}
	s.mu.Unlock()
	if waitErr := s.ready.wait(ctx); err == nil {
		err = waitErr
	}
	if err != nil {
		return fmt.Errorf("ops: shutdown: %w", err)
	}
	return nil
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}
