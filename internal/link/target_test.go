package link_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/linktrail/linktrail/internal/link"
)

func TestNormalizeTarget(t *testing.T) {
	policy := link.TargetPolicy{OwnHosts: []string{"sho.rt", "Localhost:8080", "bücher.example.", "[::1]:8080", "127.0.0.1:8080", "go.example:443"}}
	for raw, want := range map[string]string{
		"https://example.com":                       "https://example.com",
		"  https://example.com/  ":                  "https://example.com/",
		"HTTPS://Example.COM/Path?Q=1#Frag":         "https://example.com/Path?Q=1#Frag",
		"http://example.com:80/":                    "http://example.com/",
		"https://example.com:443/":                  "https://example.com/",
		"https://example.com:0443":                  "https://example.com",
		"https://example.com:":                      "https://example.com",
		"http://example.com:443/":                   "http://example.com:443/",
		"https://example.com.:8443/":                "https://example.com.:8443/",
		"https://müller.example/straße?q=ü#ß":       "https://xn--mller-kva.example/stra%C3%9Fe?q=%C3%BC#%C3%9F",
		"https://MÜLLER.example":                    "https://xn--mller-kva.example",
		"https://faß.example":                       "https://xn--fa-hia.example",
		"https://例え。テスト/":                           "https://xn--r8jz45g.xn--zckzah/",
		"https://xn--mller-kva.example/":            "https://xn--mller-kva.example/",
		"https://r3---sn-4g5e6nz7.example/":         "https://r3---sn-4g5e6nz7.example/",
		"https://my_bucket.example/":                "https://my_bucket.example/",
		"https://intranet/":                         "https://intranet/",
		"https://192.0.2.1/":                        "https://192.0.2.1/",
		"https://１９２.0.2.1/":                        "https://192.0.2.1/",
		"http://[2001:DB8:0::1]:8080/":              "http://[2001:db8::1]:8080/",
		"https://example.com/a b?c d#e f":           "https://example.com/a%20b?c%20d#e%20f",
		"https://example.com/100%":                  "https://example.com/100%25",
		"https://example.com/%zz%2f%E4":             "https://example.com/%25zz%2f%E4",
		`https://example.com/?q=a\b"<>{}|^` + "`":   "https://example.com/?q=a%5Cb%22%3C%3E%7B%7D%7C%5E%60",
		"https://example.com?q=http://a.b/?c@d:e":   "https://example.com?q=http://a.b/?c@d:e",
		"https://example.com/#a#b":                  "https://example.com/#a%23b",
		"https://example.com/@user/x:y;z,(1)*'!$&+": "https://example.com/@user/x:y;z,(1)*'!$&+",
		"http://localhost:8081/":                    "http://localhost:8081/",
		"https://notsho.rt/":                        "https://notsho.rt/",
		"https://sub.sho.rt/":                       "https://sub.sho.rt/",
		"http://go.example/":                        "http://go.example/",
	} {
		t.Run("OK "+raw, func(t *testing.T) {
			got, err := policy.Normalize(raw)
			if err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Fatalf("got  %s\nwant %s", got, want)
			}
			if again, err := policy.Normalize(got); err != nil || again != got {
				t.Fatalf("normalised again it is %q, %v", again, err)
			}
			mustLocation(t, got)
		})
	}
	for raw, want := range map[string]string{
		"":                                                  "is required",
		"   ":                                               "is required",
		"example.com":                                       "must begin with http:// or https://",
		"//example.com/":                                    "must begin with http:// or https://",
		"ftp://example.com/":                                "must begin with http:// or https://",
		"javascript:alert(1)":                               "must begin with http:// or https://",
		"javascript://example.com/%0aa":                     "must begin with http:// or https://",
		"data:text/html,x":                                  "must begin with http:// or https://",
		" \thttps://example.com":                            "control characters",
		"https://example.com/\r\nX: y":                      "control characters",
		"https://example.com/a\x00b":                        "control characters",
		"ht\ntps://example.com":                             "control characters",
		"https://example.com/\u0085":                        "control characters",
		"https://example.com/\xff":                          "UTF-8",
		"https:example.com":                                 "must have // after https:",
		"https:/example.com":                                "must have // after https:",
		`https:\\example.com`:                               "must have // after https:",
		"https://":                                          "must have a host",
		"http:///x":                                         "must have a host",
		"http://?x":                                         "must have a host",
		"http://:80/":                                       "must have a host",
		"https://./":                                        "must have a host",
		`https://example.com\@evil.test/`:                   "user name or password",
		`https://example.com\.evil.test/`:                   `must not hold "\\" in its host`,
		`https://example.com/\evil.test`:                    `must not hold \ in its path`,
		"https://user@example.com/":                         "user name or password",
		"https://user:pass@example.com/":                    "user name or password",
		"https://@example.com/":                             "user name or password",
		"https://exa mple.com/":                             `must not hold " " in its host`,
		"https://ex%61mple.com/":                            `must not hold "%" in its host`,
		"https://[fe80::1%25eth0]/":                         `must not hold "%" in its host`,
		"https://example.com:0/":                            "port from 1 to 65535",
		"https://example.com:65536/":                        "port from 1 to 65535",
		"https://example.com:99999999999/":                  "port from 1 to 65535",
		"https://example.com:x/":                            "port from 1 to 65535",
		"https://example.com:1:2/":                          "port from 1 to 65535",
		"https://example.com:-1/":                           "port from 1 to 65535",
		"https://[::1/":                                     "a [ without ]",
		"https://[::1]x/":                                   "something other than a port",
		"https://[example.com]/":                            "invalid IPv6 address",
		"https://[192.0.2.1]/":                              "invalid IPv6 address",
		"https://example..com/":                             "invalid host name",
		"https://.example.com/":                             "invalid host name",
		"https://example.com../":                            "invalid host name",
		"https://-example.com/":                             "invalid host name",
		"https://exa<mple.com/":                             "invalid host name",
		"https://a／b.example/":                              "invalid host name",
		"https://xn--ü.example/":                            "invalid host name",
		"https://xn--a.example/":                            "invalid host name",
		"https://" + strings.Repeat("a", 64) + ".example/":  "invalid host name",
		"https://" + strings.Repeat("abc.", 64) + "example": "more than 253 characters",
		"https://127.1/":                                    "neither a name nor an IPv4 address",
		"https://2130706433/":                               "neither a name nor an IPv4 address",
		"https://0x7f.1/":                                   "neither a name nor an IPv4 address",
		"https://0x7f000001/":                               "neither a name nor an IPv4 address",
		"https://256.1.1.1/":                                "neither a name nor an IPv4 address",
		"https://sho.rt/abc":                                "must not point to linktrail itself",
		"http://SHO.RT.:8443/":                              "must not point to linktrail itself",
		"https://ｓｈｏ．ｒｔ/":                                   "must not point to linktrail itself",
		"http://localhost:8080/abc":                         "must not point to linktrail itself",
		"https://BÜCHER.example/":                           "must not point to linktrail itself",
		"https://xn--bcher-kva.example./":                   "must not point to linktrail itself",
		"http://[0:0::1]:8080/":                             "must not point to linktrail itself",
		"http://127.0.0.1:8080/":                            "must not point to linktrail itself",
		"http://[::ffff:127.0.0.1]:8080/":                   "must not point to linktrail itself",
		"https://go.example/":                               "must not point to linktrail itself",
		"https://a.b/" + strings.Repeat("x", 8192):          "at most 8192 bytes, got 8204",
		"https://a.b/" + strings.Repeat("ü", 3000):          "once encoded",
	} {
		name := raw
		if len(name) > 60 {
			name = name[:60]
		}
		t.Run("Err "+name, func(t *testing.T) {
			got, err := policy.Normalize(raw)
			if err == nil {
				t.Fatalf("got %q", got)
			}
			mustRefuse(t, err, "url", want)
		})
	}
}

// mustLocation wants a value that can stand in a Location header: ASCII without spaces which Go reads as the same URL.
func mustLocation(t *testing.T, s string) {
	t.Helper()
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			t.Fatalf("%q holds byte %#x", s, s[i])
		}
	}
	if len(s) > link.MaxURL {
		t.Fatalf("%d bytes", len(s))
	}
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		t.Fatalf("scheme %q, host %q, user %v", u.Scheme, u.Host, u.User)
	}
}

func FuzzNormalizeTarget(f *testing.F) {
	for _, seed := range []string{"https://example.com/a?b#c", "http://[::1]:80/", `https:\\x`, "https://ü.example/%", "http://a@b", "http://0x7f.1"} {
		f.Add(seed)
	}
	policy := link.TargetPolicy{OwnHosts: []string{"sho.rt", "localhost:8080"}}
	f.Fuzz(func(t *testing.T, raw string) {
		normal, err := policy.Normalize(raw)
		if err != nil {
			if link.KindOf(err) != link.KindInvalid {
				t.Fatalf("kind %s: %v", link.KindOf(err), err)
			}
			return
		}
		mustLocation(t, normal)
		if again, err := policy.Normalize(normal); err != nil || again != normal {
			t.Fatalf("%q, normalised again, is %q, %v", normal, again, err)
		}
		u, _ := url.Parse(normal)
		if strings.EqualFold(u.Hostname(), "sho.rt") {
			t.Fatalf("%q is ours", normal)
		}
	})
}
