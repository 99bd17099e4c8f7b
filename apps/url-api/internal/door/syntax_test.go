package door

import (
	"strings"
	"testing"
)

// BenchmarkCheck measures what it costs to look at a browser's headers once more, after fasthttp.
func BenchmarkCheck(b *testing.B) {
	raw := []byte("Host: s.example\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n" +
		"Accept-Language: en-GB,en;q=0.9\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nReferer: https://news.example/story\r\n" +
		"Connection: keep-alive\r\nUpgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n" +
		"Sec-Fetch-Site: cross-site\r\nSec-Fetch-User: ?1\r\nPriority: u=0, i\r\n\r\n")
	host := []byte("s.example")
	for b.Loop() {
		if !validFields(raw) || !validHost(host) {
			b.Fatal("not valid")
		}
	}
}

func TestUnescape(t *testing.T) {
	for path, want := range map[string]string{
		"/abc":                           "/abc",
		"/%61%62c":                       "/abc",
		"/%2D%2e%5F%7e":                  "/-._~",
		"/%2F%3f%25%00%C3%BC":            "/%2F%3f%25%00%C3%BC",
		"/%2561":                         "/%2561",
		"/a%30":                          "/a0",
		"/" + strings.Repeat("%41", 100): "/" + strings.Repeat("A", 100),
	} {
		if got, ok := unescape(path); !ok || got != want {
			t.Errorf("%s: %q, %v; want %q", path, got, ok, want)
		}
	}
	for _, path := range []string{"/%", "/%4", "/%g1", "/%1g", "/% 1", "/%\x101", "/%%41", "/a b", "/\x7f", "/\xc3\xbc"} {
		if got, ok := unescape(path); ok {
			t.Errorf("%q was taken, as %q", path, got)
		}
	}
}
