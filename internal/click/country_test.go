package click_test

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/linktrail/linktrail/internal/click"
)

func TestCountries(t *testing.T) {
	file := filepath.Join(t.TempDir(), "countries.mmdb")
	MustWriteMMDB(t, file, map[string]string{"203.0.113.0/24": "DE", "198.51.100.0/25": "us", "2001:db8::/32": "FR"})
	countries, err := click.OpenCountries(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := countries.Close(); err != nil {
			t.Error(err)
		}
	}()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for addr, want := range map[string]string{
				"203.0.113.9": "DE", "::ffff:203.0.113.9": "DE", "198.51.100.1": "US", "198.51.100.200": "",
				"2001:db8:1::1": "FR", "2001:db9::1": "", "127.0.0.1": "", "fe80::1%eth0": "",
			} {
				if got := countries.Country(netip.MustParseAddr(addr)); got != want {
					t.Errorf("%s: got %q, want %q", addr, got, want)
				}
			}
		})
	}
	wg.Wait()
	if got := countries.Country(netip.Addr{}); got != "" {
		t.Errorf("no address is in %q", got)
	}
}

func TestCountriesNone(t *testing.T) {
	var none *click.Countries
	if got := none.Country(netip.MustParseAddr("203.0.113.9")); got != "" {
		t.Errorf("got %q", got)
	}
	if err := none.Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenCountriesErr(t *testing.T) {
	torn := filepath.Join(t.TempDir(), "torn.mmdb")
	if err := os.WriteFile(torn, []byte("no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{torn, filepath.Join(t.TempDir(), "none.mmdb")} {
		if _, err := click.OpenCountries(file); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: got %v", file, err)
		}
	}
}

// MustWriteMMDB writes a small MMDB file (MaxMind DB format 2.0) which maps networks to {"country": {"iso_code": …}}.
func MustWriteMMDB(t *testing.T, file string, countries map[string]string) {
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
	if err := os.WriteFile(file, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}
