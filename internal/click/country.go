package click

import (
	"fmt"
	"net/netip"

	"github.com/oschwald/maxminddb-golang/v2"
)

// Countries looks up the country of an address in an MMDB file (the format of MaxMind's GeoLite2, DB-IP and others) that
// the operator supplies. A nil *Countries knows no country. Safe for concurrent use until it is closed.
type Countries struct {
	db *maxminddb.Reader
}

// OpenCountries opens an MMDB file whose records have country.iso_code, as the Country and City editions do. The file is
// mapped into memory: replace it by renaming another over it, never by writing into it.
func OpenCountries(mmdbFile string) (*Countries, error) {
	db, err := maxminddb.Open(mmdbFile)
	if err != nil {
		return nil, fmt.Errorf("country database %s: %w", mmdbFile, err)
	}
	return &Countries{db: db}, nil
}

// Country returns the ISO 3166-1 alpha-2 code of an address's country, or "" when it is not known.
func (c *Countries) Country(addr netip.Addr) string {
	if c == nil || !addr.IsValid() {
		return ""
	}
	var code string
	if err := c.db.Lookup(addr.Unmap().WithZone("")).DecodePath(&code, "country", "iso_code"); err != nil {
		return ""
	}
	return CleanCountry(code)
}

// Close unmaps the file. No look-up may run any more.
func (c *Countries) Close() error {
	if c == nil {
		return nil
	}
	return c.db.Close()
}
