package click

import "strings"

// Direct is the referrer of a click that came with none.
const Direct = "direct"

// maxValue is the most bytes of a dimension's value.
const maxValue = 128

// A Value is what a click has in one dimension.
type Value struct {
	Dimension Dimension
	Value     string
}

// Dimensions returns the click's value in each dimension, in the order of the function Dimensions, none of them empty.
// Browser and OS are names without versions of a small set, those of Browsers, Systems and Bots; the referrer is a host
// without "www.". Reading the user agent takes some microseconds.
func (c *Click) Dimensions() [5]Value {
	a := readAgent(c.UserAgent)
	return [5]Value{
		{DimensionReferrer, referrerHost(c.Referrer)},
		{DimensionCountry, orUnknown(c.Country)},
		{DimensionBrowser, a.browser},
		{DimensionOS, a.os},
		{DimensionDevice, a.device},
	}
}

func orUnknown(s string) string {
	if s = Cut(strings.TrimSpace(s), maxValue); s == "" {
		return Unknown
	}
	return s
}

// referrerHost returns the host of a referrer. Android apps send android-app://package, which counts as the package.
func referrerHost(referrer string) string {
	if referrer == "" {
		return Direct
	}
	scheme, host, ok := strings.Cut(referrer, "://")
	if !ok || scheme == "" {
		return Unknown
	}
	if i := strings.IndexAny(host, "/?#"); i >= 0 {
		host = host[:i]
	}
	host = host[strings.LastIndexByte(host, '@')+1:]
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	return orUnknown(strings.TrimPrefix(host, "www."))
}
