package door

import (
	"bytes"
	"net/http"
	"strings"

	"github.com/valyala/fasthttp"
)

// fault says why a request is refused that fasthttp has read; its zero value is no fault. fasthttp follows RFC 9112 in
// most, but is lenient where another server on the way may read the same bytes in another way. Each of these ends the
// connection, so that nothing behind it is taken for a request.
type fault struct {
	status int
	detail string
}

// check looks at what fasthttp lets pass. It costs a walk over the header lines (see BenchmarkCheck): fasthttp keeps the
// bytes as they came, so nothing has to be watched while they arrive.
func (r *request) check() fault {
	h := &r.rc.Request.Header
	if !validFields(h.RawHeaders()) {
		return fault{http.StatusBadRequest, "The request's headers are not valid HTTP/1.1."}
	}
	if !h.IsHTTP11() {
		if f := checkVersion(h); f.status != 0 {
			return f
		}
	}
	if !validHost(h.Host()) {
		return fault{http.StatusBadRequest, "The request's Host is not a valid host."}
	}
	if uri := h.RequestURI(); len(uri) != len(r.path) && (r.method == http.MethodGet || r.method == http.MethodHead) && !r.validTarget(uri) {
		return fault{http.StatusBadRequest, "The request's target is not a valid URI."}
	}
	return fault{}
}

// validFields reports whether header lines, as they came, with the empty line at the end, leave no doubt about where the
// request ends: every line ends in CR LF and none continues the one before it, names are tokens, the one transfer coding
// is chunked, and no length is told beside it (RFC 9112, 2.2, 5.1, 5.2, 6.1, 6.3). fasthttp has seen to the rest: colons,
// names but for blanks inside, values, one length, one coding, one Host.
func validFields(raw []byte) bool {
	if len(raw) == 0 {
		return true
	}
	var length, coding bool
	for len(raw) > 2 {
		if raw[0] == ' ' || raw[0] == '\t' {
			return false
		}
		end := bytes.IndexByte(raw, '\n')
		if end < 2 || raw[end-1] != '\r' {
			return false
		}
		line := raw[:end-1]
		raw = raw[end+1:]
		// The first blank mostly follows the colon, which is then found by the way.
		colon := bytes.IndexByte(line, ' ') - 1
		if colon < 0 || line[colon] != ':' {
			if colon = bytes.IndexByte(line, ':'); colon < 1 || bytes.IndexByte(line[:colon], ' ') >= 0 {
				return false
			}
		}
		switch colon {
		case len("Content-Length"):
			length = length || strings.EqualFold(text(line[:colon]), "Content-Length")
		case len("Transfer-Encoding"):
			if strings.EqualFold(text(line[:colon]), "Transfer-Encoding") {
				coding = true
				if !strings.EqualFold(text(bytes.Trim(line[colon+1:], " \t")), "chunked") {
					return false
				}
			}
		}
	}
	return string(raw) == "\r\n" && (!length || !coding)
}

// checkVersion looks at a version other than 1.1, which fasthttp takes for 1.0 whatever it is. A higher 1.x is answered as
// 1.1 is (RFC 9110, 2.5).
func checkVersion(h *fasthttp.RequestHeader) fault {
	switch version := text(h.Protocol()); {
	case version == "HTTP/1.0":
		return fault{}
	case !strings.HasPrefix(version, "HTTP/1."):
		return fault{http.StatusHTTPVersionNotSupported, "This server speaks HTTP/1.1."}
	case len(h.Host()) == 0:
		return fault{http.StatusBadRequest, "The request has no Host."}
	default:
		return fault{}
	}
}

// hostBytes are the bytes of a host and its port (RFC 3986, 3.2.2); an @ is not among them.
var hostBytes = func() (table [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=:[]%") {
		table[c] = true
	}
	return table
}()

// validHost reports whether a Host header holds bytes of a host alone; fasthttp has looked at brackets and port.
func validHost(host []byte) bool {
	for _, c := range host {
		if !hostBytes[c] {
			return false
		}
	}
	return true
}

// validTarget looks at a request target that is more than a path: it has a query or a fragment, or is a whole URI, which
// a server must take (RFC 9112, 3.2.2). A fragment is never sent (3.2), and neither are a user's name and password
// (RFC 9110, 4.2.4).
func (r *request) validTarget(uri []byte) bool {
	if bytes.IndexByte(uri, '#') >= 0 {
		return false
	}
	if uri[0] == '/' {
		return true
	}
	scheme, rest, ok := strings.Cut(text(uri), "://")
	if !ok || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return false
	}
	if end := strings.IndexAny(rest, "/?"); end >= 0 {
		rest = rest[:end]
	}
	return len(rest) > 0 && rest[0] != ':' && validHost([]byte(rest))
}

// unescape resolves percent-encoded unreserved characters, which mean the same as the characters themselves (RFC 3986,
// 6.2.2.2); others stay as they are. It reports false for what is no URI: bytes that must be encoded, and a % without two
// hexadecimal digits.
func unescape(path string) (string, bool) {
	var out []byte
	for i := 0; i < len(path); i++ {
		c := path[i]
		switch {
		case c <= ' ' || c >= 0x7f:
			return "", false
		case c != '%':
			if out != nil {
				out = append(out, c)
			}
			continue
		case i+2 >= len(path):
			return "", false
		}
		high, low := unhex(path[i+1]), unhex(path[i+2])
		if high < 0 || low < 0 {
			return "", false
		}
		if out == nil {
			out = append(make([]byte, 0, len(path)), path[:i]...)
		}
		if c := byte(high<<4 | low); unreserved(c) {
			out = append(out, c)
		} else {
			out = append(out, path[i:i+3]...)
		}
		i += 2
	}
	if out == nil {
		return path, true
	}
	return string(out), true
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	default:
		return -1
	}
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}
