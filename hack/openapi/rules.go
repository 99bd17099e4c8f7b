package main

import (
	"fmt"

	"github.com/getkin/kin-openapi/openapi3"
)

// The forms of text that appear in several places.
const (
	codePattern    = `^[A-Za-z0-9_-]{3,64}$`
	traceIDPattern = `^[0-9a-f]{32}$`
	spanIDPattern  = `^[0-9a-f]{16}$`
	urlPattern     = `^ *[Hh][Tt][Tt][Pp][Ss]?://`
	// Control characters are those of Unicode's category Cc.
	textPattern = `^[^\x00-\x1f\x7f-\x9f]*$`
)

// rule is what a text or a list must be beside its type; goctl has no words for it.
type rule struct {
	pattern, format string
	max             uint64 // characters of a text
	items           *rule  // of each text of a list
	maxItems        uint64
}

// rules are by definition and field. Texts of requests that linktrail checks in ways which a schema cannot tell say so in
// their description.
var rules = map[string]map[string]rule{
	"CreateLinkRequest": {
		"url":        {pattern: urlPattern, max: 8192},
		"slug":       {pattern: `^([A-Za-z0-9_-]{3,64})?$`},
		"title":      {pattern: textPattern, max: 200},
		"tags":       {maxItems: 20, items: &rule{pattern: textPattern, max: 50}},
		"expires_at": {format: "date-time"},
	},
	"UpdateLinkRequest": {
		"url":        {pattern: urlPattern, max: 8192},
		"title":      {pattern: textPattern, max: 200},
		"tags":       {maxItems: 20, items: &rule{pattern: textPattern, max: 50}},
		"expires_at": {format: "date-time"},
	},
	"Link": {
		"code":       {pattern: codePattern},
		"short_url":  {format: "uri"},
		"url":        {format: "uri"},
		"created_at": {format: "date-time"},
		"updated_at": {format: "date-time"},
		"expires_at": {format: "date-time"},
	},
	"Click": {
		"id":        {format: "uuid"},
		"time":      {format: "date-time"},
		"trace_id":  {pattern: traceIDPattern},
		"span_id":   {pattern: spanIDPattern},
		"trace_url": {format: "uri"},
		"country":   {pattern: `^([A-Z]{2})?$`},
	},
	"LinkStatsResponse": {"from": {format: "date-time"}, "to": {format: "date-time"}},
	"Step":              {"start": {format: "date-time"}},
	"Trace":             {"trace_id": {pattern: traceIDPattern}},
	"Span": {
		"span_id":   {pattern: spanIDPattern},
		"parent_id": {pattern: `^([0-9a-f]{16})?$`},
		"start":     {format: "date-time"},
	},
	"SpanLink": {"trace_id": {pattern: traceIDPattern}, "span_id": {pattern: spanIDPattern}},
}

// parameterRules are by name, which means the same in every operation.
var parameterRules = map[string]rule{
	"code":     {pattern: codePattern},
	"trace_id": {pattern: traceIDPattern},
}

// moments are the parameters that are a time of RFC 3339 or a date.
var moments = []string{"from", "to"}

// applyRules gives the fields of a definition their rules.
func applyRules(definition string, s *openapi3.Schema) error {
	for field, r := range rules[definition] {
		ref := s.Properties[field]
		if ref == nil {
			return fmt.Errorf("the contract's %s has no field %s", definition, field)
		}
		r.apply(ref.Value)
	}
	return nil
}

func (r rule) apply(s *openapi3.Schema) {
	s.Pattern, s.Format = r.pattern, r.format
	if r.max > 0 {
		s.MaxLength = &r.max
	}
	if r.maxItems > 0 {
		s.MaxItems = &r.maxItems
	}
	if r.items != nil {
		r.items.apply(s.Items.Value)
		s.Items.Value.MinLength = 1 // no list of this API holds empty texts
	}
}

// moment is the schema of a time of RFC 3339 or a date.
func moment() *openapi3.Schema {
	return openapi3.NewAnyOfSchema(
		openapi3.NewStringSchema().WithFormat("date-time"),
		openapi3.NewStringSchema().WithFormat("date"),
	)
}
