package click_test

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/link"
)

// maxForm is the most bytes that a click may need in its wire form, when all of its text has to be escaped.
const maxForm = 6*(click.MaxReferrer+click.MaxUserAgent+click.MaxLanguage) + link.MaxSlug + 512

// FuzzDecode reads whatever may lie in the topic: what is accepted can be stored, and written and read again.
func FuzzDecode(f *testing.F) {
	c := fullClick()
	f.Add(c.AppendJSON(nil))
	c = click.Click{ID: click.NewID(time.UnixMilli(1)), LinkID: 1, Code: "abc", Time: time.UnixMilli(1)}
	f.Add(c.AppendJSON(nil))
	f.Fuzz(func(t *testing.T, value []byte) {
		c, err := click.Decode(value)
		if err != nil {
			return
		}
		form := c.AppendJSON(nil)
		if len(form) > maxForm {
			t.Fatalf("%d bytes", len(form))
		}
		again, err := click.Decode(form)
		if err != nil {
			t.Fatalf("what Decode returned cannot be decoded again: %v", err)
		}
		if diff := cmp.Diff(c, again, compareClicks); diff != "" {
			t.Fatalf("-first +second\n%s", diff)
		}
		checkStorable(t, c)
	})
}

// FuzzRoundTrip makes a click of what a request may hold, as the front door does: it always arrives, as it was sent, and
// counts there as it would have counted at the door.
func FuzzRoundTrip(f *testing.F) {
	f.Add("Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0", "https://user:pass@news.example/a?b#c", "de-AT,de;q=0.9", "at", []byte{203, 0, 113, 77}, int64(1_770_000_000_123_456), []byte{1})
	f.Add("a\xff\x00\u0085\u2028\"\\</script>", "\xf0\x9f\x98://\x80", ";", "XX", bytes.Repeat([]byte{0xfe}, 16), int64(-1), []byte{})
	f.Fuzz(func(t *testing.T, userAgent, referrer, language, country string, address []byte, micros int64, ids []byte) {
		const first, last = 0, 253_402_300_799_999_999 // 1970 to 9999
		at := time.UnixMicro(min(max(micros, first), last)).UTC()
		sent := click.Click{
			ID: click.NewID(time.UnixMicro(1_770_000_000_000_000)), LinkID: 1 + int64(len(ids)), Code: "abc", Time: at,
			Referrer: click.CleanReferrer(referrer), UserAgent: click.Cut(userAgent, click.MaxUserAgent), Language: click.CleanLanguage(language),
			Country: click.CleanCountry(country), Sampled: len(ids)%2 == 1,
		}
		if addr, ok := netip.AddrFromSlice(address); ok {
			sent.Client = click.NetworkOf(addr)
		}
		copy(sent.TraceID[:], ids)
		copy(sent.SpanID[:], ids[len(ids)/2:])
		form := sent.AppendJSON(nil)
		if len(form) > maxForm || !json.Valid(form) || !utf8.Valid(form) || bytes.ContainsFunc(form, func(r rune) bool { return r < ' ' }) {
			t.Fatalf("not one line of at most %d bytes of JSON: %q", maxForm, form)
		}
		got, err := click.Decode(form)
		if err != nil {
			t.Fatalf("%v: %s", err, form)
		}
		if diff := cmp.Diff(sent, got, compareClicks); diff != "" {
			t.Fatalf("-sent +got\n%s", diff)
		}
		checkStorable(t, got)
		click.Classify(&sent)
		click.Classify(&got)
		if sent.Bot != got.Bot || sent.Dimensions() != got.Dimensions() {
			t.Fatalf("counts as %v, at the door as %v", got.Dimensions(), sent.Dimensions())
		}
		// A newer writer may add fields; this one's still say the same.
		newer := append([]byte(`{"added":{"v":[2,"x"]},`), form[1:]...)
		if got, err := click.Decode(newer); err != nil || !cmp.Equal(sent.ID, got.ID) || got.UserAgent != sent.UserAgent {
			t.Fatalf("with a field more: %v, %v", got, err)
		}
	})
}

// checkStorable wants text that every store takes, and dimensions of the names that there are.
func checkStorable(t *testing.T, c click.Click) {
	t.Helper()
	for text, limit := range map[string]int{c.UserAgent: click.MaxUserAgent, c.Referrer: click.MaxReferrer, c.Language: click.MaxLanguage, c.Code: link.MaxSlug} {
		if len(text) > limit || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			t.Fatalf("%q cannot be stored", text)
		}
	}
	click.Classify(&c)
	for _, v := range c.Dimensions() {
		if v.Value == "" || !utf8.ValidString(v.Value) || len(v.Value) > 128 {
			t.Fatalf("%s is %q", v.Dimension, v.Value)
		}
		if v.Dimension == click.DimensionDevice && (v.Value == click.DeviceBot) != c.Bot {
			t.Fatalf("a device %s of what is a bot: %v", v.Value, c.Bot)
		}
	}
}

// FuzzUserAgent wants names of the tables and no others, whatever a caller says of itself.
func FuzzUserAgent(f *testing.F) {
	for i, row := range mustReadUserAgents(f) {
		if i%10 == 0 {
			f.Add(row.header)
		}
	}
	people, bots, systems := append(click.Browsers(), click.Unknown), append(click.Bots(), click.Unknown), append(click.Systems(), click.Unknown)
	f.Fuzz(func(t *testing.T, header string) {
		c := click.Click{UserAgent: header}
		click.Classify(&c)
		v := c.Dimensions()
		browser, system, device := v[2].Value, v[3].Value, v[4].Value
		names := people
		if c.Bot {
			names = bots
		}
		if !slices.Contains(names, browser) || !slices.Contains(systems, system) || (device == click.DeviceBot) != c.Bot {
			t.Fatalf("%s on %s, %s, bot %v", browser, system, device, c.Bot)
		}
	})
}

// FuzzSeries asks for the series of any range in any zone: steps go up, hold the whole range, and lose no quarter.
func FuzzSeries(f *testing.F) {
	f.Add("Europe/Berlin", int64(1_774_738_800), int64(7200), uint8(0))
	f.Add("Pacific/Apia", int64(1_325_000_000), int64(400_000), uint8(1))
	f.Add("America/St_Johns", int64(1_320_000_000), int64(10_000_000), uint8(2))
	f.Fuzz(func(t *testing.T, name string, from, length int64, interval uint8) {
		zone, err := time.LoadLocation(name)
		if err != nil {
			zone = time.FixedZone("", len(name)%90*977-40_000)
		}
		q := click.StatsQuery{Location: zone, Interval: []click.Interval{click.IntervalHour, click.IntervalDay, click.IntervalMonth}[interval%3],
			From: time.Unix(from%253_402_300_799, 0), To: time.Unix(from%253_402_300_799, 0).Add(time.Duration(length%100_000_000) * time.Second)}
		q, err = q.Check()
		if err != nil {
			if link.KindOf(err) != link.KindInvalid {
				t.Fatal(err)
			}
			return
		}
		var quarters []click.Step
		for at, n := q.From, 0; at.Before(q.To) && n < 400; at, n = at.Add(click.Quarter), n+1 {
			quarters = append(quarters, click.Step{Start: at, Clicks: 1})
		}
		var sum int64
		steps := q.Series(quarters)
		for i, s := range steps {
			sum += s.Clicks
			if i > 0 && !s.Start.After(steps[i-1].Start) {
				t.Fatalf("%s follows %s", s.Start, steps[i-1].Start)
			}
		}
		if len(steps) == 0 || len(steps) > click.MaxSteps || steps[0].Start.After(q.From) || sum != int64(len(quarters)) {
			t.Fatalf("%d steps from %s hold %d of %d quarters", len(steps), steps[0].Start, sum, len(quarters))
		}
	})
}
