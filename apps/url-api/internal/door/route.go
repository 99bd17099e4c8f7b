package door

import (
	"net/http"

	"github.com/valyala/fasthttp"

	"github.com/linktrail/linktrail/internal/link"
)

// route is what a path is. Only routes become names of spans, never paths.
type route int

const (
	routeNone route = iota // nothing is there, or the method is not allowed
	routeCode
	routeHome
	routeRobots
	routeFavicon
)

func (r route) String() string {
	return [...]string{"", "/{code}", "/", "/robots.txt", "/favicon.ico"}[r]
}

// find sets the route of the path, and the path to what it means where it is percent-encoded without need.
func (r *request) find() {
	if r.route = routeOf(r.path); r.route != routeNone {
		return
	}
	path, ok := unescape(r.path)
	if !ok {
		r.fault = fault{http.StatusBadRequest, "The request's target is not a valid URI."}
		return
	}
	r.path, r.route = path, routeOf(path)
}

// routeOf returns the route of a path. A code is the whole path after the slash, as it is: what has a further segment or
// ends in a slash is no code.
func routeOf(path string) route {
	switch {
	case len(path) == 0 || path == "/":
		return routeHome
	case path[0] != '/':
		return routeNone
	case link.ValidCode(path[1:]):
		return routeCode
	case path == "/robots.txt":
		return routeRobots
	case path == "/favicon.ico":
		return routeFavicon
	default:
		return routeNone
	}
}

// methodOf returns the method as spans name it: HTTP's own ones by name, others as _OTHER.
func methodOf(h *fasthttp.RequestHeader) string {
	switch string(h.Method()) {
	case "GET":
		return "GET"
	case "HEAD":
		return "HEAD"
	case "POST":
		return "POST"
	case "PUT":
		return "PUT"
	case "PATCH":
		return "PATCH"
	case "DELETE":
		return "DELETE"
	case "OPTIONS":
		return "OPTIONS"
	case "TRACE":
		return "TRACE"
	case "CONNECT":
		return "CONNECT"
	default:
		return methodOther
	}
}

const methodOther = "_OTHER"

// spanName is `{method} {route}`, or the method alone where there is no route.
func spanName(method string, r route) string {
	if method == methodOther {
		method = "HTTP"
	}
	switch {
	case r == routeNone:
		return method
	case r == routeCode && method == "GET":
		return "GET /{code}"
	default:
		return method + " " + r.String()
	}
}
