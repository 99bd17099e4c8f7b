package door

import "net/netip"

// TrustedBy reads a list of trusted proxies as Deps.TrustedProxies has it and returns what tells whether an address,
// unmapped and without a zone, is one; url-api's other door trusts the same. The error names the key and the entry.
func TrustedBy(list []string) (func(netip.Addr) bool, error) {
	p, err := parseProxies(list)
	if err != nil {
		return nil, err
	}
	return p.trust, nil
}
