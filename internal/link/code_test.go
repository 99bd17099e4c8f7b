package link_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/linktrail/linktrail/internal/link"
)

func TestNewCode(t *testing.T) {
	t.Run("OK", func(t *testing.T) {
		seen := make(map[string]bool)
		for range 10_000 {
			code, err := link.NewCode(nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(code) != link.CodeLength || !link.ValidCode(code) || strings.ContainsAny(code, "-_") {
				t.Fatalf("%q is not %d base62 characters", code, link.CodeLength)
			}
			if seen[code] {
				t.Fatalf("%q came twice", code)
			}
			seen[code] = true
		}
	})
	t.Run("OKEveryCharacterEquallyLikely", func(t *testing.T) {
		// NewCode reads two codes' worth of bytes at a time: each value of a byte fills one code, or is passed over.
		var all []byte
		for b := range 256 {
			all = append(all, bytes.Repeat([]byte{byte(b)}, 2*link.CodeLength)...)
		}
		codes := make(map[string]int)
		random := bytes.NewReader(all)
		for {
			code, err := link.NewCode(random)
			if err != nil {
				break
			}
			codes[code]++
		}
		if len(codes) != 62 {
			t.Fatalf("%d different codes, want one a character", len(codes))
		}
		for code, n := range codes {
			if n != 4 {
				t.Errorf("%s came from %d values of a byte, want 4", code, n)
			}
		}
	})
	t.Run("OKNoReservedWord", func(t *testing.T) {
		// The bytes of "healthz" in the alphabet, then others.
		const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
		var random []byte
		for _, r := range "healthz" + "0000000" + "1111111" + "2222222" {
			random = append(random, byte(strings.IndexRune(alphabet, r)))
		}
		code, err := link.NewCode(bytes.NewReader(random))
		if err != nil || code != "1111111" {
			t.Fatalf("got %q, %v", code, err)
		}
	})
	t.Run("ErrNoRandomness", func(t *testing.T) {
		if _, err := link.NewCode(iotest.ErrReader(io.ErrClosedPipe)); !errors.Is(err, io.ErrClosedPipe) {
			t.Fatalf("got %v", err)
		}
	})
}

func TestCheckSlug(t *testing.T) {
	for _, slug := range []string{"abc", "A-b_9", "apis", "robots-txt", strings.Repeat("x", 64)} {
		t.Run("OK "+slug, func(t *testing.T) {
			if err := link.CheckSlug(slug); err != nil {
				t.Fatal(err)
			}
			if !link.ValidCode(slug) {
				t.Fatal("no valid code")
			}
		})
	}
	for slug, want := range map[string]string{
		"":                      "must have 3 to 64 characters, got 0",
		"ab":                    "must have 3 to 64 characters, got 2",
		strings.Repeat("x", 65): "must have 3 to 64 characters, got 65",
		"a b":                   `got ' '`,
		"a/b":                   `got '/'`,
		"a.b":                   `got '.'`,
		"bücher":                `got 'ü'`,
		"abc\x00":               `got '\x00'`,
		"api":                   `"api" is reserved`,
		"Metrics":               `"Metrics" is reserved`,
		"HEALTHZ":               `"HEALTHZ" is reserved`,
	} {
		t.Run("Err "+slug, func(t *testing.T) {
			mustRefuse(t, link.CheckSlug(slug), "slug", want)
		})
	}
}

func TestValidCode(t *testing.T) {
	for s, want := range map[string]bool{
		"abc": true, "aZ09-_x": true, strings.Repeat("x", 64): true,
		"": false, "ab": false, strings.Repeat("x", 65): false, "a/b": false, "favicon.ico": false, "ü-ü": false, "a%20b": false,
	} {
		if got := link.ValidCode(s); got != want {
			t.Errorf("ValidCode(%q) = %v", s, got)
		}
	}
	s := strings.Repeat("x", 64)
	if n := testing.AllocsPerRun(100, func() { _ = link.ValidCode(s) }); n != 0 {
		t.Errorf("ValidCode allocates %v times", n)
	}
}

// FuzzSlug compares what decides about codes: what may be chosen has the shape of a code, what has the shape and may not be
// chosen is reserved, and random codes may all be chosen.
func FuzzSlug(f *testing.F) {
	f.Add("abc")
	f.Add("go-blog_2026")
	f.Fuzz(func(t *testing.T, s string) {
		err := link.CheckSlug(s)
		switch {
		case err == nil && !link.ValidCode(s):
			t.Fatalf("%q may be chosen, but no link is looked for under it", s)
		case err != nil && link.ValidCode(s) && !strings.HasSuffix(err.Error(), "is reserved"):
			t.Fatalf("%q has the shape of a code, but %v", s, err)
		case err != nil && link.KindOf(err) != link.KindInvalid:
			t.Fatalf("%q: %v", s, err)
		}
		code, err := link.NewCode(io.MultiReader(strings.NewReader(s), rand.NewChaCha8([32]byte{})))
		if err != nil || len(code) != link.CodeLength || link.CheckSlug(code) != nil {
			t.Fatalf("a random code is %q, %v", code, err)
		}
	})
}

// mustRefuse wants an Error of kind Invalid on a field whose text contains want.
func mustRefuse(t *testing.T, err error, field, want string) {
	t.Helper()
	var refused *link.Error
	if !errors.As(err, &refused) {
		t.Fatalf("got %v, want a refusal", err)
	}
	if refused.Kind != link.KindInvalid || refused.Field != field || !strings.Contains(refused.Message, want) {
		t.Fatalf("got kind %s, field %q, message %q; want field %q and %q", refused.Kind, refused.Field, refused.Message, field, want)
	}
}
