// Package middleware is what stands around the handlers of the API: keys and scopes, trace context from strangers, and
// errors that go-zero answers without a body.
package middleware

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/zeromicro/go-zero/rest"

	"github.com/linktrail/linktrail/internal/apikey"
	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/problem"
)

// RequireScope lets requests through that carry a valid key with the scope (RFC 6750, 2.1); others get 401 or 403. A
// key is looked up for every request, so that a revoked one ends at once.
func RequireScope(keys apikey.Store, scope apikey.Scope) rest.Middleware {
	return func(next http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			token, ok := bearerToken(r)
			if !ok {
				problem.Fail(w, r, &link.Error{Kind: link.KindUnauthorized,
					Message: "no API key; send it as Authorization: Bearer lt_<id>_<secret>"})
				return
			}
			key, err := apikey.Verify(r.Context(), keys, token)
			if err == nil {
				err = key.Allows(scope)
			}
			if err != nil {
				challenge(w, scope, link.KindOf(err))
				problem.Fail(w, r, err)
				return
			}
			next(w, r)
		}
	}
}

// bearerToken returns the token of the Authorization header; the scheme's letter case makes no difference.
func bearerToken(r *http.Request) (string, bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	return token, strings.EqualFold(scheme, "Bearer") && token != ""
}

// challenge says what a key lacks (RFC 6750, 3.1).
func challenge(w http.ResponseWriter, scope apikey.Scope, kind link.Kind) {
	switch kind {
	case link.KindUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="linktrail", error="invalid_token"`)
	case link.KindForbidden:
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="linktrail", error="insufficient_scope", scope=%q`, scope))
	}
}
