package door

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/linktrail/linktrail/internal/problem"
)

// home answers /.
func (r *request) home() {
	if target := r.door.config.HomeURL; target != "" {
		r.rc.Response.Header.Set("Location", target)
		r.rc.Response.Header.Set("Cache-Control", "private, max-age=0")
		r.rc.SetStatusCode(http.StatusFound)
		return
	}
	r.secureHTML()
	r.page("text/html; charset=utf-8", "public, max-age=300", r.door.pages.home)
}

// page answers 200 with a fixed body.
func (r *request) page(contentType, cacheControl, body string) {
	h := &r.rc.Response.Header
	h.SetContentType(contentType)
	h.Set("Cache-Control", cacheControl)
	h.Set("X-Content-Type-Options", "nosniff")
	r.rc.Response.SetBodyString(body)
}

// failed answers a look-up that found nothing or could not be made.
func (r *request) failed(err error) {
	p := problem.FromError(err)
	r.problem(p.Status, p.Detail)
}

// problem answers with an error: a page for browsers, problem details (RFC 9457) for all others.
func (r *request) problem(status int, detail string) {
	h := &r.rc.Response.Header
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept")
	h.Set("X-Content-Type-Options", "nosniff")
	if status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "1")
	}
	r.rc.SetStatusCode(status)
	traceID := r.id.TraceID().String()
	if prefersHTML(r.rc.Request.Header.PeekAll("Accept")) {
		r.secureHTML()
		h.SetContentType("text/html; charset=utf-8")
		r.rc.Response.SetBodyString(r.door.pages.problem(status, traceID))
		return
	}
	h.SetContentType(problem.ContentType)
	p := problem.New(status, detail)
	p.TraceID = traceID
	r.rc.Response.SetBodyRaw(p.AppendJSON(nil))
}

func (r *request) secureHTML() {
	h := &r.rc.Response.Header
	h.Set("Content-Security-Policy", r.door.pages.policy)
	h.Set("Referrer-Policy", "no-referrer")
}

// refusal says what is wrong with what fasthttp could not read.
func refusal(rc *fasthttp.RequestCtx, err error) (status int, detail string) {
	if _, ok := errors.AsType[*fasthttp.ErrSmallBuffer](err); ok {
		return http.StatusRequestHeaderFieldsTooLarge, "The request's headers are too large."
	}
	if errors.Is(err, fasthttp.ErrBodyTooLarge) {
		if h := &rc.Request.Header; !h.IsGet() && !h.IsHead() {
			rc.Response.Header.Set("Allow", "GET, HEAD")
			return http.StatusMethodNotAllowed, "Short links are for reading: use GET or HEAD."
		}
		return http.StatusRequestEntityTooLarge, "A request for a short link needs no body."
	}
	if c := connOf(rc.Conn()); c != nil && c.late { // not every error of fasthttp's can be asked
		return http.StatusRequestTimeout, "The request took too long to arrive."
	}
	return http.StatusBadRequest, "The request is not valid HTTP/1.1."
}

// prefersHTML reports whether an Accept header names HTML at least as gladly as JSON. A wildcard names neither: a client
// that takes anything is given problem details.
func prefersHTML(lines [][]byte) bool {
	var html, json float64
	for _, line := range lines {
		for part := range strings.SplitSeq(string(line), ",") {
			media, params, _ := strings.Cut(part, ";")
			switch strings.ToLower(strings.TrimSpace(media)) {
			case "text/html", "application/xhtml+xml":
				html = max(html, quality(params))
			case "application/json", "application/problem+json":
				json = max(json, quality(params))
			}
		}
	}
	return html > 0 && html >= json
}

// quality returns the weight among a media range's parameters (RFC 9110, 12.4.2).
func quality(params string) float64 {
	for param := range strings.SplitSeq(params, ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		if !strings.EqualFold(key, "q") {
			continue
		}
		q, err := strconv.ParseFloat(value, 64)
		if err != nil || q < 0 || q > 1 {
			return 0
		}
		return q
	}
	return 1
}

// pages are the door's HTML pages. They load nothing and run nothing.
type pages struct {
	policy string
	home   string
}

const style = `:root{color-scheme:light dark}` +
	`body{margin:0;min-height:100vh;display:grid;place-items:center;font:1rem/1.5 system-ui,sans-serif;` +
	`background:#fafafa;color:#1c1c1e}main{max-width:32rem;padding:2rem}h1{font-size:1.5rem;margin:0 0 .5rem}` +
	`p{margin:.5rem 0}small{color:#5c5c66;overflow-wrap:anywhere}` +
	`@media(prefers-color-scheme:dark){body{background:#161618;color:#ececf0}small{color:#a0a0aa}}`

func newPages() pages {
	hash := sha256.Sum256([]byte(style))
	return pages{
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) +
			"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
		home: html("Short links", "<p>This server follows short links. Put a link's code after the slash.</p>"),
	}
}

func html(title, body string) string {
	return `<!doctype html><html lang="en"><head><meta charset="utf-8">` +
		`<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="robots" content="noindex">` +
		`<title>` + title + `</title><style>` + style + `</style></head><body><main><h1>` + title + `</h1>` + body +
		`</main></body></html>` + "\n"
}

// problem returns the page of an error. Nothing in it comes from the request.
func (pages) problem(status int, traceID string) string {
	title, words := http.StatusText(status), "This request could not be answered."
	switch status {
	case http.StatusNotFound:
		title, words = "Link not found", "There is no link at this address. Is it spelt right? Capitals count."
	case http.StatusGone:
		title, words = "Link expired", "This link has reached its end and leads nowhere any more."
	case http.StatusServiceUnavailable:
		title, words = "Please try again", "The link could not be looked up right now. Try again in a moment."
	case http.StatusInternalServerError:
		title, words = "Something went wrong", "The fault is ours. Try again in a moment."
	}
	return html(title, "<p>"+words+"</p><p><small>Reference "+traceID+"</small></p>")
}
