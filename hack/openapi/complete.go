package main

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/getkin/kin-openapi/openapi3"
)

// securityScheme is the name that url.api gives to keys (authType).
const securityScheme = "key"

// nullable is which fields may be null, by definition. goctl does not tell pointers from values.
var nullable = map[string][]string{
	"Link":                 {"expires_at"},
	"Click":                {"trace_url"},
	"ListLinksResponse":    {"next"},
	"LatestClicksResponse": {"next"},
	"CreateLinkRequest":    {"slug", "title", "tags", "expires_at", "redirect_status"},
	"UpdateLinkRequest":    {"title", "tags", "expires_at", "redirect_status", "disabled"},
}

// dateTimes are the fields in RFC 3339.
var dateTimes = []string{"created_at", "updated_at", "expires_at", "time", "start"}

// operation is what an operation answers beside what goctl says.
type operation struct {
	success int
	// problems are the statuses of its own; those in everyProblem come on top.
	problems []int
}

var operations = map[string]operation{
	"createLink":   {http.StatusCreated, []int{http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge}},
	"updateLink":   {http.StatusOK, []int{http.StatusBadRequest, http.StatusNotFound, http.StatusRequestEntityTooLarge}},
	"deleteLink":   {http.StatusNoContent, []int{http.StatusNotFound}},
	"listLinks":    {http.StatusOK, []int{http.StatusBadRequest}},
	"getLink":      {http.StatusOK, []int{http.StatusNotFound}},
	"linkStats":    {http.StatusOK, []int{http.StatusBadRequest, http.StatusNotFound}},
	"latestClicks": {http.StatusOK, []int{http.StatusBadRequest, http.StatusNotFound}},
	"allClicks":    {http.StatusOK, []int{http.StatusBadRequest}},
	"getTrace":     {http.StatusOK, []int{http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity}},
}

var everyProblem = []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusInternalServerError, http.StatusServiceUnavailable}

// problems are the descriptions of the answers that are errors; each names a component of the document.
var problems = map[int]struct{ component, description string }{
	http.StatusBadRequest:            {"BadRequest", "The request is wrong; field names where."},
	http.StatusUnauthorized:          {"Unauthorized", "There is no key, or it is not valid."},
	http.StatusForbidden:             {"Forbidden", "The key has not the scope that this needs."},
	http.StatusNotFound:              {"NotFound", "There is nothing of that name."},
	http.StatusConflict:              {"Conflict", "The slug is taken."},
	http.StatusRequestEntityTooLarge: {"TooLarge", "The body is larger than the server takes."},
	http.StatusUnprocessableEntity:   {"TooManySpans", "The trace has more spans than this API shows."},
	http.StatusInternalServerError:   {"Internal", "A fault of linktrail; its log has more under the trace_id."},
	http.StatusServiceUnavailable:    {"Unavailable", "Something that linktrail needs is away, or it has too much to do; Retry-After says when to come again."},
}

// complete adds to the document what goctl cannot express, and refuses one with operations or fields it does not know:
// then the tables above are behind url.api.
func complete(doc *openapi3.T) error {
	doc.OpenAPI = "3.0.3"
	doc.Servers = openapi3.Servers{{URL: "/", Description: "The server that this document came from."}}
	doc.Components.SecuritySchemes = openapi3.SecuritySchemes{securityScheme: {Value: openapi3.NewSecurityScheme().
		WithType("http").WithScheme("bearer").WithBearerFormat("lt_<id>_<secret>").
		WithDescription("An API key. It is made by `linktrail keys create`, with the scopes links:read, links:write and stats:read.")}}
	addProblems(doc)
	for name, ref := range doc.Components.Schemas {
		completeSchema(ref.Value)
		markNullable(name, ref.Value)
	}
	for name, fields := range nullable {
		ref := doc.Components.Schemas[name]
		if ref == nil {
			return fmt.Errorf("the contract has no definition %s", name)
		}
		for _, field := range fields {
			if ref.Value.Properties[field] == nil {
				return fmt.Errorf("the contract's %s has no field %s", name, field)
			}
		}
	}
	seen := 0
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			if err := completeOperation(op); err != nil {
				return fmt.Errorf("%s %s: %w", method, path, err)
			}
			seen++
		}
	}
	if seen != len(operations) {
		return fmt.Errorf("the contract has %d operations, not %d", seen, len(operations))
	}
	return nil
}

func addProblems(doc *openapi3.T) {
	schema := openapi3.NewObjectSchema().
		WithProperty("type", openapi3.NewStringSchema()).
		WithProperty("title", openapi3.NewStringSchema()).
		WithProperty("status", openapi3.NewIntegerSchema()).
		WithProperty("detail", openapi3.NewStringSchema()).
		WithProperty("field", openapi3.NewStringSchema()).
		WithProperty("trace_id", openapi3.NewStringSchema()).
		WithRequired([]string{"type", "title", "status"})
	schema.Description = "Problem details as RFC 9457 has them. field names what is wrong in the request, trace_id the request's trace."
	doc.Components.Schemas["Problem"] = openapi3.NewSchemaRef("", schema)

	doc.Components.Responses = openapi3.ResponseBodies{}
	for status, p := range problems {
		response := openapi3.NewResponse().WithDescription(p.description).WithContent(openapi3.Content{
			"application/problem+json": openapi3.NewMediaType().
				WithSchemaRef(openapi3.NewSchemaRef("#/components/schemas/Problem", nil)).
				WithExample(p.component, exampleProblem(status)),
		})
		switch status {
		case http.StatusUnauthorized, http.StatusForbidden:
			response.Headers = header("WWW-Authenticate", "The scheme to use, and the scope that is missing.", openapi3.NewStringSchema())
		case http.StatusServiceUnavailable:
			response.Headers = header("Retry-After", "Seconds to wait.", openapi3.NewIntegerSchema())
		}
		doc.Components.Responses[p.component] = &openapi3.ResponseRef{Value: response}
	}
}

// exampleProblem is what the body of a problem looks like. Only what the caller can mend names a field.
func exampleProblem(status int) map[string]any {
	example := map[string]any{
		"type":     "about:blank",
		"title":    http.StatusText(status),
		"status":   status,
		"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
	}
	switch status {
	case http.StatusBadRequest:
		example["detail"], example["field"] = "url is required.", "url"
	case http.StatusConflict:
		example["detail"], example["field"] = `slug "go-blog" is taken.`, "slug"
	}
	return example
}

func header(name, description string, schema *openapi3.Schema) openapi3.Headers {
	return openapi3.Headers{name: {Value: &openapi3.Header{Parameter: openapi3.Parameter{
		Description: description, Schema: openapi3.NewSchemaRef("", schema)}}}}
}

// completeSchema mends a schema and those of its fields: enums of numbers come as text, a field with a default is not
// required, and requests take no other fields.
func completeSchema(s *openapi3.Schema) {
	if s.Type.Is("integer") {
		for i, v := range s.Enum {
			if text, ok := v.(string); ok {
				if n, err := strconv.Atoi(text); err == nil {
					s.Enum[i] = n
				}
			}
		}
	}
	if s.Default != nil {
		s.Example = nil
	}
	for name, field := range s.Properties {
		if field.Value == nil {
			continue
		}
		completeSchema(field.Value)
		if field.Value.Default != nil {
			s.Required = slices.DeleteFunc(s.Required, func(r string) bool { return r == name })
		}
		if slices.Contains(dateTimes, name) {
			field.Value.Format = "date-time"
		}
	}
}

func markNullable(definition string, s *openapi3.Schema) {
	for _, name := range nullable[definition] {
		field := s.Properties[name]
		if field == nil {
			continue // complete says so
		}
		field.Value.Nullable = true
		if len(field.Value.Enum) > 0 {
			field.Value.Enum = append(field.Value.Enum, nil)
		}
	}
	if definition == "CreateLinkRequest" || definition == "UpdateLinkRequest" {
		no := false
		s.AdditionalProperties = openapi3.AdditionalProperties{Has: &no}
	}
}

func completeOperation(op *openapi3.Operation) error {
	want, ok := operations[op.OperationID]
	if !ok {
		return fmt.Errorf("hack/openapi does not know the operation %q", op.OperationID)
	}
	for _, ref := range op.Parameters {
		p := ref.Value
		completeSchema(p.Schema.Value)
		p.AllowEmptyValue = false
		p.Required = p.In == openapi3.ParameterInPath
	}
	if op.RequestBody != nil && op.RequestBody.Value != nil {
		op.RequestBody.Value.Extensions = nil // Swagger's name of the body
	}
	success := op.Responses.Status(http.StatusOK)
	op.Responses = openapi3.NewResponsesWithCapacity(len(want.problems) + len(everyProblem) + 1)
	switch want.success {
	case http.StatusNoContent:
		success = &openapi3.ResponseRef{Value: openapi3.NewResponse()}
	case http.StatusCreated:
		success.Value.Headers = header("Location", "The address of the new link in this API.", openapi3.NewStringSchema())
	}
	description := http.StatusText(want.success)
	success.Value.Description = &description
	op.Responses.Set(strconv.Itoa(want.success), success)
	for _, status := range slices.Concat(want.problems, everyProblem) {
		op.Responses.Set(strconv.Itoa(status), &openapi3.ResponseRef{Ref: "#/components/responses/" + problems[status].component})
	}
	return nil
}
