// Package door is url-api's front door: GET and HEAD /{code}, and /, /robots.txt and /favicon.ico, on fasthttp. It
// promises that
//
//   - a link which the process knows is answered whatever else is away, and nothing waits for Kafka or for statistics;
//   - when more requests come than the machine can bear, or than may wait for the store, some are answered 503 with
//     Retry-After at once, unknown codes first, and the others as fast as ever;
//   - exactly the redirects answered to a GET that is no prefetch become clicks, handed over before the answer leaves;
//   - what proxies say of the caller is believed of trusted ones only, and the caller's whole address is written nowhere;
//   - every request that is not shed has a server span, `GET /{code}`, and every response a traceparent; a caller that is
//     not trusted can neither choose the trace nor have it sampled: its trace is linked to;
//   - paths, codes and whatever else a caller chooses never become names of spans or labels of metrics.
//
// HTTP/1.1, over TLS by configuration; HTTP/2 and 3 are the ingress's.
package door

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
	"github.com/zeromicro/go-zero/core/logx"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

const scope = "github.com/linktrail/linktrail/apps/url-api/internal/door"

// Requests of the door need no body; one that is larger ends the connection.
const maxBody = 4 << 10

// Door is the front door. Make it with New.
type Door struct {
	config     Config
	deps       Deps
	proxies    proxies
	now        func() time.Time
	tracer     trace.Tracer
	metrics    *metrics
	pages      pages
	shedAnswer shedAnswer
	tls        *tls.Config // nil is HTTP
	// serverKind is made once: it is an allocation that every request would make.
	serverKind []trace.SpanStartOption
	server     *fasthttp.Server

	inFlight atomic.Int64
	lookups  atomic.Int64 // all that wait
	unknown  atomic.Int64 // of them those for codes not known to have a link
	overload overload
	conns    atomic.Int64 // open ones, and those that are being refused
	aheads   sync.Pool    // of *ahead

	attributes sync.Pool // of *[maxAttributes]attribute.KeyValue
	lastKind   atomic.Pointer[kind]

	mu       sync.Mutex
	ln       net.Listener
	stopped  bool
	stopping chan struct{} // closed when stopped is set
}

// New returns a Door, or an error that names the key which is wrong.
func New(cfg Config, deps Deps) (*Door, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, err
	}
	d := &Door{config: cfg, deps: deps, now: deps.Now, stopping: make(chan struct{})}
	if d.proxies, err = parseProxies(deps.TrustedProxies); err != nil {
		return nil, err
	}
	if cfg.TLS.CertFile != "" {
		if d.tls, err = newTLS(cfg.TLS); err != nil {
			return nil, fmt.Errorf("Door.TLS: %w", err)
		}
	}
	if d.now == nil {
		d.now = time.Now
	}
	tracers := deps.Tracers
	if tracers == nil {
		tracers = otel.GetTracerProvider()
	}
	d.aheads.New = func() any { return new(ahead) }
	d.attributes.New = func() any { return new([maxAttributes]attribute.KeyValue) }
	d.tracer = tracers.Tracer(scope)
	d.serverKind = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer)}
	d.metrics = newMetrics(d)
	d.pages = newPages()
	d.shedAnswer = newShedAnswer(d.pages)
	d.overload.config = cfg.Shed
	d.server = &fasthttp.Server{
		Handler:                      d.serve,
		ErrorHandler:                 d.refuse,
		ExpectHandler:                d.serveUnasked,
		Logger:                       silent{},
		NoDefaultServerHeader:        true,
		NoDefaultContentType:         true,
		CloseOnShutdown:              true,
		DisablePreParseMultipartForm: true,
		SecureErrorLogMessage:        true,
		Concurrency:                  cfg.MaxConns + 2*maxRefusing, // the listener counts; this must not come first
		ReadBufferSize:               cfg.MaxHeaderBytes,
		MaxRequestBodySize:           maxBody,
		ReadTimeout:                  cfg.ReadTimeout,
		WriteTimeout:                 cfg.WriteTimeout,
		IdleTimeout:                  cfg.IdleTimeout,
		TCPKeepalive:                 true,
		ReduceMemoryUsage:            true, // an idle connection keeps no buffers; see conn.Read
	}
	return d, nil
}

// silent swallows fasthttp's own lines: they hold callers' whole addresses. What is worth knowing is in the metrics.
type silent struct{}

func (silent) Printf(string, ...any) {}

// Serve answers what comes in on ln, over TLS when that is configured, until Shutdown, and then returns nil. It closes
// ln. Call it once.
func (d *Door) Serve(ln net.Listener) error {
	ln = &listener{Listener: ln, door: d}
	if d.tls != nil {
		ln = tls.NewListener(ln, d.tls)
	}
	d.mu.Lock()
	if d.stopped {
		d.mu.Unlock()
		return ln.Close()
	}
	d.ln = ln
	d.mu.Unlock()

	if d.config.Shed.Target > 0 {
		ctx, cancel := context.WithCancel(context.Background())
		var watch sync.WaitGroup
		watch.Go(func() {
			if err := d.overload.watch(ctx); err != nil {
				logx.Errorf("the front door cannot tell whether it is overloaded: %v", err)
			}
		})
		defer watch.Wait()
		defer cancel()
	}
	err := d.server.Serve(ln)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped {
		return nil
	}
	return err
}

// Shutdown accepts no further connections, answers the requests in flight with Connection: close, ends idle connections
// and returns when none is left, or with ctx's error when ctx ends before. When it has returned nil, all clicks of the
// door have been handed to the publisher.
func (d *Door) Shutdown(ctx context.Context) error {
	d.mu.Lock()
	if !d.stopped {
		d.stopped = true
		close(d.stopping)
	}
	if d.ln != nil {
		_ = d.ln.Close() // fasthttp closes it too; it may not know it yet
	}
	d.mu.Unlock()
	_ = d.server.ShutdownWithContext(ctx)
	// fasthttp's error may be that of the listener, which is closed already.
	return d.drained(ctx)
}

// drained waits for the connections that fasthttp has left.
func (d *Door) drained(ctx context.Context) error {
	for d.conns.Load() > 0 || d.server.GetOpenConnectionsCount() > 0 || d.inFlight.Load() > 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("door: %d connections are still open: %w", d.conns.Load(), ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}
