package door

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/valyala/fasthttp"
)

// proxies are the networks whose headers are believed.
type proxies []netip.Prefix

func parseProxies(list []string) (proxies, error) {
	if len(list) == 0 {
		list = []string{"127.0.0.0/8", "::1/128"}
	}
	if len(list) == 1 && list[0] == "none" {
		return nil, nil
	}
	var p proxies
	for _, text := range list {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			addr, addrErr := netip.ParseAddr(text)
			if addrErr != nil || addr.Zone() != "" {
				return nil, fmt.Errorf("TrustedProxies: %q is not an IP address, a network in CIDR form or the single word none", text)
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		if prefix.Addr().Is4In6() {
			return nil, fmt.Errorf("TrustedProxies: write %q as IPv4", text)
		}
		p = append(p, prefix.Masked())
	}
	return p, nil
}

func (p proxies) trust(addr netip.Addr) bool {
	for _, prefix := range p {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// peer returns the address at the other end of the connection; it is not valid for what is not TCP.
func peer(rc *fasthttp.RequestCtx) netip.Addr {
	tcp, ok := rc.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}

// client returns the caller's address. A trusted proxy's word is taken for the hop before it, from the right of the list
// to the first address that is not a trusted proxy's: what lies further left anybody may have written. X-Forwarded-For
// comes first, to which proxies append; a Forwarded or X-Real-IP beside it may be the caller's own.
func (p proxies) client(h *fasthttp.RequestHeader, peer netip.Addr) netip.Addr {
	if !p.trust(peer) {
		return peer
	}
	if lines := h.PeekAll(fasthttp.HeaderXForwardedFor); len(lines) > 0 {
		return p.walk(lines, peer, parseHop)
	}
	if lines := h.PeekAll(fasthttp.HeaderForwarded); len(lines) > 0 {
		return p.walk(lines, peer, parseForwarded)
	}
	if line := h.Peek("X-Real-Ip"); len(line) > 0 {
		if addr, ok := parseHop(line); ok {
			return addr
		}
	}
	return peer
}

// walk goes through the hops of a header from right to left. What cannot be read ends it: nobody vouches for the rest.
func (p proxies) walk(lines [][]byte, hop netip.Addr, parse func([]byte) (netip.Addr, bool)) netip.Addr {
	for i := len(lines) - 1; i >= 0; i-- {
		for rest := lines[i]; rest != nil; {
			var element []byte
			if comma := bytes.LastIndexByte(rest, ','); comma >= 0 {
				rest, element = rest[:comma], rest[comma+1:]
			} else {
				rest, element = nil, rest
			}
			addr, ok := parse(element)
			if !ok {
				return hop
			}
			if hop = addr; !p.trust(hop) {
				return hop
			}
		}
	}
	return hop
}

// parseHop reads an address with or without a port: 192.0.2.1, 192.0.2.1:80, 2001:db8::1, [2001:db8::1]:80.
func parseHop(text []byte) (netip.Addr, bool) {
	s := string(bytes.TrimSpace(text))
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		var withPort netip.AddrPort
		if withPort, err = netip.ParseAddrPort(s); err != nil {
			return netip.Addr{}, false
		}
		addr = withPort.Addr()
	}
	return addr.Unmap().WithZone(""), true
}

// parseForwarded reads the for parameter of an element of Forwarded (RFC 7239, 4).
func parseForwarded(element []byte) (netip.Addr, bool) {
	for pair := range bytes.SplitSeq(element, []byte{';'}) {
		key, value, ok := bytes.Cut(bytes.TrimSpace(pair), []byte{'='})
		if ok && bytes.EqualFold(key, []byte("for")) {
			return parseHop(bytes.Trim(bytes.TrimSpace(value), `"`))
		}
	}
	return netip.Addr{}, false
}
