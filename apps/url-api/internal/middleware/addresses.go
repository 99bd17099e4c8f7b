package middleware

import (
	"net/http"
	"path"
	"strings"
)

// OneAddress hands requests for an address that is written in another way than its own to notFound. go-zero's router
// would clean the path first, so that the statistics of the link with an empty code, /api/v1/links//stats, were the link
// "stats", and take an escaped slash in a code for one that parts the path.
func OneAddress(notFound, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path.Clean(r.URL.Path) != r.URL.Path || strings.Contains(strings.ToLower(r.URL.RawPath), "%2f") {
			notFound.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Plain makes of a request what go-zero's router and middlewares take for an ordinary one: HEAD is GET, whose body
// net/http then leaves out, and the headers go by which a caller would be free of the timeout, as the API has neither
// WebSockets nor event streams.
func Plain(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			get := *r
			get.Method = http.MethodGet
			r = &get
		}
		r.Header.Del("Upgrade")
		if r.Header.Get("Accept") == "text/event-stream" {
			r.Header.Del("Accept")
		}
		next.ServeHTTP(w, r)
	})
}
