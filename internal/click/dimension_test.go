package click_test

import (
	"strings"
	"testing"

	"github.com/linktrail/linktrail/internal/click"
)

func TestDimensionsOfUserAgents(t *testing.T) {
	for name, tt := range map[string]struct{ ua, browser, os, device string }{
		"ChromeWindows":  {"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36", "Chrome", "Windows", "desktop"},
		"EdgeWindows":    {"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0", "Edge", "Windows", "desktop"},
		"FirefoxLinux":   {"Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0", "Firefox", "Linux", "desktop"},
		"SafariMac":      {"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15", "Safari", "macOS", "desktop"},
		"SafariIPhone":   {"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1", "Safari", "iOS", "mobile"},
		"SafariIPad":     {"Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.6 Mobile/15E148 Safari/604.1", "Safari", "iOS", "tablet"},
		"ChromeAndroid":  {"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36", "Chrome", "Android", "mobile"},
		"SamsungAndroid": {"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36", "Samsung Browser", "Android", "mobile"},
		"OperaWindows":   {"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36 OPR/123.0.0.0", "Opera", "Windows", "desktop"},
		"FacebookApp":    {"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/22G86 [FBAN/FBIOS;FBAV/520.0.0;FBBV/1;FBDV/iPhone16,2]", "Facebook App", "iOS", "mobile"},
		"Cubot":          {"Mozilla/5.0 (Linux; Android 11; CUBOT NOTE 20) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile Safari/537.36", "Chrome", "Android", "mobile"},
		"Nonsense":       {"complete nonsense", "unknown", "unknown", "unknown"},
	} {
		t.Run("OK"+name, func(t *testing.T) {
			c := click.Click{UserAgent: tt.ua}
			click.Classify(&c)
			if c.Bot {
				t.Error("taken for a bot")
			}
			got := dimensions(&c)
			if got[click.DimensionBrowser] != tt.browser || got[click.DimensionOS] != tt.os || got[click.DimensionDevice] != tt.device {
				t.Errorf("got %v, want %s on %s, %s", got, tt.browser, tt.os, tt.device)
			}
		})
	}
}

func TestClassifyBots(t *testing.T) {
	for _, ua := range []string{
		"", "   ", "curl/8.14.1", "Wget/1.25.0", "Go-http-client/1.1", "python-requests/2.32.4", "Python/3.13 aiohttp/3.12",
		"okhttp/5.1.0", "Java/21.0.8", "Apache-HttpClient/5.5 (Java/21)", "PostmanRuntime/7.45", "node-fetch/1.0", "axios/1.11.0",
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/141.0.0.0 Safari/537.36",
		"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
		"Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Mobile Safari/537.36 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
		"Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm) Chrome/116.0 Safari/537.36",
		"Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", "Slack-ImgProxy (+https://api.slack.com/robots)",
		"facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)", "facebookexternalhit/1.1",
		"WhatsApp/2.23.20.0 A", "Twitterbot/1.0", "TelegramBot (like TwitterBot)", "LinkedInBot/1.0 (compatible; Mozilla/5.0)",
		"Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)", "http.rb/5.1.1 (Mastodon/4.2.1; +https://social.example/)",
		"Mozilla/5.0 (Windows NT 10.0) SkypeUriPreview Preview/0.5", "kube-probe/1.34", "Mozilla/5.0 (compatible; UptimeRobot/2.0)",
		"GPTBot", "Some-Spider", "CCBot/2.0 (https://commoncrawl.org/faq/)",
	} {
		t.Run("OK "+ua, func(t *testing.T) {
			c := click.Click{UserAgent: ua}
			click.Classify(&c)
			if !c.Bot {
				t.Error("not taken for a bot")
			}
			if device := dimensions(&c)[click.DimensionDevice]; device != click.DeviceBot {
				t.Errorf("device %s", device)
			}
		})
	}
	t.Run("OKNoLongerABot", func(t *testing.T) {
		c := click.Click{Bot: true, UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"}
		if click.Classify(&c); c.Bot {
			t.Error("what the producer said outlived Classify")
		}
	})
}

func TestDimensionsOfReferrerAndCountry(t *testing.T) {
	for referrer, want := range map[string]string{
		"":                                 "direct",
		"https://www.Example.com/a/b":      "example.com",
		"https://news.example:8443":        "news.example",
		"http://user@host.example./":       "host.example",
		"http://[2001:db8::1]:80/x":        "[2001:db8::1]",
		"http://[2001:db8::1]/x":           "[2001:db8::1]",
		"android-app://com.example.reader": "com.example.reader",
		"about:blank":                      "unknown",
		"://x":                             "unknown",
		"https://":                         "unknown",
		"https://bücher.example/":          "bücher.example",
	} {
		c := click.Click{Referrer: referrer}
		if got := dimensions(&c)[click.DimensionReferrer]; got != want {
			t.Errorf("%q: got %q, want %q", referrer, got, want)
		}
	}
	long := click.Click{Referrer: "https://" + strings.Repeat("a", 400) + "/"}
	if got := dimensions(&long)[click.DimensionReferrer]; len(got) != 128 {
		t.Errorf("%d bytes", len(got))
	}
	c := click.Click{Country: "DE"}
	if got := dimensions(&c)[click.DimensionCountry]; got != "DE" {
		t.Errorf("got %q", got)
	}
	if got := dimensions(&click.Click{})[click.DimensionCountry]; got != click.Unknown {
		t.Errorf("got %q", got)
	}
}

// dimensions returns the click's values by dimension and checks that each dimension has one, in order.
func dimensions(c *click.Click) map[click.Dimension]string {
	values := make(map[click.Dimension]string)
	all := click.Dimensions()
	for i, v := range c.Dimensions() {
		if v.Dimension != all[i] {
			panic("dimensions out of order")
		}
		values[v.Dimension] = v.Value
	}
	return values
}

func BenchmarkDimensions(b *testing.B) {
	c := click.Click{UserAgent: "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36", Referrer: "https://www.example.com/x"}
	b.ReportAllocs()
	for b.Loop() {
		click.Classify(&c)
		c.Dimensions()
	}
}
