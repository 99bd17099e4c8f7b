// Package handler decodes the requests of the API, hands them to package logic and encodes the answers. Its routes are
// generated from url.api.
package handler

import (
	// The document is part of the program.
	_ "embed"
	"net/http"
	"strconv"
)

// openAPI is made from url.api by `make generate`.
//
//go:embed openapi.json
var openAPI []byte

// OpenAPIHandler serves the OpenAPI 3 document of the API, to anyone.
func OpenAPIHandler() http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Content-Length", strconv.Itoa(len(openAPI)))
		h.Set("Cache-Control", "public, max-age=300")
		// A page elsewhere may show the document; it holds nothing that is secret.
		h.Set("Access-Control-Allow-Origin", "*")
		// The caller may be gone; there is nobody left to tell.
		_, _ = w.Write(openAPI)
	}
}
