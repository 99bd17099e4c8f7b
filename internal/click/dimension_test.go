package click_test

import (
	"strings"
	"testing"

	"github.com/linktrail/linktrail/internal/click"
)

func TestClassify(t *testing.T) {
	for _, header := range []string{"", "   ", "\t"} {
		t.Run("OKNoUserAgent", func(t *testing.T) {
			c := click.Click{UserAgent: header}
			if click.Classify(&c); !c.Bot || dimensions(&c)[click.DimensionDevice] != click.DeviceBot {
				t.Errorf("%q is not taken for a bot: every browser sends a user agent", header)
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
