package middleware

import (
	"net/http"
	"net/netip"
)

// StripTraceContext takes the W3C trace context off requests that do not come from a trusted proxy, before go-zero, which
// trusts anyone's, reads it: a stranger must not decide which trace a request belongs to or whether it is sampled.
// Baggage is taken off every request: linktrail carries none.
func StripTraceContext(trusted func(netip.Addr) bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Baggage")
		if !fromTrusted(trusted, r.RemoteAddr) {
			r.Header.Del("Traceparent")
			r.Header.Del("Tracestate")
		}
		next.ServeHTTP(w, r)
	})
}

func fromTrusted(trusted func(netip.Addr) bool, remote string) bool {
	peer, err := netip.ParseAddrPort(remote)
	return err == nil && trusted(peer.Addr().Unmap().WithZone(""))
}
