package door

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/telemetry/otlp"
)

// maxPath and maxHost are the most bytes of a caller's path and host that a span is given.
const (
	maxPath = 256
	maxHost = 255
)

// startSpan starts the server span. A trusted peer's traceparent is its parent; anyone else's is linked to, so that it
// neither joins our traces nor decides what is sampled. Baggage is not read. The context is no request's: it lives as
// long as whoever is given it needs.
func (d *Door) startSpan(h *fasthttp.RequestHeader, name string, trusted bool) (context.Context, trace.Span) {
	ctx := context.Background()
	caller := callerContext(h)
	switch {
	case !caller.IsValid():
		return d.tracer.Start(ctx, name, d.serverKind...)
	case trusted:
		return d.tracer.Start(trace.ContextWithRemoteSpanContext(ctx, caller), name, d.serverKind...)
	default:
		return d.tracer.Start(ctx, name, d.serverKind[0], trace.WithLinks(trace.Link{SpanContext: caller}))
	}
}

// callerContext reads traceparent and tracestate. Several traceparent headers count as none (Trace Context, 3.2).
func callerContext(h *fasthttp.RequestHeader) trace.SpanContext {
	parents := h.PeekAll("traceparent")
	if len(parents) != 1 {
		return trace.SpanContext{}
	}
	carrier := propagation.MapCarrier{"traceparent": string(parents[0])}
	var states []string
	for _, state := range h.PeekAll("tracestate") {
		states = append(states, string(state))
	}
	if len(states) > 0 {
		carrier["tracestate"] = strings.Join(states, ",")
	}
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier))
}

// identify returns the trace and span that the response names: those of the span, or random ones that are not sampled
// when there is no tracing.
func identify(sc trace.SpanContext) trace.SpanContext {
	if sc.IsValid() {
		return sc
	}
	var traceID trace.TraceID
	var spanID trace.SpanID
	binary.BigEndian.PutUint64(traceID[:8], rand.Uint64())
	binary.BigEndian.PutUint64(traceID[8:], rand.Uint64()|1)
	binary.BigEndian.PutUint64(spanID[:], rand.Uint64()|1)
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: traceID, SpanID: spanID})
}

// appendTraceparent appends the header's value (Trace Context, 3.2.2).
func appendTraceparent(dst []byte, sc trace.SpanContext) []byte {
	traceID, spanID := sc.TraceID(), sc.SpanID()
	flags := [1]byte{byte(sc.TraceFlags() & (trace.FlagsSampled | trace.FlagsRandom))}
	dst = append(dst, "00-"...)
	dst = hex.AppendEncode(dst, traceID[:])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, spanID[:])
	dst = append(dst, '-')
	return hex.AppendEncode(dst, flags[:])
}

// maxAttributes is the most attributes that describe sets beside those of the request's kind.
const maxAttributes = 5

// describe sets the attributes of a request and its answer on a span that is recorded. All text is copied: fasthttp's
// buffers are used again before the span is exported.
func (r *request) describe(status int) {
	r.kind(status).attributes.SetOn(r.span)
	room := r.door.attributes.Get().(*[maxAttributes]attribute.KeyValue)
	path := clean(r.path, maxPath)
	attrs := room[:0]
	attrs = append(attrs, semconv.URLPath(path))
	if r.route == routeCode {
		attrs = append(attrs, attribute.String("linktrail.link.code", path[1:]))
	}
	if network := click.NetworkOf(r.client); network.IsValid() {
		attrs = append(attrs, semconv.ClientAddress(network.Addr().String()))
	}
	if agent := r.userAgent(); agent != "" {
		attrs = append(attrs, semconv.UserAgentOriginal(agent))
	}
	if status >= 500 {
		attrs = append(attrs, semconv.ErrorTypeKey.String(strconv.Itoa(status)))
	}
	r.span.SetAttributes(attrs...) // it keeps a copy
	clear(room[:])
	r.door.attributes.Put(room)
}

// kind is what many requests and their answers have in common.
type kind struct {
	method, scheme, version, host string
	route                         route
	status                        int

	attributes *otlp.Attributes // of all that
}

// kind returns the request's. Nearly all requests are of the same one: what the last one was is kept.
func (r *request) kind(status int) *kind {
	k := kind{method: r.method, scheme: r.scheme(), version: r.version(), host: text(r.host()), route: r.route, status: status}
	if last := r.door.lastKind.Load(); last != nil {
		if k.attributes = last.attributes; k == *last {
			return last
		}
	}
	k.host = strings.Clone(k.host)
	described := k.describe()
	r.door.lastKind.Store(described)
	return described
}

// describe returns the kind with its attributes.
func (k kind) describe() *kind {
	attrs := []attribute.KeyValue{
		semconv.HTTPRequestMethodKey.String(k.method),
		semconv.URLScheme(k.scheme),
		semconv.NetworkProtocolVersion(k.version),
		semconv.HTTPResponseStatusCode(k.status),
	}
	if k.route != routeNone {
		attrs = append(attrs, semconv.HTTPRoute(k.route.String()))
	}
	if name, port := splitHost(clean(k.host, maxHost)); name != "" {
		attrs = append(attrs, semconv.ServerAddress(name))
		if port > 0 {
			attrs = append(attrs, semconv.ServerPort(port))
		}
	}
	k.attributes = otlp.NewAttributes(attrs...)
	return &k
}

// userAgent returns a copy of the caller's user agent, the same one each time.
func (r *request) userAgent() string {
	if r.agent == "" {
		r.agent = clean(text(r.rc.Request.Header.UserAgent()), click.MaxUserAgent)
	}
	return r.agent
}

// conclude sets the outcome and ends the span. Only faults of ours are errors of a server span.
func (r *request) conclude(status int) {
	if r.span.IsRecording() {
		r.describe(status)
		if status >= 500 {
			r.span.SetStatus(codes.Error, "")
		}
	}
	r.span.End()
}

func (r *request) scheme() string {
	if r.rc.IsTLS() || r.trusted && string(r.rc.Request.Header.Peek(fasthttp.HeaderXForwardedProto)) == "https" {
		return "https"
	}
	return "http"
}

// host returns what the caller takes this server for: a whole URI as target goes before the Host header (RFC 9112, 3.2.2).
func (r *request) host() []byte {
	if h := &r.rc.Request.Header; len(h.Host()) == 0 || h.RequestURI()[0] == '/' {
		return h.Host()
	}
	return r.rc.URI().Host()
}

func (r *request) version() string {
	if r.rc.Request.Header.IsHTTP11() {
		return "1.1"
	}
	return "1.0"
}

// splitHost splits a Host header. Without a port, or with none that is a number, port is 0.
func splitHost(host string) (name string, port int) {
	if addr, err := netip.ParseAddrPort(host); err == nil {
		return addr.Addr().String(), int(addr.Port())
	}
	name, digits, ok := strings.Cut(host, ":")
	if !ok || strings.Contains(digits, ":") {
		return host, 0
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return name, 0
	}
	return name, int(n)
}
