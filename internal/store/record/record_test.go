package record_test

import (
	"net/netip"
	"testing"

	"github.com/linktrail/linktrail/internal/store/record"
)

func TestText(t *testing.T) {
	for given, want := range map[string]string{"": "", "ü🦊": "ü🦊", "a\x00b": "a\uFFFDb", "a\xffb": "a\uFFFDb", "\x00\xff": "\uFFFD\uFFFD"} {
		if got := record.Text(given); got != want || !record.Storable(got) {
			t.Errorf("Text(%q) is %q, want %q", given, got, want)
		}
	}
}

func TestFold(t *testing.T) {
	for _, pair := range [][2]string{{"ABC", "abc"}, {"ÜBER", "über"}, {"ΣΟΦΟΣ", "σοφος"}, {"ПРИВЕТ", "привет"}, {"50%_", "50%_"}} {
		if record.Fold(pair[0]) != record.Fold(pair[1]) {
			t.Errorf("%q and %q differ", pair[0], pair[1])
		}
	}
}

func TestNetwork(t *testing.T) {
	for given, want := range map[netip.Prefix]string{
		{}:                                      "",
		netip.MustParsePrefix("203.0.113.7/24"): "203.0.113.0/24",
		netip.MustParsePrefix("2001:db8::1/48"): "2001:db8::/48",
		netip.PrefixFrom(netip.IPv4Unspecified(), 0): "0.0.0.0/0",
	} {
		if got := record.Network(given); got != want {
			t.Errorf("Network(%v) is %q, want %q", given, got, want)
		}
	}
}
