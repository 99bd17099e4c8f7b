package apitest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// Odd begins what Broken says of a request that is neither good nor broken by the document: any answer but a server's
// fault will do.
const Odd = "odd: "

// spoil breaks a draft in one way.
func (g *Generator) spoil(d *draft) {
	ways := []func(*draft){g.spoilKey, g.spoilMethod, g.spoilAddress}
	if len(d.path) > 0 {
		ways = append(ways, g.spoilPath)
	}
	if slices.ContainsFunc(d.op.Parameters, func(p *openapi3.ParameterRef) bool { return p.Value.In == openapi3.ParameterInQuery }) {
		ways = append(ways, g.spoilQuery, g.spoilQuery, g.spoilQuery)
	}
	if d.fields != nil {
		ways = append(ways, g.spoilField, g.spoilField, g.spoilField, g.spoilFields, g.spoilFields, g.spoilBody, g.spoilBody, g.spoilMedia)
	}
	pick(g, ways)(d)
}

func (g *Generator) spoilKey(d *draft) {
	d.header.Set("Authorization", pick(g, []string{"", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "Bearer \xff\xfe", "Bearer lt__", "Bearer lt_a_b_c",
		"Bearer lt_aaaaaaaaaaaa_" + strings.Repeat("A", 43), "Bearer lt_%00_x", "Bearer " + strings.Repeat("k", 8000), "Bearer ' OR 1=1 --"}))
	d.broken = "key"
}

func (g *Generator) spoilMethod(d *draft) {
	d.method = pick(g, []string{http.MethodPut, http.MethodTrace, "PROPFIND", "get", "X"})
	d.broken = "method " + d.method
}

func (g *Generator) spoilAddress(d *draft) {
	template := *d
	template.op.template = pick(g, []string{d.op.template + "/", "/" + d.op.template, strings.Replace(d.op.template, "/v1/", "/v1//", 1),
		d.op.template + "/%2e%2e", strings.Replace(d.op.template, "/api/", "/api/./", 1), d.op.template + "%2F", d.op.template + "/x/y/z"})
	*d = template
	d.broken = "address"
}

func (g *Generator) spoilPath(d *draft) {
	name := pick(g, slices.Sorted(maps.Keys(d.path)))
	d.path[name] = pick(g, []string{"%00", "%ff", "%c3%28", "a%00b", "..%5c", "%20", "a%2Fb", "é", url.PathEscape("👩‍💻"), "%0d%0a", "'",
		strings.Repeat("a", 65), strings.Repeat("a", 3000), "%25%32%46", "a;b", "*", "-"})
	d.broken = "path " + name
}

func (g *Generator) spoilQuery(d *draft) {
	var parameters []*openapi3.Parameter
	for _, p := range d.op.Parameters {
		if p.Value.In == openapi3.ParameterInQuery {
			parameters = append(parameters, p.Value)
		}
	}
	p := pick(g, parameters)
	d.query = slices.DeleteFunc(d.query, func(q [2]string) bool { return q[0] == p.Name })
	switch g.random.IntN(6) {
	case 0:
		once := url.QueryEscape(fmt.Sprint(g.value(p.Name, p.Schema.Value)))
		d.query = append(d.query, [2]string{p.Name, once}, [2]string{p.Name, once})
		d.broken = "query " + p.Name + " twice"
	case 1:
		d.query = append(d.query, [2]string{p.Name, pick(g, []string{"%", "%zz", "a;b", "%f"})})
		d.broken = "query's escapes"
	case 2:
		d.query = append(d.query, [2]string{p.Name, pick(g, []string{"%00", "%ff%fe", "%ed%a0%80", strings.Repeat("x", 4000), "", "+", "%0d%0aX:y", "%25", "_", "%5c"})})
		d.broken = Odd + "query " + p.Name
	case 3:
		d.query = append(d.query, [2]string{pick(g, []string{"%ff", "", "__proto__", strings.ToUpper(p.Name), p.Name + "[]"}), "1"})
		d.broken = Odd + "another parameter"
	default:
		garbage := []any{"x", "-1", "0", "1.5", "1e3", "99999999999999999999", "0x10", " 1", "١", "NaN", "null", "true", "2026-13-01", "yesterday"}
		for range 20 {
			text := pick(g, garbage).(string)
			if refuses(p.Schema.Value, numberOr(p.Schema.Value, text)) {
				d.query = append(d.query, [2]string{p.Name, url.QueryEscape(text)})
				d.broken = "query " + p.Name
				return
			}
		}
		d.method, d.broken = "X", "method X" // a text without rules takes any
	}
}

// numberOr reads text where a schema wants a number or a boolean, as a query's are.
func numberOr(s *openapi3.Schema, text string) any {
	if s.Type.Is("boolean") && (text == "true" || text == "false") {
		return text == "true"
	}
	var n float64
	if s.Type.Is("integer") && json.Unmarshal([]byte(text), &n) == nil && strings.Trim(text, "-0123456789") == "" {
		return n
	}
	return text
}

func refuses(s *openapi3.Schema, value any) bool {
	return s.VisitJSON(value, openapi3.VisitAsRequest()) != nil
}

// spoilField gives one field a value that its schema refuses.
func (g *Generator) spoilField(d *draft) {
	schema := d.op.bodySchema()
	name := pick(g, slices.Sorted(maps.Keys(schema.Properties)))
	field := schema.Properties[name].Value
	candidates := []any{nil, true, 0, -1, 1.5, 303, 1e300, "", "x", "302", "true", "\x00", "a\nb", "a/b", "\u0085", "tomorrow", "2026-02-30", "javascript:alert(1)", []any{},
		[]any{1}, []any{nil}, []any{""}, []any{[]any{}}, map[string]any{}, map[string]any{"a": []any{}}, json.RawMessage("1e400"),
		json.RawMessage("99999999999999999999999"), json.RawMessage("-0.0")}
	if most := field.MaxLength; most != nil {
		candidates = append(candidates, fmt.Sprint(g.value(name, field))+strings.Repeat("é", int(*most)+1))
	}
	if most := field.MaxItems; most != nil {
		many := []any{}
		for i := range *most + 1 {
			many = append(many, fmt.Sprint("tag-", i))
		}
		candidates = append(candidates, many, []any{strings.Repeat("x", 51)})
	}
	candidates = slices.DeleteFunc(candidates, func(c any) bool {
		if raw, ok := c.(json.RawMessage); ok {
			return string(raw) == "-0.0" && !field.Type.Is("string")
		}
		return !refuses(field, plain(c)) || lenient(name, c)
	})
	d.fields[name] = pick(g, candidates)
	d.broken = "field " + name
}

// plain makes of a Go value what a JSON decoder would.
func plain(v any) any {
	switch v := v.(type) {
	case int:
		return float64(v)
	case []any:
		list := []any{}
		for _, item := range v {
			list = append(list, plain(item))
		}
		return list
	}
	return v
}

// lenient is what the API takes although the document does not offer it: an empty text where one may be left out.
func lenient(name string, value any) bool {
	return value == "" && (name == "slug" || name == "expires_at")
}

// spoilFields takes a required field away or adds one that there is not.
func (g *Generator) spoilFields(d *draft) {
	if required := d.op.bodySchema().Required; len(required) > 0 && g.chance(2) {
		name := pick(g, required)
		delete(d.fields, name)
		d.broken = "no " + name
		return
	}
	name := pick(g, []string{"URL", "Title", "url ", "__proto__", "code", "id", "", "ключ", "\u202etitle", "x" + strings.Repeat("y", 5000)})
	d.fields[name] = pick(g, []any{nil, 1, "x", []any{}})
	d.broken = "extra field"
}

// spoilBody sends what is no JSON object, or an odd one.
func (g *Generator) spoilBody(d *draft) {
	good := encode(d.fields)
	broken := map[string][]byte{
		"cut":            good[:g.random.IntN(len(good))],
		"trailing":       append(bytes.Clone(good), '}'),
		"two":            append(bytes.Clone(good), good...),
		"mark":           append([]byte("\xef\xbb\xbf"), good...),
		"UTF-16":         []byte("\xff\xfe{\x00}\x00"),
		"null":           []byte("null"),
		"list":           append(append([]byte("["), good...), ']'),
		"text":           []byte(`"x"`),
		"number":         []byte("1e999"),
		"single quotes":  []byte(`{'url':'http://a.example'}`),
		"comment":        append([]byte("/**/"), good...),
		"NaN":            []byte(`{"url":NaN}`),
		"control":        []byte("{\"url\":\"http://a.example/\x01\"}"),
		"deep lists":     bytes.Repeat([]byte("["), pick(g, []int{100, 9999, 10001, 60000})),
		"deep objects":   bytes.Repeat([]byte(`{"a":`), pick(g, []int{100, 9999, 10001})),
		"deep field":     []byte(`{"tags":` + strings.Repeat("[", 10001) + strings.Repeat("]", 10001) + `}`),
		"half surrogate": []byte(`{"url":"http://a.example/\ud8`),
		"bad UTF-8":      []byte("{\"url\":\"http://a.example/\xff\",\"title\":\"\xc3\x28\"}"),
		"too large":      append(bytes.Clone(good), bytes.Repeat([]byte(" "), 70_000)...),
	}
	odd := map[string][]byte{
		"twice":      bytes.Replace(good, []byte("{"), []byte(`{"title":"a","title":"b",`), 1),
		"surrogates": []byte(`{"url":"http://a.example/\ud800","title":"\udfff\ud800"}`),
		"NUL":        []byte(`{"url":"http://a.example/\u0000","title":"\u0000"}`),
		"long":       []byte(`{"url":"http://a.example/` + strings.Repeat("é", 4000) + `"}`),
	}
	if g.chance(4) {
		how := pick(g, slices.Sorted(maps.Keys(odd)))
		d.body, d.broken = odd[how], Odd+"body "+how
		return
	}
	how := pick(g, slices.Sorted(maps.Keys(broken)))
	d.body, d.broken = broken[how], "body "+how
}

// spoilMedia says of the body what it is not, or packs it.
func (g *Generator) spoilMedia(d *draft) {
	switch g.random.IntN(4) {
	case 0:
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(encode(d.fields)) // to memory
		_ = z.Close()
		d.body = b.Bytes()
		d.header.Set("Content-Encoding", "gzip")
		d.broken = Odd + "gzip" // the filter cannot read it
	case 1:
		d.header.Set("Content-Encoding", pick(g, []string{"gzip", "br", "deflate", "gzip, gzip", "GZIP"}))
		d.broken = "encoding"
	default:
		d.header.Set("Content-Type", pick(g, []string{"text/plain", "text/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
			"application/xml", "json", ";", "application/json/x", "application/octet-stream", "\xff"}))
		d.broken = "media type"
	}
}
