// Package problem writes errors as RFC 9457 problem details. It is the one place that maps the kinds of link.Error to
// HTTP statuses; the front door and the API answer with the same body for the same error.
package problem

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/zeromicro/go-zero/core/logc"
	"github.com/zeromicro/go-zero/core/logx"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/outage"
)

// ContentType is the media type of a problem (RFC 9457, 3).
const ContentType = "application/problem+json"

// A Problem is what people and clients are told about an error. Type is "about:blank", so that Title is the status's
// own phrase (RFC 9457, 4.2.1).
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail is a sentence for people about this one error; it never holds internal text.
	Detail string `json:"detail,omitempty"`
	// Field is the field of the request that is wrong, if one is.
	Field string `json:"field,omitempty"`
	// TraceID finds the request's trace and log lines.
	TraceID string `json:"trace_id,omitempty"`
}

// New returns a problem of a status.
func New(status int, detail string) Problem {
	title := http.StatusText(status)
	if status == StatusClientClosedRequest {
		title = "Client Closed Request"
	}
	return Problem{Type: "about:blank", Title: title, Status: status, Detail: detail}
}

// StatusClientClosedRequest is answered to a caller who has gone; it is nginx's, for logs and metrics.
const StatusClientClosedRequest = 499

// FromError returns the problem of a *link.Error in err's chain. An outage of something that linktrail depends on is a
// 503, a request that its caller gave up a 499, and anything else a 500; none of these shows the error's text.
func FromError(err error) Problem {
	e, ok := errors.AsType[*link.Error](err)
	switch {
	case ok && e.Kind != link.KindInternal:
		p := New(Status(e.Kind), sentence(e.Error()))
		p.Field = e.Field
		return p
	case errors.Is(err, context.Canceled):
		return New(StatusClientClosedRequest, "The caller gave the request up.")
	case outage.Of(err):
		return New(http.StatusServiceUnavailable, "Something that linktrail needs cannot be reached at the moment; try again later.")
	default:
		return New(http.StatusInternalServerError, "Something went wrong on our side.")
	}
}

// Fail answers a net/http request with the problem of err. Faults, which are the statuses from 500 on, are logged with
// the error's text.
func Fail(w http.ResponseWriter, r *http.Request, err error) {
	p := FromError(err)
	if p.Status >= http.StatusInternalServerError {
		logc.Errorw(r.Context(), "request failed", logx.Field("method", r.Method), logx.Field("path", r.URL.Path),
			logx.Field("status", p.Status), logx.Field("error", err.Error()))
	}
	Write(r.Context(), w, p)
}

// Status returns the HTTP status of a kind of error; a kind that it does not know is 500.
func Status(k link.Kind) int {
	switch k {
	case link.KindInvalid:
		return http.StatusBadRequest
	case link.KindNotFound:
		return http.StatusNotFound
	case link.KindConflict:
		return http.StatusConflict
	case link.KindUnauthorized:
		return http.StatusUnauthorized
	case link.KindForbidden:
		return http.StatusForbidden
	case link.KindUnavailable:
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}

// WithTrace returns p with the id of the trace in ctx, if there is one.
func (p Problem) WithTrace(ctx context.Context) Problem {
	if sc := trace.SpanContextFromContext(ctx); sc.HasTraceID() {
		p.TraceID = sc.TraceID().String()
	}
	return p
}

// AppendJSON appends the problem's body to dst, for servers that are not net/http.
func (p Problem) AppendJSON(dst []byte) []byte {
	buf := bytes.NewBuffer(dst)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	// Strings and ints always encode, and a Buffer takes all that is written to it.
	_ = enc.Encode(p)
	return buf.Bytes()
}

// Write answers a request with p and the id of the trace in ctx. A 401 names the scheme that it asks for, a 503 when to
// come again; headers that the caller has set for either are kept.
func Write(ctx context.Context, w http.ResponseWriter, p Problem) {
	if p.TraceID == "" {
		p = p.WithTrace(ctx)
	}
	body := p.AppendJSON(nil)
	h := w.Header()
	h.Set("Content-Type", ContentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	switch p.Status {
	case http.StatusUnauthorized:
		setDefault(h, "WWW-Authenticate", `Bearer realm="linktrail"`)
	case http.StatusServiceUnavailable:
		setDefault(h, "Retry-After", "1")
	}
	w.WriteHeader(p.Status)
	// The caller may be gone; there is nobody left to tell.
	_, _ = w.Write(body)
}

func setDefault(h http.Header, key, value string) {
	if h.Get(key) == "" {
		h.Set(key, value)
	}
}

// sentence makes the text of an error a sentence. It leaves the first letter alone: it may be a field's name.
func sentence(s string) string {
	if s == "" || strings.HasSuffix(s, ".") {
		return s
	}
	return s + "."
}
