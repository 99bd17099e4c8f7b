package main

import (
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
