// Package bare holds the servers that the front door is compared with: a handler on net/http, one on fasthttp and a
// configuration of nginx. They look a code up in a map and answer with the status and the headers of the door's
// redirects, and do nothing else: no trace, no click, no metric, no limit.
package bare

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"
)

// headers are those of the door's redirects beside Location, Content-Length and Date. The traceparent is always the same
// one: whoever is bare makes none.
var headers = [...][2]string{
	{"Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"},
	{"X-Robots-Tag", "noindex"},
	{"Cache-Control", "private, max-age=0"},
}

// Targets are the URLs by code.
type Targets map[string]string

// Read reads lines of code, tab and URL.
func Read(r io.Reader) (Targets, error) {
	t := make(Targets)
	for lines := bufio.NewScanner(r); ; {
		if !lines.Scan() {
			return t, lines.Err()
		}
		code, target, ok := strings.Cut(lines.Text(), "\t")
		if !ok {
			return nil, fmt.Errorf("%q is not a code, a tab and a URL", lines.Text())
		}
		t[code] = target
	}
}

// Write writes what Read reads.
func (t Targets) Write(w io.Writer) error {
	for _, code := range slices.Sorted(maps.Keys(t)) {
		if _, err := fmt.Fprintf(w, "%s\t%s\n", code, t[code]); err != nil {
			return err
		}
	}
	return nil
}

// ServeNetHTTP answers on l with net/http until it fails.
func ServeNetHTTP(l net.Listener, t Targets) error {
	server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target, ok := t[r.URL.Path[1:]]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		h := w.Header()
		for _, header := range headers {
			h.Set(header[0], header[1])
		}
		h.Set("Location", target)
		w.WriteHeader(http.StatusFound)
	})}
	return server.Serve(l)
}

// ServeFastHTTP answers on l with fasthttp until it fails.
func ServeFastHTTP(l net.Listener, t Targets) error {
	server := fasthttp.Server{
		NoDefaultServerHeader: true,
		NoDefaultContentType:  true,
		Handler: func(rc *fasthttp.RequestCtx) {
			target, ok := t[string(rc.Path()[1:])]
			if !ok {
				rc.SetStatusCode(http.StatusNotFound)
				return
			}
			h := &rc.Response.Header
			for _, header := range headers {
				h.Set(header[0], header[1])
			}
			h.Set("Location", target)
			rc.SetStatusCode(http.StatusFound)
		},
	}
	return server.Serve(l)
}

// Nginx returns a configuration of nginx that answers at addr with so many workers, "auto" for one a core, and keeps its
// files in dir. nginx gives its redirects a short HTML body, which cannot be switched off.
func Nginx(addr, dir, workers string, t Targets) string {
	var b strings.Builder
	fmt.Fprintf(&b, "daemon off;\nworker_processes %s;\npid %s/nginx.pid;\nerror_log %s/error.log;\n", workers, dir, dir)
	fmt.Fprintf(&b, "events { worker_connections 4096; }\nhttp {\n  access_log off;\n  keepalive_requests 1000000000;\n")
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&b, "  %s_temp_path %s/%s;\n", kind, dir, kind)
	}
	fmt.Fprintf(&b, "  map_hash_max_size 65536;\n  map_hash_bucket_size 256;\n  map $uri $target {\n")
	for _, code := range slices.Sorted(maps.Keys(t)) {
		fmt.Fprintf(&b, "    /%s %s;\n", code, t[code])
	}
	fmt.Fprintf(&b, "  }\n  server {\n    listen %s;\n    location / {\n", addr)
	for _, header := range headers {
		fmt.Fprintf(&b, "      add_header %s %q;\n", header[0], header[1])
	}
	return b.String() + "      return 302 $target;\n    }\n  }\n}\n"
}
