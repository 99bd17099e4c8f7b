package click_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/linktrail/linktrail/internal/click"
)

func TestNetworkOf(t *testing.T) {
	for addr, want := range map[string]string{
		"203.0.113.77":               "203.0.113.0/24",
		"::ffff:203.0.113.77":        "203.0.113.0/24",
		"2001:db8:aaaa:bbbb::1":      "2001:db8:aaaa::/48",
		"fe80::1%eth0":               "fe80::/48",
		"127.0.0.1":                  "127.0.0.0/24",
		"::ffff:0:0:1":               "::/48",
		"2001:db8:aaaa:bbbb:c::%lo0": "2001:db8:aaaa::/48",
	} {
		if got := click.NetworkOf(netip.MustParseAddr(addr)); got.String() != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
	if got := click.NetworkOf(netip.Addr{}); got.IsValid() {
		t.Errorf("no address gives %s", got)
	}
	addr := netip.MustParseAddr("2001:db8::1")
	if n := testing.AllocsPerRun(100, func() { click.NetworkOf(addr) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestCleanReferrer(t *testing.T) {
	for header, want := range map[string]string{
		"":                                                "",
		"https://example.com/a?token=secret":              "https://example.com/a",
		"https://example.com/a#frag?x":                    "https://example.com/a",
		"https://user:pass@example.com/a@b":               "https://example.com/a@b",
		"https://user:pass@example.com":                   "https://example.com",
		"https://example.com/\x00\xff":                    "https://example.com/\uFFFD\uFFFD",
		"https://example.com/" + strings.Repeat("x", 600): "https://example.com/" + strings.Repeat("x", 492),
	} {
		if got := click.CleanReferrer(header); got != want {
			t.Errorf("%q: got %q, want %q", header, got, want)
		}
	}
}

func TestCleanLanguage(t *testing.T) {
	for header, want := range map[string]string{
		"": "", "de-AT,de;q=0.9,en;q=0.8": "de-AT", "en;q=0.5": "en", " fr ": "fr", "*": "*",
		strings.Repeat("a", 40): strings.Repeat("a", 35),
	} {
		if got := click.CleanLanguage(header); got != want {
			t.Errorf("%q: got %q, want %q", header, got, want)
		}
	}
}

func TestCleanCountry(t *testing.T) {
	for code, want := range map[string]string{
		"DE": "DE", "de": "DE", "": "", "XX": "", "zz": "", "T1": "", "DEU": "", "D": "", "ü": "", "[{": "", "@A": "",
	} {
		if got := click.CleanCountry(code); got != want {
			t.Errorf("%q: got %q, want %q", code, got, want)
		}
	}
}

func TestCut(t *testing.T) {
	for _, tt := range []struct {
		in   string
		max  int
		want string
	}{
		{"", 0, ""},
		{"abc", 3, "abc"},
		{"abcd", 3, "abc"},
		{"aü", 2, "a"},
		{"aü", 3, "aü"},
		{"日本", 5, "日"},
		{"😀😀", 7, "😀"},
		{"a\x00b", 9, "a\uFFFDb"},
		{"a\u0085b", 9, "a\uFFFDb"},
		{"a\xffb", 3, "a"},
		{"\x80\x80\x80\x80\x80\x80", 5, "\uFFFD"},
		{"tab\tnew\nline", 99, "tab\uFFFDnew\uFFFDline"},
	} {
		if got := click.Cut(tt.in, tt.max); got != tt.want || len(got) > tt.max {
			t.Errorf("Cut(%q, %d) = %q, want %q", tt.in, tt.max, got, tt.want)
		}
	}
	s := strings.Repeat("x", 600)
	if n := testing.AllocsPerRun(100, func() { click.Cut(s, 512) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
