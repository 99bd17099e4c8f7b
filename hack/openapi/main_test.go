package main

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

const contract = `{"swagger":"2.0","info":{"title":"t","version":"v1"},"basePath":"/","paths":{"/links":{"post":{
	"operationId":"createLink","parameters":[{"name":"body","in":"body","required":true,"schema":{"$ref":"#/definitions/CreateLinkRequest"}}],
	"responses":{"200":{"description":"","schema":{"$ref":"#/definitions/Link"}}}}}},
	"definitions":{"CreateLinkRequest":{"type":"object"},"Link":{"type":"object"}}}`

// A contract which this program does not know is refused and not half described.
func TestUnknownOperation(t *testing.T) {
	if err := completeOperation(&openapi3.Operation{OperationID: "renameLink"}); err == nil || !strings.Contains(err.Error(), "renameLink") {
		t.Errorf("error = %v, want one that names the operation", err)
	}
}

func TestConvertErrors(t *testing.T) {
	tests := []struct{ name, swagger, want string }{
		{"NotJSON", `{`, "JSON"},
		{"Incomplete", contract, "the contract"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := convert([]byte(tt.swagger)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want one with %q", err, tt.want)
			}
		})
	}
}

// TestDocument reads the committed document as a client's generator does.
func TestDocument(t *testing.T) {
	doc, err := openapi3.NewLoader().LoadFromFile("../../apps/url-api/internal/handler/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	// Examples too are held against their schemas.
	if err := doc.Validate(context.Background()); err != nil {
		t.Fatal(err)
	}
	if scheme := doc.Components.SecuritySchemes[securityScheme]; scheme == nil || scheme.Value.Type != "http" || scheme.Value.Scheme != "bearer" {
		t.Errorf("the security scheme is %+v, want http bearer", scheme)
	}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			checkOperation(t, method+" "+path, op)
		}
	}
	created := doc.Paths.Find("/api/v1/links").Post.Responses.Status(http.StatusCreated)
	if created == nil || created.Value.Headers["Location"] == nil {
		t.Error("a created link has no 201 with Location")
	}
}

func checkOperation(t *testing.T, name string, op *openapi3.Operation) {
	t.Helper()
	if op.Security == nil || len(*op.Security) == 0 {
		t.Errorf("%s asks for no key", name)
	}
	for status, response := range op.Responses.Map() {
		if status < "400" {
			continue
		}
		body := response.Value.Content["application/problem+json"]
		if body == nil || len(body.Examples) == 0 {
			t.Errorf("%s: %s is not problem details with an example", name, status)
		}
	}
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusInternalServerError, http.StatusServiceUnavailable} {
		if op.Responses.Status(status) == nil {
			t.Errorf("%s does not say what a %d is", name, status)
		}
	}
}
