// Package countrytest makes country databases for tests.
package countrytest

import (
	"bytes"
	"net/netip"
	"os"
	"testing"
)

// MustWriteMMDB writes a small MMDB file (MaxMind DB format 2.0) which maps networks, none of which lies in another, to
// {"country": {"iso_code": …}}. Another file of that name is replaced by renaming, as whoever updates one has to.
func MustWriteMMDB(t testing.TB, file string, countries map[string]string) {
	t.Helper()
	type node [2]int // a child: 0 is none, n > 0 is the node n, n < 0 is the country -n-1
	nodes := []node{{}}
	var codes []string
	for network, code := range countries {
		prefix := netip.MustParsePrefix(network)
		bits, addr := prefix.Bits(), prefix.Addr().As16()
		if prefix.Addr().Is4() { // IPv4 lies at ::/96
			addr[10], addr[11] = 0, 0
			bits += 96
		}
		codes = append(codes, code)
		at := 0
		for i := range bits {
			bit := addr[i/8] >> (7 - i%8) & 1
			switch {
			case i == bits-1:
				nodes[at][bit] = -len(codes)
			case nodes[at][bit] == 0:
				nodes = append(nodes, node{})
				nodes[at][bit] = len(nodes) - 1
				at = len(nodes) - 1
			default:
				at = nodes[at][bit]
			}
		}
	}
	text := func(s string) []byte { return append([]byte{2<<5 | byte(len(s))}, s...) }
	var data bytes.Buffer
	offsets := make([]int, len(codes))
	for i, code := range codes {
		offsets[i] = data.Len()
		data.WriteByte(7<<5 | 1) // a map of one pair
		data.Write(text("country"))
		data.WriteByte(7<<5 | 1)
		data.Write(text("iso_code"))
		data.Write(text(code))
	}
	var out bytes.Buffer
	for _, n := range nodes {
		for _, child := range n {
			record := child
			if child == 0 {
				record = len(nodes)
			} else if child < 0 {
				record = len(nodes) + 16 + offsets[-child-1]
			}
			out.Write([]byte{byte(record >> 16), byte(record >> 8), byte(record)})
		}
	}
	out.Write(make([]byte, 16))
	out.Write(data.Bytes())
	out.WriteString("\xab\xcd\xefMaxMind.com")
	number := func(kind byte, n int) []byte { return []byte{kind<<5 | 2, byte(n >> 8), byte(n)} }
	const uint16Kind, uint32Kind = 5, 6
	out.WriteByte(7<<5 | 9)
	for _, field := range []struct {
		name  string
		value []byte
	}{
		{"binary_format_major_version", number(uint16Kind, 2)},
		{"binary_format_minor_version", number(uint16Kind, 0)},
		{"build_epoch", []byte{4, 2, 0x67, 0, 0, 0}},
		{"database_type", text("Test-Country")},
		{"description", []byte{7 << 5}},
		{"ip_version", number(uint16Kind, 6)},
		{"languages", []byte{0, 4}},
		{"node_count", number(uint32Kind, len(nodes))},
		{"record_size", number(uint16Kind, 24)},
	} {
		out.Write(text(field.name))
		out.Write(field.value)
	}
	fresh := file + ".new"
	if err := os.WriteFile(fresh, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(fresh, file); err != nil {
		t.Fatal(err)
	}
}
