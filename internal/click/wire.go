package click

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/linktrail/linktrail/internal/link"
)

// WireVersion is the version of the wire form that AppendJSON writes. Decode reads it and all before it. A version is
// raised when a key changes its meaning, not when one is added; testdata/wire then keeps what the one before looked like.
const WireVersion = 1

// ErrNewer is what Decode says of a wire form of a version beyond WireVersion: a newer linktrail can read it.
var ErrNewer = fmt.Errorf("newer than %d, the newest that this linktrail reads", WireVersion)

// MaxWire is the most bytes that Decode looks at. AppendJSON stays far below it.
const MaxWire = 16 << 10

// AppendJSON appends the click's wire form to dst, the value of its Kafka record: one JSON object of about 400 bytes, on
// one line, so that a console consumer shows something readable. It allocates nothing but what dst needs to grow, and
// its result is always valid UTF-8. Empty fields are left out; new keys may be added, a change of meaning is a new
// version.
//
//	v          WireVersion, always the first key
//	id         UUIDv7
//	link       the link's id
//	code       the code it was called by
//	time       RFC 3339 with microseconds, UTC
//	referrer   the Referer header without query and fragment
//	ua         the User-Agent header
//	lang       the first tag of Accept-Language
//	net        the caller's network, as in 203.0.113.0/24
//	country    ISO 3166-1 alpha-2
//	bot        true for automata
//	trace_id   of the redirect's server span, 32 hexadecimal digits
//	span_id    of the same, 16 digits
//	sampled    true when that span was sampled
func (c *Click) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"v":1,"id":"`...)
	dst = appendUUID(dst, c.ID)
	dst = append(dst, `","link":`...)
	dst = strconv.AppendInt(dst, c.LinkID, 10)
	dst = append(dst, `,"code":"`...)
	dst = appendEscaped(dst, c.Code)
	dst = append(dst, `","time":"`...)
	dst = appendTime(dst, c.Time.UTC())
	dst = append(dst, '"')
	dst = appendText(dst, `,"referrer":"`, c.Referrer)
	dst = appendText(dst, `,"ua":"`, c.UserAgent)
	dst = appendText(dst, `,"lang":"`, c.Language)
	if c.Client.IsValid() {
		dst = append(dst, `,"net":"`...)
		dst = c.Client.AppendTo(dst)
		dst = append(dst, '"')
	}
	dst = appendText(dst, `,"country":"`, c.Country)
	if c.Bot {
		dst = append(dst, `,"bot":true`...)
	}
	if c.TraceID.IsValid() {
		dst = append(dst, `,"trace_id":"`...)
		dst = hex.AppendEncode(dst, c.TraceID[:])
		dst = append(dst, '"')
	}
	if c.SpanID.IsValid() {
		dst = append(dst, `,"span_id":"`...)
		dst = hex.AppendEncode(dst, c.SpanID[:])
		dst = append(dst, '"')
	}
	if c.Sampled {
		dst = append(dst, `,"sampled":true`...)
	}
	return append(dst, '}')
}

// appendTime appends a time in UTC as RFC 3339 has it, with all six digits of the microseconds. The standard library reads
// a layout each time; this is a third of its time.
func appendTime(dst []byte, t time.Time) []byte {
	year, month, day := t.Date()
	if year < 0 || year > 9999 { // has no RFC 3339
		return t.AppendFormat(dst, "2006-01-02T15:04:05.000000Z07:00")
	}
	hour, minute, second := t.Clock()
	micros := t.Nanosecond() / 1000
	dst = append2(append2(dst, year/100), year%100)
	dst = append2(append(dst, '-'), int(month))
	dst = append2(append(dst, '-'), day)
	dst = append2(append(dst, 'T'), hour)
	dst = append2(append(dst, ':'), minute)
	dst = append2(append(dst, ':'), second)
	dst = append2(append(dst, '.'), micros/10000)
	dst = append2(append2(dst, micros/100%100), micros%100)
	return append(dst, 'Z')
}

// append2 appends a number below 100 as two digits.
func append2(dst []byte, n int) []byte { return append(dst, '0'+byte(n/10), '0'+byte(n%10)) }

func appendUUID(dst []byte, id uuid.UUID) []byte {
	dst = hex.AppendEncode(dst, id[0:4])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, id[4:6])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, id[6:8])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, id[8:10])
	dst = append(dst, '-')
	return hex.AppendEncode(dst, id[10:16])
}

func appendText(dst []byte, key, s string) []byte {
	if s == "" {
		return dst
	}
	dst = append(dst, key...)
	dst = appendEscaped(dst, s)
	return append(dst, '"')
}

// appendEscaped appends s as the inside of a JSON string (RFC 8259, 7); what is no UTF-8 becomes U+FFFD.
func appendEscaped(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, s[start:i]...)
			dst = append(dst, '\\', c)
		case c < ' ' || c == 0x7f:
			dst = append(dst, s[start:i]...)
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		case c < utf8.RuneSelf:
			i++
			continue
		default:
			if r, size := utf8.DecodeRuneInString(s[i:]); r != utf8.RuneError || size != 1 {
				i += size
				continue
			}
			dst = append(dst, s[start:i]...)
			dst = append(dst, "\uFFFD"...)
		}
		i++
		start = i
	}
	return append(dst, s[start:]...)
}

// wire mirrors what AppendJSON writes.
type wire struct {
	V        int    `json:"v"`
	ID       string `json:"id"`
	Link     int64  `json:"link"`
	Code     string `json:"code"`
	Time     string `json:"time"`
	Referrer string `json:"referrer"`
	UA       string `json:"ua"`
	Lang     string `json:"lang"`
	Net      string `json:"net"`
	Country  string `json:"country"`
	Bot      bool   `json:"bot"`
	TraceID  string `json:"trace_id"`
	SpanID   string `json:"span_id"`
	Sampled  bool   `json:"sampled"`
}

// Decode reads the wire form of any version up to WireVersion; a newer one is ErrNewer. What the store relies on must be right: the version, a UUIDv7 as id, a link, a
// code, a time, a network of /24 or /48, trace and span ids. The error says what is not, in words for whoever reads the
// dead letter. Unknown keys are ignored, so that a newer writer may add some; text that is too long is cut. A Click that
// Decode returned can be stored.
func Decode(value []byte) (Click, error) {
	if len(value) > MaxWire {
		return Click{}, fmt.Errorf("click: %d bytes, more than %d", len(value), MaxWire)
	}
	var w wire
	err := json.Unmarshal(value, &w)
	if w.V > WireVersion { // whatever else is wrong with it: keys of another type may be what is new
		return Click{}, fmt.Errorf("click: version %d is %w", w.V, ErrNewer)
	}
	if err != nil {
		return Click{}, fmt.Errorf("click: not the JSON of a click: %w", err)
	}
	if w.V < 1 {
		return Click{}, fmt.Errorf("click: version %d is not known", w.V)
	}
	c := Click{
		LinkID:    w.Link,
		Code:      w.Code,
		Referrer:  Cut(w.Referrer, MaxReferrer),
		UserAgent: Cut(w.UA, MaxUserAgent),
		Language:  Cut(w.Lang, MaxLanguage),
		Bot:       w.Bot,
		Sampled:   w.Sampled,
	}
	for _, decode := range []func(wire) error{c.decodeID, c.decodeLink, c.decodeOrigin, c.decodeTrace} {
		if err := decode(w); err != nil {
			return Click{}, err
		}
	}
	return c, nil
}

func (c *Click) decodeID(w wire) (err error) {
	if c.ID, err = uuid.Parse(w.ID); err != nil || len(w.ID) != 36 {
		return fmt.Errorf("click: id %q is not a UUID", Cut(w.ID, 64))
	}
	if c.ID.Version() != 7 || c.ID.Variant() != uuid.RFC4122 {
		return fmt.Errorf("click: id %s is not a UUIDv7", c.ID)
	}
	at, err := time.Parse(time.RFC3339Nano, w.Time)
	if err != nil {
		return fmt.Errorf("click: time %q is not RFC 3339", Cut(w.Time, 64))
	}
	c.Time = at.UTC().Truncate(time.Microsecond)
	if year := c.Time.Year(); year < 1970 || year > 9999 {
		return fmt.Errorf("click: time %s is not from 1970 to 9999", w.Time)
	}
	return nil
}

func (c *Click) decodeLink(wire) error {
	if c.LinkID <= 0 {
		return fmt.Errorf("click: link %d is no link's id", c.LinkID)
	}
	if !link.ValidCode(c.Code) {
		return fmt.Errorf("click: %q is no code", Cut(c.Code, link.MaxSlug))
	}
	return nil
}

func (c *Click) decodeOrigin(w wire) (err error) {
	if w.Net != "" {
		// The error does not quote it: it may be a whole address, which is never written anywhere.
		if c.Client, err = netip.ParsePrefix(w.Net); err != nil || c.Client != NetworkOf(c.Client.Addr()) {
			return errors.New("click: net is not an IPv4 /24 or an IPv6 /48")
		}
	}
	if c.Country = CleanCountry(w.Country); c.Country != w.Country {
		return fmt.Errorf("click: country %q is not two capitals", Cut(w.Country, 16))
	}
	return nil
}

func (c *Click) decodeTrace(w wire) error {
	if w.TraceID != "" && !decodeHex(c.TraceID[:], w.TraceID) {
		return fmt.Errorf("click: trace_id %q is not 32 hexadecimal digits", Cut(w.TraceID, 64))
	}
	if w.SpanID != "" && !decodeHex(c.SpanID[:], w.SpanID) {
		return fmt.Errorf("click: span_id %q is not 16 hexadecimal digits", Cut(w.SpanID, 64))
	}
	return nil
}

func decodeHex(dst []byte, s string) bool {
	if len(s) != hex.EncodedLen(len(dst)) {
		return false
	}
	_, err := hex.Decode(dst, []byte(s))
	return err == nil
}
