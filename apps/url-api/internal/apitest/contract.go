// Package apitest holds what the API answers in tests against the OpenAPI document that it serves, and makes requests of
// that document.
package apitest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/linktrail/linktrail/internal/problem"
)

// Contract is the document that a server serves. It is safe for concurrent use.
type Contract struct {
	doc *openapi3.T
	// strict is the same document, whose answers have no fields but those described.
	strict *openapi3.T
}

// Load fetches a server's document; base is its address, without a slash at the end. A document that is not valid, its
// examples included, is an error.
func Load(ctx context.Context, base string) (*Contract, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/openapi.json", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/json" {
		return nil, fmt.Errorf("openapi.json: %s, Content-Type %q", resp.Status, resp.Header.Get("Content-Type"))
	}
	c := &Contract{}
	for _, doc := range []**openapi3.T{&c.doc, &c.strict} {
		if *doc, err = openapi3.NewLoader().LoadFromData(raw); err != nil {
			return nil, err
		}
		if err := (*doc).Validate(ctx); err != nil {
			return nil, err
		}
	}
	for _, schema := range c.strict.Components.Schemas {
		if len(schema.Value.Properties) > 0 {
			schema.Value.AdditionalProperties = openapi3.AdditionalProperties{Has: new(false)}
		}
	}
	return c, nil
}

// NotOffered is the error for a request that is answered as a good one and is not as the document describes.
type NotOffered struct {
	Status int
	Err    error
}

func (e *NotOffered) Error() string {
	return fmt.Sprintf("a request that is answered %d is not as documented: %v", e.Status, e.Err)
}

// Unwrap returns what is wrong with the request.
func (e *NotOffered) Unwrap() error { return e.Err }

// Document is the document as it was served.
func (c *Contract) Document() *openapi3.T { return c.doc }

// Transport returns a transport which reports what next answers otherwise than documented, and requests that are answered
// as good and are not as documented. Nothing is held back from its caller.
func (c *Contract) Transport(next http.RoundTripper, report func(error)) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		var sent []byte
		if req.Body != nil {
			var err error
			if sent, err = io.ReadAll(req.Body); err != nil {
				return nil, err
			}
			_ = req.Body.Close()
			req = req.Clone(req.Context())
			req.Body = io.NopCloser(bytes.NewReader(sent))
		}
		resp, err := next.RoundTrip(req)
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			return nil, err
		}
		resp.Body = io.NopCloser(bytes.NewReader(body))
		if err := c.Check(req, sent, resp, body); err != nil {
			report(fmt.Errorf("%s %s: %w", req.Method, req.URL, err))
		}
		return resp, nil
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// Check says what is not as documented in an answer. Addresses outside of /api/ are none of the document's.
func (c *Contract) Check(req *http.Request, sent []byte, resp *http.Response, body []byte) error {
	if !strings.HasPrefix(req.URL.Path, "/api/") {
		return nil
	}
	item, params, template := c.find(req)
	if item == nil {
		return checkProblem(resp, body, http.StatusNotFound)
	}
	method := req.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	op := item.GetOperation(method)
	if op == nil {
		return checkMethods(req, resp, body, item)
	}
	get := req.Clone(req.Context()) // the filter looks at nothing in an answer to HEAD
	get.Method = method
	input := &openapi3filter.RequestValidationInput{
		Request:    get,
		PathParams: params,
		Route:      &routers.Route{Spec: c.strict, Path: template, PathItem: item, Method: method, Operation: op},
		Options: &openapi3filter.Options{
			IncludeResponseStatus: true,
			ExcludeResponseBody:   req.Method == http.MethodHead,
			SkipSettingDefaults:   true,
			AuthenticationFunc:    checkKey,
		},
	}
	if err := checkAnswer(input, op, resp, body); err != nil {
		return err
	}
	if resp.StatusCode >= 400 {
		return nil
	}
	if get.Header.Get("Content-Type") == "" {
		get.Header.Set("Content-Type", "application/json") // is taken for it
	}
	get.Body = io.NopCloser(bytes.NewReader(sent))
	if err := openapi3filter.ValidateRequest(req.Context(), input); err != nil {
		return &NotOffered{Status: resp.StatusCode, Err: err}
	}
	return nil
}

// find returns the path item of a request; nil when the document has none.
func (c *Contract) find(req *http.Request) (item *openapi3.PathItem, params map[string]string, template string) {
	given := req.URL.Path
	if path.Clean(given) != given || strings.Contains(strings.ToLower(req.URL.EscapedPath()), "%2f") {
		return nil, nil, ""
	}
	segments := strings.Split(given, "/")
	for template, item := range c.strict.Paths.Map() {
		wanted := strings.Split(template, "/")
		params := map[string]string{}
		if len(wanted) == len(segments) && match(wanted, segments, params) {
			return item, params, template
		}
	}
	return nil, nil, ""
}

func match(wanted, segments []string, params map[string]string) bool {
	for i, w := range wanted {
		switch name, ok := strings.CutPrefix(w, "{"); {
		case ok && segments[i] != "":
			params[strings.TrimSuffix(name, "}")] = segments[i]
		case w != segments[i]:
			return false
		}
	}
	return true
}

func checkAnswer(request *openapi3filter.RequestValidationInput, op *openapi3.Operation, resp *http.Response, body []byte) error {
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: request,
		Status:                 resp.StatusCode,
		Header:                 resp.Header,
		Body:                   io.NopCloser(bytes.NewReader(body)),
		Options:                request.Options,
	}
	if request.Options.ExcludeResponseBody && len(body) > 0 {
		return errors.New("an answer to HEAD has a body")
	}
	if err := openapi3filter.ValidateResponse(context.Background(), input); err != nil {
		return fmt.Errorf("answer %d: %w", resp.StatusCode, err)
	}
	if described := op.Responses.Status(resp.StatusCode); len(described.Value.Content) == 0 && len(body) > 0 {
		return fmt.Errorf("answer %d: a body where none is described: %q", resp.StatusCode, body)
	}
	if resp.StatusCode >= 400 && !request.Options.ExcludeResponseBody {
		return checkProblem(resp, body, resp.StatusCode)
	}
	return nil
}

// checkKey is whether a request carries what the document's security asks for.
func checkKey(_ context.Context, input *openapi3filter.AuthenticationInput) error {
	if scheme := input.SecurityScheme; scheme.Type != "http" || scheme.Scheme != "bearer" {
		return fmt.Errorf("the document asks for %s %s", scheme.Type, scheme.Scheme)
	}
	scheme, token, _ := strings.Cut(input.RequestValidationInput.Request.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "bearer") || token == "" {
		return errors.New("no bearer key")
	}
	return nil
}

// checkMethods checks the answer to a method that an address is not documented to take.
func checkMethods(req *http.Request, resp *http.Response, body []byte, item *openapi3.PathItem) error {
	want := []string{http.MethodOptions}
	for method := range item.Operations() {
		if want = append(want, method); method == http.MethodGet {
			want = append(want, http.MethodHead)
		}
	}
	slices.Sort(want)
	if got := resp.Header.Get("Allow"); got != strings.Join(want, ", ") {
		return fmt.Errorf("Allow = %q, want %q", got, strings.Join(want, ", "))
	}
	if req.Method == http.MethodOptions {
		if resp.StatusCode != http.StatusNoContent || len(body) > 0 {
			return fmt.Errorf("OPTIONS is answered %d with %d bytes", resp.StatusCode, len(body))
		}
		return nil
	}
	return checkProblem(resp, body, http.StatusMethodNotAllowed)
}

// checkProblem checks an error's body beyond what the schema says: its parts must agree with the answer's head.
func checkProblem(resp *http.Response, body []byte, status int) error {
	if resp.StatusCode != status {
		return fmt.Errorf("answered %d, want %d", resp.StatusCode, status)
	}
	if media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || media != problem.ContentType {
		return fmt.Errorf("answer %d: Content-Type = %q", status, resp.Header.Get("Content-Type"))
	}
	if resp.Request != nil && resp.Request.Method == http.MethodHead {
		return nil
	}
	var p problem.Problem
	if err := json.Unmarshal(body, &p); err != nil {
		return fmt.Errorf("answer %d: %w in %q", status, err, body)
	}
	if p.Status != status || p.Title != http.StatusText(status) || p.Type != "about:blank" || p.Detail == "" {
		return fmt.Errorf("answer %d: problem %+v", status, p)
	}
	if trace := resp.Header.Get("Traceparent"); p.TraceID == "" || !strings.Contains(trace, p.TraceID) {
		return fmt.Errorf("answer %d: trace_id %q, traceparent %q", status, p.TraceID, trace)
	}
	return nil
}
