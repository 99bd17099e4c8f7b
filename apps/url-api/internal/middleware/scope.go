// Package middleware is what stands around the handlers of the API: keys and scopes, trace context from strangers, and
// errors that go-zero answers without a body.
package middleware

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/zeromicro/go-zero/rest"

	"github.com/linktrail/linktrail/internal/apikey"
	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/problem"
)

// RequireScope lets requests through that carry a valid key with the scope (RFC 6750, 2.1); others get 401 or 403. A
// key is looked up for every request, so that a revoked one ends at once. HideAuthorization must stand around it.
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

// authorization is the key of the context's value that HideAuthorization sets.
type authorization struct{}

// HideAuthorization takes the Authorization header off the request and keeps it for RequireScope: go-zero's log handler
// writes all headers of a request that failed, and keys are not to be in a log. It belongs around the whole server.
func HideAuthorization(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if header := r.Header.Get("Authorization"); header != "" {
			r = r.WithContext(context.WithValue(r.Context(), authorization{}, header))
			r.Header.Del("Authorization")
		}
		next.ServeHTTP(w, r)
	})
}

// bearerToken returns the token that HideAuthorization kept; the scheme's letter case makes no difference.
func bearerToken(r *http.Request) (string, bool) {
	header, _ := r.Context().Value(authorization{}).(string)
	scheme, token, _ := strings.Cut(header, " ")
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
