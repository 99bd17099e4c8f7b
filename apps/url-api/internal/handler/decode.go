package handler

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/zeromicro/go-zero/rest/pathvar"

	"github.com/linktrail/linktrail/internal/link"
)

// decode reads a request into one of the types of url.api, by its tags: path, form (the query) and json (the body, at
// most maxBody bytes), with the options optional, default, options and range. It stands in for go-zero's httpx.Parse,
// whose errors name no field, and which takes unknown fields and cannot tell null from nothing. It returns the names of
// the body's fields that were null; these are otherwise as if they had been left out. Errors are *link.Error.
func decode(w http.ResponseWriter, r *http.Request, maxBody int64, v any) (nulls []string, err error) {
	fields := fieldsOf(v)
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, link.Invalid("query", "is not a valid query string")
	}
	var body map[string]json.RawMessage
	if slices.ContainsFunc(fields, func(f field) bool { return f.source == "json" }) {
		if body, err = readObject(w, r, maxBody); err != nil {
			return nil, err
		}
		if err := refuseUnknown(body, fields); err != nil {
			return nil, err
		}
	}

	vars := pathvar.Vars(r)
	for _, f := range fields {
		var given bool
		switch f.source {
		case "path":
			given, err = f.setText(vars[f.name])
		case "form":
			if n := len(query[f.name]); n > 1 {
				return nil, link.Invalid(f.name, "must be given once, got it %d times", n)
			}
			given, err = f.setText(query.Get(f.name))
		case "json":
			raw, present := body[f.name]
			if null := present && string(raw) == "null"; null {
				nulls = append(nulls, f.name)
			} else if present {
				given, err = true, f.setJSON(raw)
			}
		}
		if err == nil {
			err = f.finish(given)
		}
		if err != nil {
			return nil, err
		}
	}
	return nulls, nil
}

func readObject(w http.ResponseWriter, r *http.Request, limit int64) (map[string]json.RawMessage, error) {
	if err := checkMedia(r); err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, &refusal{status: http.StatusRequestEntityTooLarge, detail: "body must have at most " + strconv.FormatInt(limit, 10) + " bytes."}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, &refusal{status: http.StatusRequestTimeout, detail: "The body did not arrive in time."}
	}
	if err != nil {
		return nil, link.Invalid("body", "could not be read")
	}
	if len(raw) == 0 {
		return nil, link.Invalid("body", "is empty; it must be a JSON object")
	}
	if !utf8.Valid(raw) { // a decoder would put other characters in place of what is not
		return nil, link.Invalid("body", "is not UTF-8")
	}
	var body map[string]json.RawMessage
	err = json.Unmarshal(raw, &body)
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return nil, link.Invalid("body", "is not JSON: %s, at byte %d", e, e.Offset)
	}
	if err != nil || body == nil {
		return nil, link.Invalid("body", "must be a JSON object")
	}
	return body, nil
}

// checkMedia refuses a body that says it is something other than JSON, plain or gzipped. A body that says nothing of
// itself is taken for JSON.
func checkMedia(r *http.Request) error {
	switch r.Header.Get("Content-Encoding") {
	case "", "identity", "gzip": // go-zero has unpacked it
	default:
		return &refusal{status: http.StatusUnsupportedMediaType, header: "Accept-Encoding", value: "gzip, identity",
			detail: "body must be plain or gzipped."}
	}
	given := r.Header.Get("Content-Type")
	if given == "" {
		return nil
	}
	kind, _, err := mime.ParseMediaType(given)
	if err == nil && (kind == "application/json" || strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json")) {
		return nil
	}
	return &refusal{status: http.StatusUnsupportedMediaType, header: "Accept", value: "application/json",
		detail: "body must be JSON; send Content-Type: application/json."}
}

func refuseUnknown(body map[string]json.RawMessage, fields []field) error {
	var known, unknown []string
	for _, f := range fields {
		if f.source == "json" {
			known = append(known, f.name)
		}
	}
	for name := range body {
		if !slices.Contains(known, name) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	return link.Invalid(slices.Min(unknown), "is not a field of this request; its fields are %s", strings.Join(known, ", "))
}

// field is one field of a request and what its tag says.
type field struct {
	value    reflect.Value
	source   string // path, form or json
	name     string
	optional bool
	fallback string   // default=
	options  []string // options=
	min, max int      // range=[min:max], unless both are 0
}

func fieldsOf(v any) []field {
	value := reflect.ValueOf(v).Elem()
	var fields []field
	for i := range value.NumField() {
		for _, source := range []string{"path", "form", "json"} {
			if tag, ok := value.Type().Field(i).Tag.Lookup(source); ok {
				fields = append(fields, parseTag(value.Field(i), source, tag))
			}
		}
	}
	return fields
}

func parseTag(value reflect.Value, source, tag string) field {
	name, rest, _ := strings.Cut(tag, ",")
	f := field{value: value, source: source, name: name}
	for option := range strings.SplitSeq(rest, ",") {
		key, arg, _ := strings.Cut(option, "=")
		switch key {
		case "optional":
			f.optional = true
		case "default":
			f.fallback = arg
		case "options":
			f.options = strings.Split(arg, "|")
		case "range":
			low, high, _ := strings.Cut(strings.Trim(arg, "[]"), ":")
			// url.api is compiled in: a range that is none would show in the tests of the type's handler.
			f.min, _ = strconv.Atoi(low)
			f.max, _ = strconv.Atoi(high)
		}
	}
	return f
}

// setText sets the field from path or query. Empty text is as if nothing had been given.
func (f field) setText(text string) (given bool, err error) {
	if text == "" {
		return false, nil
	}
	switch f.value.Kind() {
	case reflect.String:
		f.value.SetString(text)
		return true, nil
	case reflect.Bool:
		if text != "true" && text != "false" {
			return false, link.Invalid(f.name, "must be true or false, got %q", text)
		}
		f.value.SetBool(text == "true")
		return true, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return false, link.Invalid(f.name, "must be a whole number, got %q", text)
	}
	f.value.SetInt(int64(n))
	return true, nil
}

func (f field) setJSON(raw json.RawMessage) error {
	if err := json.Unmarshal(raw, f.value.Addr().Interface()); err != nil {
		return link.Invalid(f.name, "must be %s", kindName(f.value.Type()))
	}
	return nil
}

func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return kindName(t.Elem())
	case reflect.Slice:
		return "a list of strings"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	default:
		return "a string"
	}
}

// finish fills in the default of a field that was not given and checks one that was.
func (f field) finish(given bool) error {
	if !given {
		switch {
		case f.fallback != "":
			_, err := f.setText(f.fallback)
			return err
		case !f.optional:
			return link.Invalid(f.name, "is required")
		}
		return nil
	}
	value := reflect.Indirect(f.value)
	switch value.Kind() {
	case reflect.String:
		if len(f.options) > 0 && !slices.Contains(f.options, value.String()) {
			return link.Invalid(f.name, "must be one of %s, got %q", strings.Join(f.options, ", "), value.String())
		}
	case reflect.Int:
		n := int(value.Int())
		if len(f.options) > 0 && !slices.Contains(f.options, strconv.Itoa(n)) {
			return link.Invalid(f.name, "must be one of %s, got %d", strings.Join(f.options, ", "), n)
		}
		if f.max > 0 && (n < f.min || n > f.max) {
			return link.Invalid(f.name, "must be %d to %d, got %d", f.min, f.max, n)
		}
	}
	return nil
}
