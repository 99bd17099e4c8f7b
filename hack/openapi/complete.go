package main

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

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

// operation is what an operation answers beside what goctl says.
type operation struct {
	success int
	// problems are the statuses of its own; those in everyProblem come on top.
	problems []int
}

var operations = map[string]operation{
	"createLink":   {http.StatusCreated, slices.Concat(bodyProblems, []int{http.StatusConflict})},
	"updateLink":   {http.StatusOK, slices.Concat(bodyProblems, []int{http.StatusNotFound})},
	"deleteLink":   {http.StatusNoContent, []int{http.StatusNotFound}},
	"listLinks":    {http.StatusOK, nil},
	"getLink":      {http.StatusOK, []int{http.StatusNotFound}},
	"linkStats":    {http.StatusOK, []int{http.StatusNotFound}},
	"latestClicks": {http.StatusOK, []int{http.StatusNotFound}},
	"allClicks":    {http.StatusOK, nil},
	"getTrace":     {http.StatusOK, []int{http.StatusNotFound, http.StatusUnprocessableEntity}},
}

// bodyProblems are the statuses of operations that read a body. One that is too large, or said to be gzipped and is not,
// is refused everywhere.
var bodyProblems = []int{http.StatusRequestTimeout, http.StatusUnsupportedMediaType}

var everyProblem = []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden,
	http.StatusRequestEntityTooLarge, http.StatusInternalServerError, http.StatusServiceUnavailable}

// problems are the answers that are errors; each is a component of the document. example is a detail, and the field that it
// names if it names one.
var problems = map[int]struct{ component, description, example, field string }{
	http.StatusBadRequest:            {"BadRequest", "The request is wrong; field names where.", "url is required.", "url"},
	http.StatusUnauthorized:          {"Unauthorized", "There is no key, or it is not valid.", "the API key is not valid.", ""},
	http.StatusForbidden:             {"Forbidden", "The key has not the scope that this needs.", "the API key lacks the scope links:write.", ""},
	http.StatusNotFound:              {"NotFound", "There is nothing of that name.", `no link has the code "go-blog".`, ""},
	http.StatusRequestTimeout:        {"BodyTimeout", "The body did not arrive in time.", "The body did not arrive in time.", ""},
	http.StatusConflict:              {"Conflict", "The slug is taken.", `slug "go-blog" is taken.`, "slug"},
	http.StatusRequestEntityTooLarge: {"TooLarge", "The body is larger than the server takes.", "body must have at most 65536 bytes.", "body"},
	http.StatusUnsupportedMediaType:  {"NotJSON", "The body says that it is no JSON; Accept or Accept-Encoding says what is taken.", "body must be JSON; send Content-Type: application/json.", "body"},
	http.StatusUnprocessableEntity:   {"TraceTooLarge", "The trace is larger than this API shows: 2,000 spans.", "The trace is larger than this API shows; `linktrail trace` prints it.", ""},
	http.StatusInternalServerError:   {"Internal", "A fault of linktrail; its log has more under the trace_id.", "Something went wrong on our side.", ""},
	http.StatusServiceUnavailable:    {"Unavailable", "Something that linktrail needs is away, or it has too much to do; Retry-After says when to come again.", "Something that linktrail needs cannot be reached at the moment; try again later.", ""},
}

// general is what holds for every address.
const general = `

Every error is a problem as RFC 9457 has them, and every answer has a traceparent, which names the trace of its request.
Text is UTF-8, answers are JSON whatever Accept says. Bodies may be gzipped, and then say so in Content-Encoding.
HEAD is answered wherever GET is, OPTIONS with the methods in Allow; any other method gets a 405 with Allow. An address
has one form: with a slash more at its end or in its middle, it is another one, a 404. Parameters that are not described
are ignored, fields of a body that are not described refused; one parameter given twice is refused too. What is no HTTP/1.1
request at all, or has more than 16 KiB of headers, is answered 400 or 431 in plain text.`

// complete adds to the document what goctl cannot express, and refuses one with operations or fields it does not know:
// then the tables above are behind url.api.
func complete(doc *openapi3.T) error {
	doc.OpenAPI = "3.0.3"
	doc.Info.Description += general
	doc.Servers = openapi3.Servers{{URL: "/", Description: "The server that this document came from."}}
	doc.Components.SecuritySchemes = openapi3.SecuritySchemes{securityScheme: {Value: openapi3.NewSecurityScheme().
		WithType("http").WithScheme("bearer").WithBearerFormat("lt_<id>_<secret>").
		WithDescription("An API key. It is made by `linktrail keys create`, with the scopes links:read, links:write and stats:read.")}}
	addProblems(doc)
	dropParameters(doc)
	for name, ref := range doc.Components.Schemas {
		completeSchema(ref.Value)
		markNullable(name, ref.Value)
		if err := applyRules(name, ref.Value); err != nil {
			return err
		}
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

// dropParameters takes out the definitions that goctl makes of path and query, which the operations list themselves.
func dropParameters(doc *openapi3.T) {
	for name, ref := range doc.Components.Schemas {
		if strings.HasSuffix(name, "Request") && len(ref.Value.Properties) == 0 {
			delete(doc.Components.Schemas, name)
		}
	}
}

func addProblems(doc *openapi3.T) {
	schema := openapi3.NewObjectSchema().
		WithProperty("type", openapi3.NewStringSchema()).
		WithProperty("title", openapi3.NewStringSchema()).
		WithProperty("status", openapi3.NewIntegerSchema().WithMin(400).WithMax(599)).
		WithProperty("detail", openapi3.NewStringSchema()).
		WithProperty("field", openapi3.NewStringSchema()).
		WithProperty("trace_id", openapi3.NewStringSchema().WithPattern(traceIDPattern)).
		WithRequired([]string{"type", "title", "status", "detail", "trace_id"})
	schema.Description = "Problem details as RFC 9457 has them. field names what is wrong in the request, trace_id the request's trace."
	doc.Components.Schemas["Problem"] = openapi3.NewSchemaRef("", schema)

	doc.Components.Responses = openapi3.ResponseBodies{}
	for status, p := range problems {
		response := openapi3.NewResponse().WithDescription(p.description).WithContent(openapi3.Content{
			"application/problem+json": openapi3.NewMediaType().
				WithSchemaRef(openapi3.NewSchemaRef("#/components/schemas/Problem", nil)).
				WithExample(p.component, exampleProblem(status)),
		})
		response.Headers = everyHeader()
		switch status {
		case http.StatusUnauthorized, http.StatusForbidden:
			response.Headers["WWW-Authenticate"] = header("The scheme to use, and the scope that is missing (RFC 6750).", openapi3.NewStringSchema().WithPattern(`^Bearer `))
		case http.StatusServiceUnavailable:
			response.Headers["Retry-After"] = header("Seconds to wait.", openapi3.NewIntegerSchema().WithMin(1))
		}
		doc.Components.Responses[p.component] = &openapi3.ResponseRef{Value: response}
	}
}

// exampleProblem is what the body of a problem looks like.
func exampleProblem(status int) map[string]any {
	example := map[string]any{
		"type":     "about:blank",
		"title":    http.StatusText(status),
		"status":   status,
		"detail":   problems[status].example,
		"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
	}
	if field := problems[status].field; field != "" {
		example["field"] = field
	}
	return example
}

// everyHeader is the headers that all answers have.
func everyHeader() openapi3.Headers {
	return openapi3.Headers{"traceparent": header("The trace of the request (W3C Trace Context).",
		openapi3.NewStringSchema().WithPattern(`^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$`))}
}

// header is one that an answer never lacks.
func header(description string, schema *openapi3.Schema) *openapi3.HeaderRef {
	return &openapi3.HeaderRef{Value: &openapi3.Header{Parameter: openapi3.Parameter{
		Description: description, Required: true, Schema: openapi3.NewSchemaRef("", schema)}}}
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
	s.AllowEmptyValue = false // belongs to a parameter; goctl puts it here
	for name, field := range s.Properties {
		if field.Value == nil {
			continue
		}
		completeSchema(field.Value)
		if field.Value.Default != nil {
			s.Required = slices.DeleteFunc(s.Required, func(r string) bool { return r == name })
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
	formToQuery(op)
	for _, ref := range op.Parameters {
		p := ref.Value
		completeSchema(p.Schema.Value)
		parameterRules[p.Name].apply(p.Schema.Value)
		if slices.Contains(moments, p.Name) {
			p.Schema = openapi3.NewSchemaRef("", moment())
		}
		p.AllowEmptyValue = false
		p.Required = p.In == openapi3.ParameterInPath
	}
	if op.RequestBody != nil && op.RequestBody.Value != nil {
		completeBody(op)
	}
	success := op.Responses.Status(http.StatusOK)
	op.Responses = openapi3.NewResponsesWithCapacity(len(want.problems) + len(everyProblem) + 1)
	if want.success == http.StatusNoContent {
		success = &openapi3.ResponseRef{Value: openapi3.NewResponse()}
	}
	success.Value.Headers = everyHeader()
	if want.success == http.StatusCreated {
		success.Value.Headers["Location"] = header("The address of the new link in this API.", openapi3.NewStringSchema().WithPattern(`^/api/v1/links/[A-Za-z0-9_-]{3,64}$`))
	}
	description := http.StatusText(want.success)
	success.Value.Description = &description
	op.Responses.Set(strconv.Itoa(want.success), success)
	for _, status := range slices.Concat(want.problems, everyProblem) {
		op.Responses.Set(strconv.Itoa(status), &openapi3.ResponseRef{Ref: "#/components/responses/" + problems[status].component})
	}
	return nil
}

// formToQuery puts the fields of a form where linktrail reads them: goctl takes those of a DELETE for a body.
func formToQuery(op *openapi3.Operation) {
	const form = "application/x-www-form-urlencoded"
	if op.RequestBody == nil || op.RequestBody.Value.Content[form] == nil {
		return
	}
	properties := op.RequestBody.Value.Content[form].Schema.Value.Properties
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		schema := properties[name].Value
		p := openapi3.NewQueryParameter(name).WithDescription(schema.Description).WithSchema(openapi3.NewSchema())
		p.Schema.Value.Type = schema.Type
		op.Parameters = append(op.Parameters, &openapi3.ParameterRef{Value: p})
	}
	op.RequestBody = nil
}

// completeBody names the media type that RFC 7396 gives to what PATCH takes.
func completeBody(op *openapi3.Operation) {
	body := op.RequestBody.Value
	body.Extensions = nil // Swagger's name of the body
	if op.OperationID == "updateLink" {
		body.Content["application/merge-patch+json"] = body.Content["application/json"]
	}
}
