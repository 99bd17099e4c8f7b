package link

import (
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits of what people write about a link, in characters.
const (
	MaxTitle = 200
	MaxTags  = 20
	MaxTag   = 50
)

// NormalizeTags returns tags in lower case, without spaces around them, sorted and without repetition; never nil. More
// than MaxTags, an empty tag, one longer than MaxTag and one with control characters are an *Error on the field "tags".
func NormalizeTags(tags []string) ([]string, error) {
	normal := make([]string, 0, min(len(tags), MaxTags))
	for _, tag := range tags {
		if err := checkText("tags", tag); err != nil {
			return nil, err
		}
		tag = strings.ToLower(strings.TrimSpace(tag))
		if tag == "" {
			return nil, Invalid("tags", "must not hold an empty tag")
		}
		if n := utf8.RuneCountInString(tag); n > MaxTag {
			return nil, Invalid("tags", "must not hold a tag of more than %d characters, got one of %d", MaxTag, n)
		}
		if i, found := slices.BinarySearch(normal, tag); !found {
			if len(normal) == MaxTags {
				return nil, Invalid("tags", "must be at most %d", MaxTags)
			}
			normal = slices.Insert(normal, i, tag)
		}
	}
	return normal, nil
}

// CheckTitle refuses a title of more than MaxTitle characters or with control characters; the error is an *Error on the
// field "title".
func CheckTitle(title string) error {
	if n := utf8.RuneCountInString(title); n > MaxTitle {
		return Invalid("title", "must have at most %d characters, got %d", MaxTitle, n)
	}
	return checkText("title", title)
}

// CheckExpiry refuses an expiry that is not after now; the zero time is no expiry and fine. The error is an *Error on
// the field "expires_at".
func CheckExpiry(expiresAt, now time.Time) error {
	if expiresAt.IsZero() {
		return nil
	}
	if !expiresAt.After(now) {
		return Invalid("expires_at", "must be in the future, got %s", expiresAt.UTC().Format(time.RFC3339))
	}
	if expiresAt.UTC().Year() > 9999 { // RFC 3339 has four digits for the year
		return Invalid("expires_at", "must be before the year 10000")
	}
	return nil
}

func checkText(field, s string) error {
	if !utf8.ValidString(s) {
		return Invalid(field, "must be UTF-8")
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return Invalid(field, "must not hold control characters")
	}
	return nil
}
