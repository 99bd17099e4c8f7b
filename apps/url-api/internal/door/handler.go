package door

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"
	"unsafe"

	"github.com/valyala/fasthttp"
	"github.com/zeromicro/go-zero/core/logx"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/link"
)

// request is what is known of one request while it is answered.
type request struct {
	door  *Door
	rc    *fasthttp.RequestCtx
	began time.Time

	method  string
	path    string // lies in fasthttp's buffer: copy what outlives the handler
	route   route
	fault   fault
	shed    bool // answered by turnAway
	peer    netip.Addr
	trusted bool
	client  netip.Addr
	agent   string // see userAgent

	ctx  context.Context // holds the span; of no request, see startSpan
	span trace.Span
	id   trace.SpanContext // what the response's traceparent names
}

// serve is fasthttp's handler.
func (d *Door) serve(rc *fasthttp.RequestCtx) {
	d.inFlight.Add(1)
	d.overload.requests.Add(1)
	r := request{door: d, rc: rc, began: d.now(), method: methodOf(&rc.Request.Header), peer: peer(rc)}
	defer r.finish()
	r.trusted = d.proxies.trust(r.peer)
	r.path = text(rc.URI().PathOriginal())
	if r.fault = r.check(); r.fault.status == 0 && (r.method == http.MethodGet || r.method == http.MethodHead) {
		r.find()
	}
	if r.refused() {
		r.shed = true
		r.turnAway()
		return
	}
	r.begin(spanName(r.method, r.route))
	r.answer()
}

// serveUnasked answers a request that waits to be asked for its body (Expect: 100-continue): no body is wanted, so it is
// answered at once. fasthttp takes the status from what this returns and closes the connection.
func (d *Door) serveUnasked(rc *fasthttp.RequestCtx) int {
	d.serve(rc)
	return rc.Response.StatusCode()
}

// refuse answers what is no request: fasthttp calls it in place of the handler and closes the connection.
func (d *Door) refuse(rc *fasthttp.RequestCtx, err error) {
	d.inFlight.Add(1)
	r := request{door: d, rc: rc, began: d.now(), method: methodOther, peer: peer(rc)}
	defer r.finish()
	r.begin(spanName(methodOther, routeNone))
	r.hangUp()
	rc.Response.SkipBody = rc.Request.Header.IsHead()
	status, detail := refusal(rc, err)
	r.problem(status, detail)
}

// begin starts the span and sets the headers of every response.
func (r *request) begin(name string) {
	h := &r.rc.Request.Header
	r.ctx, r.span = r.door.startSpan(h, name, r.trusted)
	r.id = identify(r.span.SpanContext())
	r.client = r.door.proxies.client(h, r.peer)
	var buf [55]byte
	set(&r.rc.Response.Header, "Traceparent", text(appendTraceparent(buf[:0], r.id)))
	set(&r.rc.Response.Header, "X-Robots-Tag", "noindex")
}

// finish is deferred, since fasthttp lets a panic end the process.
func (r *request) finish() {
	defer r.door.inFlight.Add(-1)
	if p := recover(); p != nil {
		r.panicked(p)
	}
	if r.shed {
		return
	}
	status := r.rc.Response.StatusCode()
	if r.span != nil {
		r.conclude(status)
	}
	took := r.door.now().Sub(r.began)
	r.door.metrics.answered(status)
	r.door.metrics.duration.Observe(took.Seconds())
	if r.door.config.AccessLog {
		r.log(status, took)
	}
}

func (r *request) panicked(p any) {
	r.door.metrics.panics.Inc()
	if r.ctx == nil {
		r.ctx = context.Background()
	}
	logx.WithContext(r.ctx).Errorw("the front door panicked",
		logx.Field("panic", fmt.Sprint(p)), logx.Field("stack", string(debug.Stack())))
	r.rc.Response.ResetBody()
	r.rc.Response.Header.Del("Location")
	r.problem(http.StatusInternalServerError, "Something went wrong on our side.")
}

func (r *request) answer() {
	if n := r.rc.Request.Header.ContentLength(); n > 0 || n == -1 { // -1: in chunks
		// No request needs a body here. One that has been read over may hide where the next request begins.
		r.hangUp()
	}
	if c := connOf(r.rc.Conn()); c != nil && c.excess {
		r.hangUp()
		r.problem(http.StatusServiceUnavailable, "There are too many connections, please try again.")
		return
	}
	if r.fault.status != 0 {
		r.hangUp()
		r.problem(r.fault.status, r.fault.detail)
		return
	}
	if r.method != http.MethodGet && r.method != http.MethodHead {
		r.rc.Response.Header.Set("Allow", "GET, HEAD")
		r.problem(http.StatusMethodNotAllowed, "Short links are for reading: use GET or HEAD.")
		return
	}
	switch r.route {
	case routeCode:
		r.follow()
	case routeHome:
		r.home()
	case routeRobots:
		r.page("text/plain; charset=utf-8", "public, max-age=86400", "User-agent: *\nDisallow: /\n")
	case routeFavicon:
		r.rc.Response.Header.Set("Cache-Control", "public, max-age=86400")
		r.rc.SetStatusCode(http.StatusNoContent)
	default:
		r.problem(http.StatusNotFound, "There is nothing at this address.")
	}
}

// hangUp ends the connection after the answer, in a way that lets the answer arrive where more is still being sent.
func (r *request) hangUp() {
	r.rc.SetConnectionClose()
	if c := connOf(r.rc.Conn()); c != nil {
		c.linger.Store(true)
	}
}

// follow answers GET and HEAD /{code}.
func (r *request) follow() {
	code := r.path[1:]
	entry, known := r.door.deps.Links.Peek(code)
	if !known {
		code = strings.Clone(code)
		var err error
		if entry, err = r.lookup(code); err != nil {
			r.failed(err)
			return
		}
	}
	l := &entry.Link
	switch {
	case !entry.Found || l.Disabled:
		r.failed(link.NotFound(strings.Clone(code)))
	case l.Expired(r.began):
		r.problem(http.StatusGone, "This link has expired.")
	default:
		r.redirect(l)
	}
}

// redirect sends the caller to the link's target. The click is handed over first: it exists exactly when the redirect is
// answered, and the publisher does not wait.
func (r *request) redirect(l *link.Link) {
	status := l.RedirectStatus
	if link.CheckRedirectStatus(status) != nil {
		status = link.DefaultRedirectStatus
	}
	prefetch := r.prefetch()
	if r.method == http.MethodGet && !prefetch {
		r.door.deps.Clicks.Publish(r.ctx, r.click(l))
	}
	h := &r.rc.Response.Header
	set(h, "Location", l.URL)
	set(h, "Cache-Control", r.door.cacheControl(status, prefetch, l.ExpiresAt, r.began))
	r.rc.SetStatusCode(status)
}

// cacheControl lets a browser keep a permanent redirect for a moment, never beyond the link's end. One that was only
// prefetched must come again when it is followed, or its click would not be counted.
func (d *Door) cacheControl(status int, prefetch bool, expires, now time.Time) string {
	if prefetch || status != http.StatusMovedPermanently && status != http.StatusPermanentRedirect {
		return "private, max-age=0"
	}
	age := d.config.PermanentMaxAge
	if !expires.IsZero() {
		age = min(age, expires.Sub(now))
	}
	if age == 30*time.Second {
		return "private, max-age=30"
	}
	return fmt.Sprintf("private, max-age=%d", int(age.Seconds()))
}

// prefetch tells a request that a browser makes before anybody has clicked.
func (r *request) prefetch() bool {
	h := &r.rc.Request.Header
	return strings.HasPrefix(text(h.Peek("Sec-Purpose")), "prefetch") ||
		strings.EqualFold(text(h.Peek("Purpose")), "prefetch") ||
		strings.EqualFold(text(h.Peek("X-Moz")), "prefetch") ||
		strings.EqualFold(text(h.Peek("X-Purpose")), "preview")
}

// click makes the click of this request. Whether its caller is a bot is left to who reads it: telling costs more than
// the redirect.
func (r *request) click(l *link.Link) click.Click {
	h := &r.rc.Request.Header
	at := r.began.UTC().Truncate(time.Microsecond)
	return click.Click{
		ID:        click.NewID(at),
		LinkID:    l.ID,
		Code:      l.Code,
		Time:      at,
		Referrer:  strings.Clone(click.CleanReferrer(text(h.Referer()))),
		UserAgent: r.userAgent(),
		Language:  strings.Clone(click.CleanLanguage(text(h.Peek("Accept-Language")))),
		Client:    click.NetworkOf(r.client),
		Country:   r.country(),
		TraceID:   r.id.TraceID(),
		SpanID:    r.id.SpanID(),
		Sampled:   r.id.IsSampled(),
	}
}

// country takes a trusted proxy's word, else the database's.
func (r *request) country() string {
	if name := r.door.deps.CountryHeader; name != "" && r.trusted {
		if code := click.CleanCountry(text(r.rc.Request.Header.Peek(name))); code != "" {
			return strings.Clone(code)
		}
	}
	if r.door.deps.Countries == nil {
		return ""
	}
	return r.door.deps.Countries.Country(r.client)
}

func (r *request) log(status int, took time.Duration) {
	network := ""
	if n := click.NetworkOf(r.client); n.IsValid() {
		network = n.String()
	}
	logx.WithContext(r.ctx).Infow("access",
		logx.Field("method", r.method),
		logx.Field("path", clean(r.path, maxPath)),
		logx.Field("route", r.route.String()),
		logx.Field("status", status),
		logx.Field("duration_us", took.Microseconds()),
		logx.Field("client", network),
		logx.Field("user_agent", clean(text(r.rc.Request.Header.UserAgent()), click.MaxUserAgent)),
	)
}

// text looks at a buffer of fasthttp's as a string, which is good only until the handler returns and only while the
// buffer is not written.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// set sets a header whose name is in its canonical form, as Set would find out each time.
func set(h *fasthttp.ResponseHeader, name, value string) { h.SetCanonical(raw(name), raw(value)) }

// raw looks at a string as bytes, which must not be written.
func raw(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// clean returns a copy of s that is valid UTF-8 without control characters and has at most limit bytes.
func clean(s string, limit int) string { return strings.Clone(click.Cut(s, limit)) }
