package apitest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// Generator makes requests of a document: good ones, with values within and at the limits that it gives, and broken ones.
// The same seed and the same hints make the same requests. It is not safe for concurrent use.
type Generator struct {
	random     *rand.Rand
	operations []operation
	// Hints returns values that a schema cannot tell, such as the codes of links that exist, by the name of a parameter or
	// field; it may return nothing.
	Hints func(name string) []any
}

type operation struct {
	method, template string
	*openapi3.Operation
}

// Request is one that a Generator made.
type Request struct {
	Operation string // the operationId
	Method    string
	Target    string // path and query
	Header    http.Header
	Body      []byte // nil for none
	// Broken says what is wrong with it; empty is a request as the document describes.
	Broken string
}

// String shows the request as a person would try it again.
func (r Request) String() string {
	body := r.Body
	if len(body) > 600 {
		body = append(bytes.Clone(body[:600]), "…"...)
	}
	return fmt.Sprintf("%s %s %v %q (broken: %q)", r.Method, r.Target, r.Header, body, r.Broken)
}

// NewGenerator returns a generator of a document's requests.
func NewGenerator(c *Contract, seed uint64) *Generator {
	g := &Generator{random: rand.New(rand.NewPCG(seed, seed)), Hints: func(string) []any { return nil }}
	paths := c.doc.Paths.Map()
	for _, template := range slices.Sorted(maps.Keys(paths)) {
		operations := paths[template].Operations()
		for _, method := range slices.Sorted(maps.Keys(operations)) {
			op := operation{method, template, operations[method]}
			g.operations = append(g.operations, op)
			if op.bodySchema() != nil { // there is most to go wrong
				g.operations = append(g.operations, op, op)
			}
		}
	}
	return g
}

// Operations are the ids of all operations.
func (g *Generator) Operations() []string {
	var ids []string
	for _, op := range g.operations {
		ids = append(ids, op.OperationID)
	}
	return slices.Compact(ids)
}

// Next makes a request; about half of them are broken.
func (g *Generator) Next() Request {
	op := g.operations[g.random.IntN(len(g.operations))]
	d := g.draft(op)
	if g.chance(2) {
		g.spoil(&d)
	}
	return d.request()
}

// draft is a request in parts, before it is written.
type draft struct {
	op     operation
	method string
	path   map[string]string
	query  [][2]string // name and value, escaped
	header http.Header
	fields map[string]any // of the body
	body   []byte         // instead of the fields, when not nil
	broken string
}

func (g *Generator) draft(op operation) draft {
	d := draft{op: op, method: op.method, path: map[string]string{}, header: http.Header{}}
	for _, ref := range op.Parameters {
		p := ref.Value
		switch p.In {
		case openapi3.ParameterInPath:
			d.path[p.Name] = url.PathEscape(fmt.Sprint(g.value(p.Name, p.Schema.Value)))
		case openapi3.ParameterInQuery:
			if p.Required || g.chance(3) {
				d.query = append(d.query, [2]string{p.Name, url.QueryEscape(fmt.Sprint(g.value(p.Name, p.Schema.Value)))})
			}
		}
	}
	g.random.Shuffle(len(d.query), func(i, j int) { d.query[i], d.query[j] = d.query[j], d.query[i] })
	if g.chance(5) {
		d.query = append(d.query, [2]string{"unknown", "1"}) // is ignored
	}
	if schema := op.bodySchema(); schema != nil {
		d.fields = g.object(schema)
		types := slices.Sorted(maps.Keys(op.RequestBody.Value.Content))
		d.header.Set("Content-Type", pick(g, types))
	}
	if op.method == http.MethodGet && g.chance(10) {
		d.method = http.MethodHead
	}
	if g.chance(8) {
		d.header.Set("Accept", pick(g, []string{"*/*", "text/html", "text/event-stream", "application/json;q=0.1", "\t", "/"}))
	}
	if g.chance(8) {
		d.header.Set("Traceparent", pick(g, []string{"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", "garbage",
			"00-00000000000000000000000000000000-0000000000000000-01", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}))
	}
	return d
}

func (o operation) bodySchema() *openapi3.Schema {
	if o.RequestBody == nil {
		return nil
	}
	return o.RequestBody.Value.Content["application/json"].Schema.Value
}

// object makes the fields of a body: all that are required, and some of the others.
func (g *Generator) object(schema *openapi3.Schema) map[string]any {
	fields := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		if slices.Contains(schema.Required, name) || g.chance(3) {
			fields[name] = g.value(name, schema.Properties[name].Value)
		}
	}
	return fields
}

func (d draft) request() Request {
	target := d.op.template
	for name, value := range d.path {
		target = strings.ReplaceAll(target, "{"+name+"}", value)
	}
	for i, q := range d.query {
		target += string("?&"[min(i, 1)]) + q[0] + "=" + q[1]
	}
	r := Request{Operation: d.op.OperationID, Method: d.method, Target: target, Header: d.header, Body: d.body, Broken: d.broken}
	if r.Body == nil && d.fields != nil {
		r.Body = encode(d.fields)
	}
	return r
}

// encode writes JSON; raw values stand in it as they are.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("apitest: a generated value cannot be written: %v", err)) // a fault of the generator
	}
	return bytes.TrimSpace(b.Bytes())
}

// chance is true once in n times.
func (g *Generator) chance(n int) bool { return g.random.IntN(n) == 0 }

func pick[T any](g *Generator, from []T) T { return from[g.random.IntN(len(from))] }
