package click

import (
	"net/netip"
	"strings"
	"unicode/utf8"
)

// The prefix lengths to which a caller's address is cut before anything is written.
const (
	bitsIPv4 = 24
	bitsIPv6 = 48
)

// NetworkOf returns the network that is kept of an address: its IPv4 /24 or IPv6 /48. An IPv4 address in IPv6 counts as
// IPv4; an invalid address gives the zero Prefix.
func NetworkOf(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := bitsIPv6
	if addr.Is4() {
		bits = bitsIPv4
	}
	network, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return network
}

// CleanReferrer returns what is kept of a Referer header: without query and fragment, which may hold secrets, without
// user-info, and cut to MaxReferrer.
func CleanReferrer(header string) string {
	if i := strings.IndexAny(header, "?#"); i >= 0 {
		header = header[:i]
	}
	if scheme, rest, ok := strings.Cut(header, "://"); ok {
		authority := rest
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			authority = rest[:i]
		}
		if i := strings.LastIndexByte(authority, '@'); i >= 0 {
			header = scheme + "://" + rest[i+1:]
		}
	}
	return Cut(header, MaxReferrer)
}

// CleanLanguage returns the first tag of an Accept-Language header, cut to MaxLanguage.
func CleanLanguage(header string) string {
	if i := strings.IndexAny(header, ",;"); i >= 0 {
		header = header[:i]
	}
	return Cut(strings.TrimSpace(header), MaxLanguage)
}

// CleanCountry returns an ISO 3166-1 alpha-2 code in capitals, or "" for what has not the shape of one and for the
// codes by which proxies say that they do not know (XX, ZZ).
func CleanCountry(code string) string {
	if len(code) != 2 || !letter(code[0]) || !letter(code[1]) {
		return ""
	}
	if code = strings.ToUpper(code); code == "XX" || code == "ZZ" {
		return ""
	}
	return code
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// Cut returns s as text that every store takes: at most limit bytes, cut between characters, with U+FFFD in place of
// control characters and of what is no UTF-8. It allocates only when something has to be replaced.
func Cut(s string, limit int) string {
	if len(s) > limit {
		end := limit
		for end > 0 && end > limit-utf8.UTFMax && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end]
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c >= 0x7f {
			return replace(s, limit)
		}
	}
	return s
}

// replace is the slow part of Cut: s has something beyond printable ASCII.
func replace(s string, limit int) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, control) {
		return s
	}
	var b strings.Builder
	for _, r := range s { // what is no UTF-8 comes as U+FFFD
		if control(r) {
			r = utf8.RuneError
		}
		if b.Len()+utf8.RuneLen(r) > limit {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}

func control(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }
