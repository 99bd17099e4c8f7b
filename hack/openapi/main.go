// Command openapi makes the API's OpenAPI 3 document of the Swagger 2 that `goctl api swagger` writes, and adds what
// goctl cannot express: 201 with Location, 204, problem details, bearer keys and fields that may be null.
//
//	go run ./hack/openapi [--output FILE] SWAGGER.json
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/getkin/kin-openapi/openapi3"
)

func main() {
	output := flag.String("output", "apps/url-api/internal/handler/openapi.json", "where to write the document")
	flag.Parse()
	if err := run(flag.Args(), *output); err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}

func run(args []string, output string) error {
	if len(args) != 1 {
		return errors.New("usage: openapi [--output FILE] SWAGGER.json")
	}
	swagger, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	doc, err := convert(swagger)
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	body, err := encode(doc)
	if err != nil {
		return err
	}
	return os.WriteFile(output, body, 0o644)
}

// convert returns the finished, valid document of a Swagger 2 one.
func convert(swagger []byte) (*openapi3.T, error) {
	var v2 openapi2.T
	if err := json.Unmarshal(swagger, &v2); err != nil {
		return nil, err
	}
	doc, err := openapi2conv.ToV3(&v2)
	if err != nil {
		return nil, err
	}
	doc.Extensions = nil // goctl's marks, the time of day among them
	if err := complete(doc); err != nil {
		return nil, err
	}

	// Loading it anew resolves the references as a reader of the document does.
	body, err := encode(doc)
	if err != nil {
		return nil, err
	}
	if doc, err = openapi3.NewLoader().LoadFromData(body); err != nil {
		return nil, err
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, err
	}
	return doc, nil
}

func encode(doc *openapi3.T) ([]byte, error) {
	// Marshalled as a tree, its keys are sorted, so that the file changes only with the contract.
	raw, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	var tree any
	if err := json.Unmarshal(raw, &tree); err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(tree); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
