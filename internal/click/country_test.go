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
	"github.com/linktrail/linktrail/internal/click/countrytest"
)

func TestCountries(t *testing.T) {
	file := filepath.Join(t.TempDir(), "countries.mmdb")
	countrytest.MustWriteMMDB(t, file, map[string]string{"203.0.113.0/24": "DE", "198.51.100.0/25": "us", "2001:db8::/32": "FR"})
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

// TestCountriesReplaced puts another file in the place of one that is in use: it answers as before until it is opened anew.
func TestCountriesReplaced(t *testing.T) {
	file := filepath.Join(t.TempDir(), "countries.mmdb")
	addr := netip.MustParseAddr("203.0.113.9")
	countrytest.MustWriteMMDB(t, file, map[string]string{"203.0.113.0/24": "DE"})
	before := mustOpenCountries(t, file)
	countrytest.MustWriteMMDB(t, file, map[string]string{"203.0.113.0/24": "FR", "2001:db8::/32": "AT"})
	if got := before.Country(addr); got != "DE" {
		t.Errorf("the old file says %q, want DE", got)
	}
	if got := mustOpenCountries(t, file).Country(addr); got != "FR" {
		t.Errorf("the new file says %q, want FR", got)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if got := before.Country(addr); got != "DE" {
		t.Errorf("the old file, which is gone, says %q, want DE", got)
	}
}

// TestCountriesDamaged reads files that are damaged in their middle: no country comes of it that has not the shape of one,
// and nothing worse.
func TestCountriesDamaged(t *testing.T) {
	good := filepath.Join(t.TempDir(), "countries.mmdb")
	countrytest.MustWriteMMDB(t, good, map[string]string{"203.0.113.0/24": "DE", "198.51.100.0/25": "us", "2001:db8::/32": "FR"})
	whole, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "damaged.mmdb")
	for i := range len(whole) {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 0xff
		if i%5 == 0 {
			damaged = damaged[:i]
		}
		if err := os.WriteFile(file, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		countries, err := click.OpenCountries(file)
		if err != nil {
			continue // the better case
		}
		for _, addr := range []string{"203.0.113.9", "198.51.100.1", "2001:db8:1::1", "8.8.8.8"} {
			if got := countries.Country(netip.MustParseAddr(addr)); got != click.CleanCountry(got) {
				t.Errorf("damaged at %d: %s is in %q", i, addr, got)
			}
		}
		if err := countries.Close(); err != nil {
			t.Error(err)
		}
		if err := os.Remove(file); err != nil { // it may still be mapped
			t.Fatal(err)
		}
	}
}

func mustOpenCountries(t *testing.T, file string) *click.Countries {
	t.Helper()
	countries, err := click.OpenCountries(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := countries.Close(); err != nil {
			t.Error(err)
		}
	})
	return countries
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
