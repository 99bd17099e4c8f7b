// Package console serves the console: a page on the API's address that shortens links, shows clicks as they come and
// draws the trace of each. It is plain HTML, CSS and JavaScript modules, embedded as they are written; everything it
// shows comes from the API, with the key of whoever looks at it.
package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/zeromicro/go-zero/rest"
)

// Config is the Console block of url-api's YAML.
type Config struct {
	// Enabled serves the console at / of the API's address.
	Enabled bool `json:",default=true"`
}

//go:embed page
var page embed.FS

// Policy is the Content-Security-Policy of every answer: scripts, styles, images and requests of this origin alone,
// nothing inline, no frames, and no text of anyone's that becomes markup.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// mediaTypes are those of the page's files. They are named here because what Go knows besides depends on the machine.
var mediaTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// Routes are the addresses of the console's files, each for GET and HEAD: the page itself at /, and what it loads. There
// are none when it is not enabled.
func Routes(c Config) ([]rest.Route, error) {
	if !c.Enabled {
		return nil, nil
	}
	var routes []rest.Route
	err := fs.WalkDir(page, "page", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		h, err := serve(name)
		if err != nil {
			return err
		}
		address := strings.TrimPrefix(name, "page")
		if address == "/index.html" {
			address = "/"
		}
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			routes = append(routes, rest.Route{Method: method, Path: address, Handler: h})
		}
		return nil
	})
	return slices.Clip(routes), err
}

// serve answers with one file. A browser asks each time whether it is still the same: the page and its modules must be
// of one version, and the answer is then 304 without a body.
func serve(name string) (http.HandlerFunc, error) {
	content, err := page.ReadFile(name)
	if err != nil {
		return nil, err
	}
	mediaType, ok := mediaTypes[path.Ext(name)]
	if !ok {
		return nil, fmt.Errorf("console: the media type of %s is not known", name)
	}
	etag := fmt.Sprintf(`"%x"`, sha256.Sum256(content))
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", mediaType)
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", etag)
		h.Set("Content-Security-Policy", Policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(content))
	}, nil
}
