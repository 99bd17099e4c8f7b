package console_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/linktrail/linktrail/apps/url-api/internal/console"
)

// mustServe returns the console's addresses and a server of them.
func mustServe(t *testing.T) ([]string, *httptest.Server) {
	t.Helper()
	routes, err := console.Routes(console.Config{Enabled: true})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	methods := map[string][]string{}
	for _, r := range routes {
		pattern := r.Path
		if pattern == "/" {
			pattern = "/{$}"
		}
		mux.HandleFunc(r.Method+" "+pattern, r.Handler)
		methods[r.Path] = append(methods[r.Path], r.Method)
	}
	var addresses []string
	for address, of := range methods {
		if diff := cmp.Diff([]string{http.MethodGet, http.MethodHead}, of); diff != "" {
			t.Errorf("methods of %s (-want +got):\n%s", address, diff)
		}
		addresses = append(addresses, address)
	}
	slices.Sort(addresses)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return addresses, server
}

// answer is a response, read.
type answer struct {
	status int
	length int64
	header http.Header
	body   string
}

func mustAsk(t *testing.T, method, address, ifNoneMatch string) answer {
	t.Helper()
	request, err := http.NewRequest(method, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if ifNoneMatch != "" {
		request.Header.Set("If-None-Match", ifNoneMatch)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.ContentLength, response.Header, string(body)}
}

func TestRoutes(t *testing.T) {
	t.Run("OK off is no address at all", func(t *testing.T) {
		routes, err := console.Routes(console.Config{})
		if err != nil || len(routes) != 0 {
			t.Errorf("%d routes, error %v", len(routes), err)
		}
	})
	addresses, server := mustServe(t)
	for _, wanted := range []string{"/", "/console.css", "/console.js", "/console.svg", "/console/api.js"} {
		if !slices.Contains(addresses, wanted) {
			t.Errorf("%s is not served; there are %v", wanted, addresses)
		}
	}
	for _, address := range addresses {
		t.Run("OK "+address, func(t *testing.T) {
			got := mustAsk(t, http.MethodGet, server.URL+address, "")
			if got.status != http.StatusOK || got.body == "" {
				t.Fatalf("%d with %d bytes", got.status, len(got.body))
			}
			wantHeaders(t, got.header)
			etag := got.header.Get("ETag")
			again := mustAsk(t, http.MethodGet, server.URL+address, etag)
			if again.status != http.StatusNotModified || again.body != "" || again.header.Get("ETag") != etag {
				t.Errorf("with its ETag: %d, %d bytes, ETag %s", again.status, len(again.body), again.header.Get("ETag"))
			}
			wantHeaders(t, again.header)
			if other := mustAsk(t, http.MethodGet, server.URL+address, `"another"`); other.status != http.StatusOK {
				t.Errorf("with another ETag: %d", other.status)
			}
			head := mustAsk(t, http.MethodHead, server.URL+address, "")
			if head.status != http.StatusOK || head.body != "" || head.length != int64(len(got.body)) {
				t.Errorf("HEAD: %d, %d bytes, length %d", head.status, len(head.body), head.length)
			}
		})
	}
}

func wantHeaders(t *testing.T, h http.Header) {
	t.Helper()
	for name, value := range map[string]string{
		"Content-Security-Policy":      console.Policy,
		"X-Content-Type-Options":       "nosniff",
		"Referrer-Policy":              "no-referrer",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Cache-Control":                "no-cache",
	} {
		if h.Get(name) != value {
			t.Errorf("%s: %q, want %q", name, h.Get(name), value)
		}
	}
	if !strings.HasPrefix(h.Get("ETag"), `"`) {
		t.Errorf("ETag: %q is not strong", h.Get("ETag"))
	}
}

// TestPolicy holds the page to what its policy allows, so that nothing of it is dead in a browser, and the policy to what
// makes text that strangers chose harmless.
func TestPolicy(t *testing.T) {
	for _, piece := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "base-uri 'none'",
		"form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"} {
		if !slices.Contains(strings.Split(console.Policy, "; "), piece) {
			t.Errorf("the policy has no %q", piece)
		}
	}
	if strings.Contains(console.Policy, "unsafe") || strings.Contains(console.Policy, "*") {
		t.Errorf("the policy is lax: %s", console.Policy)
	}
	addresses, server := mustServe(t)
	forbidden := map[string]*regexp.Regexp{
		".html": regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+=|javascript:|<script[^>]*>[^<]|<base|\saction=`),
		".js":   regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|"style"|localStorage|document\.cookie|\.srcdoc`),
		".css":  regexp.MustCompile(`@import|url\(|expression\(`),
		".svg":  regexp.MustCompile(`(?i)<script|<style|\sstyle=|\son[a-z]+=|href`),
	}
	for _, address := range addresses {
		body := mustAsk(t, http.MethodGet, server.URL+address, "").body
		extension := path.Ext(address)
		if address == "/" {
			extension = ".html"
		}
		if found := forbidden[extension].FindString(body); found != "" {
			t.Errorf("%s has %q", address, found)
		}
	}
}

// TestReferences looks for an address that the page names and the server does not know, and for a file that nothing names.
func TestReferences(t *testing.T) {
	addresses, server := mustServe(t)
	named := map[string]bool{"/": true}
	attribute := regexp.MustCompile(`(?:src|href)="([^"]+)"`)
	imported := regexp.MustCompile(`(?m)^(?:import|export)\b[^;]*?from "([^"]+)";`)
	for _, address := range addresses {
		body := mustAsk(t, http.MethodGet, server.URL+address, "").body
		switch {
		case address == "/":
			for _, match := range attribute.FindAllStringSubmatch(body, -1) {
				named[match[1]] = true
			}
		case path.Ext(address) == ".js":
			for _, match := range imported.FindAllStringSubmatch(body, -1) {
				named[path.Join(path.Dir(address), match[1])] = true
			}
		}
	}
	delete(named, "/openapi.json") // the API's
	var names []string
	for name := range named {
		names = append(names, name)
	}
	slices.Sort(names)
	if diff := cmp.Diff(addresses, names); diff != "" {
		t.Errorf("addresses that are served, and that are named (-served +named):\n%s", diff)
	}
}
