package link

import (
	"crypto/rand"
	"fmt"
	"io"
	"strings"
)

// CodeLength is the length of a random code: 62^7, so 3.5 × 10^12, possible codes.
const CodeLength = 7

// A slug, which is a code that somebody chose, has MinSlug to MaxSlug characters of [A-Za-z0-9_-].
const (
	MinSlug = 3
	MaxSlug = 64
)

const codeAlphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// NewCode returns a random code of CodeLength base62 characters, each as likely as any other. random is where the
// randomness comes from; nil is crypto/rand. Two calls may return the same code, so whoever stores it tries again on a
// conflict. The only error is that of random.
func NewCode(random io.Reader) (string, error) {
	if random == nil {
		random = rand.Reader
	}
	var code [CodeLength]byte
	var pool [2 * CodeLength]byte
	for {
		n := 0
		for n < len(code) {
			if _, err := io.ReadFull(random, pool[:]); err != nil {
				return "", fmt.Errorf("link: no randomness for a code: %w", err)
			}
			for _, b := range pool {
				// The bytes from the last whole multiple of 62 on would favour the first characters.
				if int(b) >= 256/len(codeAlphabet)*len(codeAlphabet) {
					continue
				}
				code[n] = codeAlphabet[int(b)%len(codeAlphabet)]
				if n++; n == len(code) {
					break
				}
			}
		}
		if s := string(code[:]); !reserved(s) {
			return s, nil
		}
	}
}

// CheckSlug refuses what may not be the code of a link; the error is an *Error on the field "slug".
func CheckSlug(s string) error {
	if len(s) < MinSlug || len(s) > MaxSlug {
		return Invalid("slug", "must have %d to %d characters, got %d", MinSlug, MaxSlug, len(s))
	}
	for _, r := range s {
		if r >= 0x80 || !codeByte(byte(r)) {
			return Invalid("slug", "may hold letters A to Z and a to z, digits, - and _ only, got %q", r)
		}
	}
	if reserved(s) {
		return Invalid("slug", "%q is reserved", s)
	}
	return nil
}

// ValidCode reports whether s has the shape of a code, whether random or chosen. It allocates nothing, so that paths
// which can be no code are told apart before any look-up.
func ValidCode(s string) bool {
	if len(s) < MinSlug || len(s) > MaxSlug {
		return false
	}
	for i := 0; i < len(s); i++ {
		if !codeByte(s[i]) {
			return false
		}
	}
	return true
}

func codeByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '-' || b == '_'
}

// reserved reports whether s is a path that linktrail, a proxy before it, or the habits of the web need for themselves.
func reserved(s string) bool {
	switch strings.ToLower(s) {
	case "api", "admin", "assets", "console", "favicon", "health", "healthz", "links", "livez", "login", "logout",
		"metrics", "openapi", "ready", "readyz", "robots", "sitemap", "static",
		"favicon.ico", "index.html", "openapi.json", "robots.txt", "security.txt", "sitemap.xml", ".well-known":
		return true
	}
	return false
}
