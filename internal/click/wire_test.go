package click_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/internal/click"
)

func fullClick() click.Click {
	at := time.Date(2026, 5, 1, 12, 30, 15, 123456000, time.UTC)
	return click.Click{
		ID:        uuid.MustParse("019de352-0b33-774b-a0ab-8e2f2b1cfd21"),
		LinkID:    42,
		Code:      "aZ3_-x9",
		Time:      at,
		Referrer:  "https://news.example/été/",
		UserAgent: "Mozilla/5.0 (X11; Linux x86_64) \"quoted\" \\back\\",
		Language:  "de-AT",
		Client:    netip.MustParsePrefix("203.0.113.0/24"),
		Country:   "AT",
		Bot:       true,
		TraceID:   trace.TraceID{0x4b, 0xf9, 15: 0x36},
		SpanID:    trace.SpanID{0x00, 0xf0, 7: 0xb7},
		Sampled:   true,
	}
}

var compareClicks = cmp.Options{cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmpopts.EquateEmpty()}

func TestWire(t *testing.T) {
	minimal := click.Click{ID: click.NewID(time.UnixMilli(1)), LinkID: 1, Code: "abc", Time: time.UnixMilli(1).UTC()}
	ipv6 := fullClick()
	ipv6.Client = netip.MustParsePrefix("2001:db8:7::/48")
	odd := fullClick()
	odd.UserAgent = "tab\tnul\x00del\x7f\xff日本"
	for name, in := range map[string]click.Click{"Full": fullClick(), "Minimal": minimal, "IPv6": ipv6} {
		t.Run("OKRoundTrip"+name, func(t *testing.T) {
			got, err := click.Decode(in.AppendJSON(nil))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(in, got, compareClicks); diff != "" {
				t.Fatalf("-want +got\n%s", diff)
			}
		})
	}
	t.Run("OKOddText", func(t *testing.T) {
		value := odd.AppendJSON(nil)
		if !json.Valid(value) || !utf8.Valid(value) || bytes.ContainsAny(value, "\x00\n\t") {
			t.Fatalf("not one line of UTF-8 JSON: %q", value)
		}
		got, err := click.Decode(value)
		if err != nil {
			t.Fatal(err)
		}
		if want := "tab\uFFFDnul\uFFFDdel\uFFFD\uFFFD日本"; got.UserAgent != want {
			t.Fatalf("got %q, want %q", got.UserAgent, want)
		}
	})
	t.Run("OKAppendsWithoutAllocating", func(t *testing.T) {
		c := odd
		c.Client = ipv6.Client
		dst := make([]byte, 0, 4096)
		if n := testing.AllocsPerRun(100, func() { dst = c.AppendJSON(dst[:0]) }); n != 0 {
			t.Fatalf("%v allocations", n)
		}
	})
	t.Run("OKUnknownKeys", func(t *testing.T) {
		value := strings.Replace(string(minimal.AppendJSON(nil)), `{"v":1`, `{"variant":{"a":[1]},"v":1`, 1)
		if _, err := click.Decode([]byte(value)); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("OKLongText", func(t *testing.T) {
		c := fullClick()
		c.UserAgent, c.Referrer, c.Language = strings.Repeat("ü", 600), strings.Repeat("日", 600), strings.Repeat("a", 60)
		got, err := click.Decode(c.AppendJSON(nil))
		if err != nil {
			t.Fatal(err)
		}
		if len(got.UserAgent) != 512 || len(got.Referrer) != 510 || len(got.Language) != 35 {
			t.Fatalf("%d, %d and %d bytes", len(got.UserAgent), len(got.Referrer), len(got.Language))
		}
	})
}

func TestDecodeErr(t *testing.T) {
	c := fullClick()
	good := string(c.AppendJSON(nil))
	change := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q to replace", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	for name, tt := range map[string]struct{ value, want string }{
		"Empty":        {"", "not the JSON of a click"},
		"NotJSON":      {"\x00\x01", "not the JSON of a click"},
		"Torn":         {good[:len(good)/2], "not the JSON of a click"},
		"TwoObjects":   {good + good, "not the JSON of a click"},
		"Array":        {"[1]", "not the JSON of a click"},
		"Null":         {"null", "version 0 is not known"},
		"TypeOfLink":   {change(`"link":42`, `"link":"42"`), "not the JSON of a click"},
		"Long":         {change("Linux", strings.Repeat("x", 16<<10)), "more than 16384"},
		"NoVersion":    {change(`"v":1,`, ``), "version 0 is not known"},
		"OldVersion":   {change(`"v":1`, `"v":-1`), "version -1 is not known"},
		"NoID":         {change("019de352-0b33-774b-a0ab-8e2f2b1cfd21", ""), `id "" is not a UUID`},
		"IDForm":       {change("019de352-0b33-774b-a0ab-8e2f2b1cfd21", "{019de352-0b33-774b-a0ab-8e2f2b1cfd21}"), "is not a UUID"},
		"UUIDv4":       {change("-774b-", "-474b-"), "is not a UUIDv7"},
		"Variant":      {change("-a0ab-", "-00ab-"), "is not a UUIDv7"},
		"NoLink":       {change(`"link":42`, `"link":0`), "link 0 is no link's id"},
		"NegativeLink": {change(`"link":42`, `"link":-1`), "link -1 is no link's id"},
		"Code":         {change("aZ3_-x9", "a/b"), `"a/b" is no code`},
		"Time":         {change("2026-05-01T12:30:15.123456Z", "yesterday"), `time "yesterday" is not RFC 3339`},
		"OldTime":      {change("2026-05-01T", "0001-05-01T"), "is not from 1970 to 9999"},
		"Net":          {change("203.0.113.0/24", "203.0.113.7"), "net is not an IPv4 /24 or an IPv6 /48"},
		"WholeAddress": {change("203.0.113.0/24", "203.0.113.7/32"), "net is not an IPv4 /24 or an IPv6 /48"},
		"HostBits":     {change("203.0.113.0/24", "203.0.113.7/24"), "net is not an IPv4 /24 or an IPv6 /48"},
		"Country":      {change(`"AT"`, `"Austria"`), `country "Austria" is not two capitals`},
		"TraceID":      {change("4bf9", "4b"), "is not 32 hexadecimal digits"},
		"TraceIDDigit": {change("4bf9", "4bfz"), "is not 32 hexadecimal digits"},
		"SpanID":       {change("00f0", "00"), "is not 16 hexadecimal digits"},
	} {
		t.Run("Err"+name, func(t *testing.T) {
			_, err := click.Decode([]byte(tt.value))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "203.0.113.7") {
				t.Fatal("the error, which is written to the dead letters, holds a whole address")
			}
		})
	}
}

// TestDecodeNewer decodes what a later linktrail may write, in which keys may have other types.
func TestDecodeNewer(t *testing.T) {
	for _, value := range []string{
		strings.Replace(string(goldenClicks()[0].AppendJSON(nil)), `"v":1`, fmt.Sprintf(`"v":%d`, click.WireVersion+1), 1),
		fmt.Sprintf(`{"v":%d,"link":{"id":"42"},"sampled":3}`, click.WireVersion+7),
	} {
		if _, err := click.Decode([]byte(value)); !errors.Is(err, click.ErrNewer) || !strings.Contains(err.Error(), "is newer than 1, the newest") {
			t.Errorf("%s gave %v", value, err)
		}
	}
}

// goldenClicks are the clicks in each golden file, in its order. A key that a version has not got is empty there: add a
// click for what a new version brings, and leave the files before it as they are.
func goldenClicks() []click.Click {
	ipv6 := fullClick()
	ipv6.Client, ipv6.Bot, ipv6.Sampled = netip.MustParsePrefix("2001:db8:7::/48"), false, false
	at := time.Date(2026, 5, 1, 12, 30, 15, 0, time.UTC)
	minimal := click.Click{ID: uuid.MustParse("019de352-0ab8-7000-8000-000000000001"), LinkID: 1, Code: "abc", Time: at}
	return []click.Click{fullClick(), ipv6, minimal}
}

// TestGolden holds the wire form to the bytes of the golden files, testdata/wire/vN.jsonl, one click a line: what is
// written now is the newest file, and every file is read.
func TestGolden(t *testing.T) {
	for version := 1; version <= click.WireVersion; version++ {
		t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) {
			content, err := os.ReadFile(fmt.Sprintf("testdata/wire/v%d.jsonl", version))
			if err != nil {
				t.Fatal(err)
			}
			lines := bytes.Split(bytes.TrimSuffix(content, []byte("\n")), []byte("\n"))
			clicks := goldenClicks()
			if len(lines) > len(clicks) || version == click.WireVersion && len(lines) != len(clicks) {
				t.Fatalf("%d lines for %d clicks", len(lines), len(clicks))
			}
			for n, line := range lines {
				got, err := click.Decode(line)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(clicks[n], got, compareClicks); diff != "" {
					t.Errorf("line %d: -want +got\n%s", n+1, diff)
				}
				if version != click.WireVersion {
					continue
				}
				if diff := cmp.Diff(string(line), string(clicks[n].AppendJSON(nil))); diff != "" {
					t.Errorf("line %d is written otherwise: a change of meaning is a new version. -golden +written\n%s", n+1, diff)
				}
			}
		})
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	c := fullClick()
	dst := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		dst = c.AppendJSON(dst[:0])
	}
}

func BenchmarkDecode(b *testing.B) {
	c := fullClick()
	value := c.AppendJSON(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := click.Decode(value); err != nil {
			b.Fatal(err)
		}
	}
}
