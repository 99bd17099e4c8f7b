package tracequery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// jaegerTimeout is how long a question to Jaeger may take; its context may end it
// sooner.
const jaegerTimeout = 15 * time.Second

// Jaeger reads from the query API of Jaeger 1 and 2, the one its own pages use,
// at a base URL like http://localhost:16686, with the base path where there is
// one.
func Jaeger(baseURL string, opts ...Option) Reader {
	return &jaeger{base: baseURL, limits: newLimits(opts), client: &http.Client{Timeout: jaegerTimeout}}
}

type jaeger struct {
	base   string
	limits limits
	client *http.Client
}

// CheckJaeger says whether a text can be the base URL of Jaeger.
func CheckJaeger(baseURL string) error {
	_, err := parseJaegerURL(baseURL)
	return err
}

func parseJaegerURL(text string) (*url.URL, error) {
	base, err := url.Parse(text)
	if err != nil || (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" {
		return nil, fmt.Errorf("%q is not the URL of a Jaeger query service, like http://localhost:16686", text)
	}
	return base, nil
}

func (j *jaeger) Trace(ctx context.Context, traceID string) (Trace, error) {
	id, err := ParseTraceID(traceID)
	if err != nil {
		return Trace{}, err
	}
	base, err := parseJaegerURL(j.base)
	if err != nil {
		return Trace{}, err
	}
	address := base.JoinPath("api", "traces", id)
	wrap := func(err error) error { return fmt.Errorf("Jaeger at %s: %w", base.Redacted(), err) }

	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return Trace{}, wrap(err)
	}
	request.Header.Set("Accept", "application/json")
	response, err := j.client.Do(request)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err // the address is told already
		}
		return Trace{}, wrap(fmt.Errorf("no answer: %w", err))
	}
	defer func() { _ = response.Body.Close() }()

	var answer jaegerAnswer
	body := &io.LimitedReader{R: response.Body, N: j.limits.bytes + 1}
	decoder := json.NewDecoder(body)
	decoder.UseNumber()
	err = decoder.Decode(&answer)
	if body.N <= 0 {
		return Trace{}, j.limits.exceeded(id)
	}
	if err == nil && response.StatusCode == http.StatusNotFound && len(answer.Errors) == 0 {
		err = errors.New("no error is told")
	}
	if err != nil {
		return Trace{}, wrap(fmt.Errorf("%s answered %s and not what Jaeger's query API answers: %w", address.Redacted(), response.Status, err))
	}
	switch {
	case response.StatusCode == http.StatusNotFound:
		return Trace{}, fmt.Errorf("%w: %s is not known to Jaeger at %s", ErrNotFound, id, base.Redacted())
	case response.StatusCode != http.StatusOK:
		return Trace{}, wrap(fmt.Errorf("%s: %s", response.Status, answer.message()))
	}
	var spans []Span
	for _, trace := range answer.Data {
		if len(spans)+len(trace.Spans) > j.limits.spans {
			return Trace{}, j.limits.exceeded(id)
		}
		for _, span := range trace.Spans {
			spans = append(spans, span.convert(trace.Processes))
		}
	}
	if len(spans) == 0 {
		return Trace{}, fmt.Errorf("%w: %s is not known to Jaeger at %s", ErrNotFound, id, base.Redacted())
	}
	return newTrace(id, spans), nil
}

// jaegerAnswer is what /api/traces/{id} answers, as far as it is used.
type jaegerAnswer struct {
	Data []struct {
		Spans     []jaegerSpan
		Processes map[string]struct{ ServiceName string }
	}
	Errors []struct {
		Msg string
	}
}

func (a jaegerAnswer) message() string {
	var texts []string
	for _, e := range a.Errors {
		texts = append(texts, e.Msg)
	}
	return strings.Join(texts, "; ")
}

type jaegerSpan struct {
	TraceID       string
	SpanID        string
	OperationName string
	References    []jaegerReference
	StartTime     int64 // µs since 1970
	Duration      int64 // µs
	Tags          []jaegerTag
	ProcessID     string
}

type jaegerReference struct {
	RefType string // CHILD_OF or FOLLOWS_FROM
	TraceID string
	SpanID  string
}

type jaegerTag struct {
	Key   string
	Type  string // string, bool, int64, float64 or binary
	Value any    // with json.Number for numbers
}

func (s jaegerSpan) convert(processes map[string]struct{ ServiceName string }) Span {
	span := Span{
		Service:    processes[s.ProcessID].ServiceName,
		Name:       s.OperationName,
		Kind:       KindInternal,
		SpanID:     pad(s.SpanID, 16),
		Start:      time.UnixMicro(s.StartTime).UTC(),
		DurationUS: s.Duration,
		Attributes: make(map[string]any, len(s.Tags)),
	}
	span.ParentID, span.Links = s.relations()
	for _, tag := range s.Tags {
		value := tag.value()
		switch {
		case tag.Key == "span.kind":
			span.setKind(value)
		case internalTag(tag.Key):
		default:
			span.Attributes[tag.Key] = value
		}
	}
	// Jaeger adds error=true to a span whose status says so already.
	if span.Failed() && span.Attributes["error"] == true {
		delete(span.Attributes, "error")
	}
	return span
}

// setKind takes one of OpenTelemetry's kinds; any other is kept as an attribute.
func (s *Span) setKind(value any) {
	text, _ := value.(string)
	switch kind := strings.ToUpper(text); kind {
	case KindInternal, KindServer, KindClient, KindProducer, KindConsumer:
		s.Kind = kind
	default:
		s.Attributes["span.kind"] = value
	}
}

// relations tells parent and links from a span's references. Jaeger makes one
// reference CHILD_OF of the parent and one FOLLOWS_FROM of each link. A link to
// the parent gets no reference of its own: the parent's turns into FOLLOWS_FROM
// and stays the first. So a first reference into the same trace always names the
// parent, since a span without one begins a trace.
func (s jaegerSpan) relations() (parent string, links []Link) {
	links = []Link{}
	parentAt := slices.IndexFunc(s.References, func(r jaegerReference) bool {
		return r.RefType == "CHILD_OF" && r.TraceID == s.TraceID
	})
	if parentAt < 0 && len(s.References) > 0 && s.References[0].TraceID == s.TraceID {
		parentAt = 0
	}
	for i, ref := range s.References {
		if i == parentAt {
			parent = pad(ref.SpanID, 16)
		}
		if i != parentAt || ref.RefType != "CHILD_OF" {
			links = append(links, Link{TraceID: pad(ref.TraceID, 32), SpanID: pad(ref.SpanID, 16)})
		}
	}
	return parent, links
}

// internalTag says whether a tag is Jaeger's, or its OTLP receiver's, and none of
// the span's attributes.
func internalTag(key string) bool {
	return strings.HasPrefix(key, "internal.") || strings.HasPrefix(key, "otel.scope.") ||
		strings.HasPrefix(key, "otel.library.") || strings.HasPrefix(key, "@jaeger@") || key == "w3c.tracestate"
}

func (t jaegerTag) value() any {
	var text string
	switch v := t.Value.(type) {
	case json.Number:
		text = v.String()
	case string:
		text = v // of a number too, where it would not fit JavaScript's
	default:
		return t.Value
	}
	return typed(t.Type, text)
}

// typed reads a value that was sent as text; it stays text when it does not fit,
// as NaN and the infinities, which JSON does not have.
func typed(kind, text string) any {
	switch kind {
	case "int64":
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n
		}
	case "float64":
		if n, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(n) && !math.IsInf(n, 0) {
			return n
		}
	}
	return text
}

// pad puts the zeros back which Jaeger leaves out before an id.
func pad(id string, width int) string {
	if len(id) >= width {
		return id
	}
	return strings.Repeat("0", width-len(id)) + id
}
