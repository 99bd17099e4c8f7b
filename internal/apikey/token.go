package apikey

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/linktrail/linktrail/internal/link"
)

// The form of a token: lt_<id>_<secret>.
const (
	prefix         = "lt_"
	idLength       = 12
	idAlphabet     = "0123456789abcdefghijklmnopqrstuvwxyz"
	secretLength   = 43 // log2(62^43) is 256.03 bits
	secretAlphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	tokenLength    = len(prefix) + idLength + len("_") + secretLength
)

// MaxName is the most characters of a key's name.
const MaxName = 100

// New makes a key and its token. The token is shown to its owner once and kept nowhere. A wrong name or scope is a
// *link.Error of kind Invalid.
func New(name string, scopes []Scope, now time.Time) (Key, string, error) {
	id, err := randomText(rand.Reader, idAlphabet, idLength)
	if err != nil {
		return Key{}, "", err
	}
	secret, err := randomText(rand.Reader, secretAlphabet, secretLength)
	if err != nil {
		return Key{}, "", err
	}
	token := prefix + id + "_" + secret
	key, err := FromToken(token, name, scopes, now)
	if err != nil {
		return Key{}, "", err
	}
	return key, token, nil
}

// FromToken returns the key of a token that exists already, so that an installation can bring its first key along. The
// errors are of kind Invalid; none quotes the token.
func FromToken(token, name string, scopes []Scope, now time.Time) (Key, error) {
	id, secret, ok := split(token)
	if !ok {
		return Key{}, link.Invalid("token", "must be lt_<id>_<secret> with an id of %d characters of [a-z0-9] and a secret of %d of [A-Za-z0-9]",
			idLength, secretLength)
	}
	name = strings.TrimSpace(name)
	if n := utf8.RuneCountInString(name); n < 1 || n > MaxName {
		return Key{}, link.Invalid("name", "must have 1 to %d characters, got %d", MaxName, n)
	}
	scopes, err := checkScopes(scopes)
	if err != nil {
		return Key{}, err
	}
	hash := sha256.Sum256([]byte(secret))
	return Key{ID: id, Name: name, Hash: hash[:], Scopes: scopes, CreatedAt: now.UTC().Truncate(time.Microsecond)}, nil
}

// ParseScopes turns names into scopes, in the order of Scopes and each once; the error names what is not one.
func ParseScopes(names []string) ([]Scope, error) {
	scopes := make([]Scope, len(names))
	for i, name := range names {
		scopes[i] = Scope(strings.TrimSpace(name))
	}
	return checkScopes(scopes)
}

func checkScopes(scopes []Scope) ([]Scope, error) {
	known := Scopes()
	for _, s := range scopes {
		if !slices.Contains(known, s) {
			return nil, link.Invalid("scopes", "must be among %s, got %q", join(known), s)
		}
	}
	if len(scopes) == 0 {
		return nil, link.Invalid("scopes", "must name at least one of %s", join(known))
	}
	return slices.DeleteFunc(known, func(s Scope) bool { return !slices.Contains(scopes, s) }), nil
}

func join(scopes []Scope) string {
	names := make([]string, len(scopes))
	for i, s := range scopes {
		names[i] = string(s)
	}
	return strings.Join(names, ", ")
}

// Verify returns the key of a token. A token that is malformed, unknown, revoked or has a wrong secret is one and the same
// *link.Error of kind Unauthorized. An unknown id costs the same hash and comparison as a known one, and the comparison
// takes constant time. Errors of the store are returned as they are.
func Verify(ctx context.Context, store Store, token string) (Key, error) {
	id, secret, ok := split(token)
	if !ok {
		return Key{}, unauthorized()
	}
	hash := sha256.Sum256([]byte(secret))
	key, err := store.KeyByID(ctx, id)
	known := err == nil
	if !known {
		if link.KindOf(err) != link.KindNotFound {
			return Key{}, fmt.Errorf("verify API key: %w", err)
		}
		key.Hash = make([]byte, sha256.Size)
	}
	same := subtle.ConstantTimeCompare(hash[:], key.Hash) == 1
	if !known || !same || !key.RevokedAt.IsZero() {
		return Key{}, unauthorized()
	}
	return key, nil
}

func unauthorized() error {
	return &link.Error{Kind: link.KindUnauthorized, Message: "a valid API key is needed: Authorization: Bearer lt_…"}
}

// Allows returns nil when the key grants the scope, and else a *link.Error of kind Forbidden that names it.
func (k Key) Allows(scope Scope) error {
	if slices.Contains(k.Scopes, scope) {
		return nil
	}
	return &link.Error{Kind: link.KindForbidden, Message: fmt.Sprintf("the API key lacks the scope %s", scope)}
}

// split takes a token apart without looking at more than its form.
func split(token string) (id, secret string, ok bool) {
	if len(token) != tokenLength {
		return "", "", false
	}
	rest, ok := strings.CutPrefix(token, prefix)
	if !ok || rest[idLength] != '_' {
		return "", "", false
	}
	id, secret = rest[:idLength], rest[idLength+1:]
	if strings.Trim(id, idAlphabet) != "" || strings.Trim(secret, secretAlphabet) != "" {
		return "", "", false
	}
	return id, secret, true
}

// randomText returns n characters of the alphabet, each as likely as the other: bytes that would favour some are dropped.
func randomText(random io.Reader, alphabet string, n int) (string, error) {
	limit := 256 - 256%len(alphabet)
	text := make([]byte, 0, n)
	buffer := make([]byte, n)
	for len(text) < n {
		if _, err := io.ReadFull(random, buffer); err != nil {
			return "", fmt.Errorf("read random bytes: %w", err)
		}
		for _, b := range buffer {
			if int(b) < limit && len(text) < n {
				text = append(text, alphabet[int(b)%len(alphabet)])
			}
		}
	}
	return string(text), nil
}
