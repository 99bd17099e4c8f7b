package link

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// MaxURL is the most bytes that a target has, as it is given and as it is normalised.
const MaxURL = 8 << 10

// TargetPolicy decides which targets links may have. The zero TargetPolicy knows no hosts of our own.
type TargetPolicy struct {
	// OwnHosts are the names under which linktrail itself is reached: a link to one of them could redirect for ever. An
	// entry is a host, which stands for all its ports, or host:port, which stands for that port alone. Letter case, a
	// trailing dot and the two forms of an internationalised name make no difference.
	OwnHosts []string
}

// Normalize returns the target in the form in which it is stored and sent as a Location header: ASCII only, with scheme
// and host in lower case, internationalised names in punycode, no default port, and everything a URL may not hold
// percent-encoded (RFC 3986). Path, query and fragment are otherwise left alone. What is not an absolute http or https
// URL, or what a browser would read in another way than it looks, is an *Error on the field "url".
func (p TargetPolicy) Normalize(raw string) (string, error) {
	raw = strings.Trim(raw, " ")
	switch {
	case raw == "":
		return "", Invalid("url", "is required")
	case len(raw) > MaxURL:
		return "", Invalid("url", "must have at most %d bytes, got %d", MaxURL, len(raw))
	}
	if err := checkText("url", raw); err != nil {
		return "", err
	}
	scheme, rest, ok := strings.Cut(raw, ":")
	if scheme = strings.ToLower(scheme); !ok || scheme != "http" && scheme != "https" {
		return "", Invalid("url", "must begin with http:// or https://")
	}
	// Browsers take any number of slashes and backslashes here, Go takes exactly two slashes: only what both agree on.
	rest, ok = strings.CutPrefix(rest, "//")
	if !ok {
		return "", Invalid("url", "must have // after %s:", scheme)
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, rest := rest[:end], rest[end:]
	host, port, err := parseAuthority(authority)
	if err != nil {
		return "", err
	}
	if port == defaultPort(scheme) {
		port = 0
	}
	if p.own(host, effectivePort(scheme, port)) {
		return "", Invalid("url", "must not point to linktrail itself (%s)", host)
	}
	normal := scheme + "://" + host
	if port != 0 {
		normal += ":" + strconv.Itoa(port)
	}
	tail, err := encodeTail(rest)
	if err != nil {
		return "", err
	}
	normal += tail
	if len(normal) > MaxURL {
		return "", Invalid("url", "must have at most %d bytes, has %d once encoded", MaxURL, len(normal))
	}
	if _, err := url.Parse(normal); err != nil {
		return "", Invalid("url", "is not a valid URL")
	}
	return normal, nil
}

// own reports whether a normalised host and port are among OwnHosts.
func (p TargetPolicy) own(host string, port int) bool {
	name := hostKey(host)
	for _, entry := range p.OwnHosts {
		ownHost, ownPort, err := parseAuthority(strings.TrimSpace(entry))
		if err != nil {
			continue
		}
		if hostKey(ownHost) == name && (ownPort == 0 || ownPort == port) {
			return true
		}
	}
	return false
}

// hostKey makes hosts that mean the same equal: one without its trailing dot, an IPv4 address in IPv6 as itself.
func hostKey(host string) string {
	host = strings.TrimSuffix(host, ".")
	if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return addr.Unmap().String()
	}
	return host
}

func defaultPort(scheme string) int {
	if scheme == "https" {
		return 443
	}
	return 80
}

func effectivePort(scheme string, port int) int {
	if port == 0 {
		return defaultPort(scheme)
	}
	return port
}

// parseAuthority splits and normalises host[:port]; port is 0 when there is none.
func parseAuthority(authority string) (host string, port int, err error) {
	if strings.ContainsRune(authority, '@') {
		return "", 0, Invalid("url", "must not hold a user name or password")
	}
	if i := strings.IndexFunc(authority, func(r rune) bool { return r == '\\' || r == '%' || unicode.IsSpace(r) }); i >= 0 {
		return "", 0, Invalid("url", "must not hold %q in its host", authority[i:i+1])
	}
	host, digits := authority, ""
	if strings.HasPrefix(authority, "[") {
		end := strings.IndexByte(authority, ']')
		if end < 0 {
			return "", 0, Invalid("url", "has a [ without ] in its host")
		}
		host, digits = authority[:end+1], authority[end+1:]
		if digits != "" && digits[0] != ':' {
			return "", 0, Invalid("url", "has something other than a port after its IPv6 address")
		}
		digits = strings.TrimPrefix(digits, ":")
	} else if i := strings.IndexByte(authority, ':'); i >= 0 {
		host, digits = authority[:i], authority[i+1:]
	}
	if digits != "" {
		if port, err = parsePort(digits); err != nil {
			return "", 0, err
		}
	}
	host, err = normalizeHost(host)
	return host, port, err
}

func parsePort(digits string) (int, error) {
	if strings.Trim(digits, "0123456789") == "" && len(digits) <= 9 {
		if port, err := strconv.Atoi(digits); err == nil && port >= 1 && port <= 65535 {
			return port, nil
		}
	}
	return 0, Invalid("url", "must have a port from 1 to 65535, got %q", digits)
}

func normalizeHost(host string) (string, error) {
	if strings.Trim(host, ".") == "" {
		return "", Invalid("url", "must have a host")
	}
	if strings.HasPrefix(host, "[") {
		addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
		if err != nil || !addr.Is6() || addr.Zone() != "" {
			return "", Invalid("url", "has an invalid IPv6 address %q", host)
		}
		return "[" + addr.String() + "]", nil
	}
	name, err := asciiName(host)
	if err != nil {
		return "", err
	}
	labels := strings.Split(strings.TrimSuffix(name, "."), ".")
	// A name whose last label is a number is an IPv4 address to a browser, which also takes 127.1, 0x7f000001 and the
	// like (WHATWG URL, "ends in a number"). Only the usual form is let through.
	if last := labels[len(labels)-1]; isNumber(last) {
		addr, err := netip.ParseAddr(strings.TrimSuffix(name, "."))
		if err != nil || !addr.Is4() {
			return "", Invalid("url", "has a host which is neither a name nor an IPv4 address of four decimal numbers: %q", host)
		}
		return addr.String(), nil
	}
	return name, nil
}

// asciiName returns a host name in lower case, non-ASCII labels in punycode. Names of ASCII alone follow the DNS's
// letters, digits and hyphens plus the underscore, which real hosts use and UTS 46 refuses.
func asciiName(host string) (string, error) {
	name := strings.ToLower(host)
	if !isASCII(host) || strings.Contains(name, "xn--") {
		var err error
		if name, err = idna.Lookup.ToASCII(host); err != nil {
			return "", Invalid("url", "has an invalid host name %q", host)
		}
	}
	trimmed := strings.TrimSuffix(name, ".")
	if len(trimmed) > 253 {
		return "", Invalid("url", "has a host name of more than 253 characters")
	}
	for label := range strings.SplitSeq(trimmed, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return "", Invalid("url", "has an invalid host name %q", host)
		}
		for i := 0; i < len(label); i++ {
			if !codeByte(label[i]) {
				return "", Invalid("url", "has an invalid host name %q", host)
			}
		}
	}
	return name, nil
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// isNumber reports whether a browser takes a label for a number, decimal, octal or hexadecimal.
func isNumber(label string) bool {
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

// encodeTail percent-encodes what may not stand in path, query and fragment. Escapes that are there already stay.
func encodeTail(tail string) (string, error) {
	var b strings.Builder
	b.Grow(len(tail))
	inPath, inFragment := true, false
	for i := 0; i < len(tail); i++ {
		c := tail[i]
		switch {
		case c == '\\' && inPath:
			return "", Invalid("url", `must not hold \ in its path, which browsers read as /`)
		case c == '%' && (i+2 >= len(tail) || !isHex(tail[i+1]) || !isHex(tail[i+2])),
			c == '#' && inFragment,
			c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>\\^`{|}", c) >= 0:
			const hex = "0123456789ABCDEF"
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
			continue
		case c == '?':
			inPath = false
		case c == '#':
			inPath, inFragment = false, true
		}
		b.WriteByte(c)
	}
	return b.String(), nil
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
