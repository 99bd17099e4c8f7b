// Package record holds what every store does to values before it writes them, so that all stores keep the same.
package record

import (
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/linktrail/linktrail/internal/link"
)

// Time returns t as stores keep it: UTC with microseconds; the zero time stays zero.
func Time(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}

// Text returns s as every database takes it: valid UTF-8 without NUL, which PostgreSQL refuses. What is replaced becomes
// U+FFFD, so that one odd click cannot hold up a batch.
func Text(s string) string {
	if Storable(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// Storable reports whether s can be in a database at all; what cannot is found nowhere.
func Storable(s string) bool {
	return utf8.ValidString(s) && !strings.Contains(s, "\x00")
}

// Fold returns s without its letter case, for any script. Databases disagree on that, so the stores don't ask them.
func Fold(s string) string { return strings.ToLower(strings.ToUpper(s)) }

// SearchText returns what a link is found by: its folded code, URL and title, one a line.
func SearchText(l link.Link) string {
	return Fold(l.Code) + "\n" + Fold(l.URL) + "\n" + Fold(l.Title)
}

// NewLink returns l as it is kept when it is made at now.
func NewLink(l link.Link, now time.Time) link.Link {
	l.CreatedAt = Time(now)
	l.UpdatedAt = l.CreatedAt
	l.ExpiresAt = Time(l.ExpiresAt)
	l.Title = Text(l.Title)
	l.Tags = append([]string{}, l.Tags...)
	return l
}

// Apply returns l with the fields that c names, as it is kept when it is changed at now.
func Apply(l link.Link, c link.Change, now time.Time) link.Link {
	if c.URL != nil {
		l.URL = *c.URL
	}
	if c.Title != nil {
		l.Title = Text(*c.Title)
	}
	if c.Tags != nil {
		l.Tags = append([]string{}, *c.Tags...)
	}
	if c.RedirectStatus != nil {
		l.RedirectStatus = *c.RedirectStatus
	}
	if c.Disabled != nil {
		l.Disabled = *c.Disabled
	}
	if c.ExpiresAt != nil {
		l.ExpiresAt = Time(*c.ExpiresAt)
	}
	l.UpdatedAt = Time(now)
	return l
}

// Network returns a client's network in its usual notation without host bits, "" for the zero prefix.
func Network(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.Masked().String()
}
