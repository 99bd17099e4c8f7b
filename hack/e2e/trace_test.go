package e2e

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/tracequery"
	"github.com/linktrail/linktrail/internal/tracequery/tracetest"
)

// clickTrace is the table of docs/tracing.md: what the trace of a click on an uncached link holds, whose redirect had the
// given parent ("" when it began the trace).
func (s *system) clickTrace(code, parent string) []tracetest.Expect {
	send := map[string]any{
		"messaging.system":           "kafka",
		"messaging.operation.name":   "send",
		"messaging.operation.type":   "send",
		"messaging.destination.name": s.topic,
	}
	process := map[string]any{
		"messaging.system":              "kafka",
		"messaging.operation.name":      "process",
		"messaging.operation.type":      "process",
		"messaging.destination.name":    s.topic,
		"messaging.consumer.group.name": s.topic,
		"messaging.batch.message_count": tracetest.Absent{},
	}
	if s.publisherDriver == "kgo" { // kq learns neither
		send["messaging.destination.partition.id"] = tracetest.Present{}
		send["messaging.kafka.offset"] = tracetest.Present{}
	}
	if s.consumerDriver == "kgo" {
		process["messaging.destination.partition.id"] = tracetest.Present{}
		process["messaging.kafka.offset"] = tracetest.Present{}
	}
	return []tracetest.Expect{{
		Service: "url-api", Name: "GET /{code}", Kind: tracequery.KindServer, Parent: parent, Times: 1,
		Attributes: map[string]any{
			"http.request.method":       "GET",
			"http.route":                "/{code}",
			"http.response.status_code": 302,
			"url.path":                  "/" + code,
			"url.scheme":                "http",
			"network.protocol.version":  "1.1",
			"client.address":            "127.0.0.0", // its network, a /24
			"user_agent.original":       userAgent,
		},
	}, {
		Service: "url-api", Name: "get", Kind: tracequery.KindClient, Parent: "GET /{code}", Times: 1,
		Attributes: map[string]any{"db.system.name": "redis", "db.statement": tracetest.Absent{}},
	}, {
		Service: "url-api", Name: "SELECT links", Kind: tracequery.KindClient, Parent: "GET /{code}", Times: 1,
		Attributes: map[string]any{
			"db.system.name":     "postgresql",
			"db.operation.name":  "SELECT",
			"db.collection.name": "links",
		},
	}, {
		Service: "url-api", Name: "send " + s.topic, Kind: tracequery.KindProducer, Parent: "GET /{code}", Times: 1,
		Attributes: send,
	}, {
		Service: "analytics-consumer", Name: "process " + s.topic, Kind: tracequery.KindConsumer,
		Parent: "send " + s.topic, LinkTo: "send " + s.topic, Times: 1,
		Attributes: process,
	}, {
		Service: "analytics-consumer", Name: "INSERT clicks", Kind: tracequery.KindClient, Parent: "process " + s.topic, Times: 1,
		Attributes: map[string]any{
			"db.system.name":          "postgresql",
			"db.operation.name":       "INSERT",
			"db.collection.name":      "clicks",
			"db.operation.batch.size": tracetest.Present{},
		},
	}}
}

// statisticsTrace is the trace of a request for statistics.
func statisticsTrace() []tracetest.Expect {
	return []tracetest.Expect{
		{Service: "url-api", Name: "/api/v1/links/:code/stats", Kind: tracequery.KindServer},
		{Service: "url-api", Name: statsMethod, Kind: tracequery.KindClient, Parent: "/api/v1/links/:code/stats"},
		{Service: "analytics-rpc", Name: statsMethod, Kind: tracequery.KindServer, Parent: statsMethod, ParentService: "url-api"},
		{Service: "analytics-rpc", Name: "SELECT click_rollups", Kind: tracequery.KindClient, Parent: statsMethod, ParentService: "analytics-rpc",
			Attributes: map[string]any{"db.system.name": "postgresql", "db.operation.name": "SELECT", "db.collection.name": "click_rollups"}},
	}
}

const (
	statsMethod = "linktrail.analytics.v1.Analytics/ClickStats"
	userAgent   = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
)

func TestClickIsOneTrace(t *testing.T) {
	for _, drivers := range []struct{ publisher, consumer string }{
		{"kgo", "kgo"}, {"kq", "kq"}, {"kgo", "kq"}, {"kq", "kgo"},
	} {
		t.Run(drivers.publisher+" to "+drivers.consumer, func(t *testing.T) {
			s := startSystem(t, options{publisher: drivers.publisher, consumer: drivers.consumer, sampler: 1})
			jaeger := tracequery.Jaeger(testenv.Jaeger(t).Query)

			// Loopback is a trusted proxy, so the caller's trace goes on in ours.
			code := s.createLink("https://example.com/one?click=is#one-trace")
			callerTrace, callerSpan := randomHex(t, 16), randomHex(t, 8)
			res, err := s.click(code, http.Header{"User-Agent": {userAgent}, "Traceparent": {"00-" + callerTrace + "-" + callerSpan + "-01"}})
			must(t, err)
			if res.status != http.StatusFound || res.header.Get("Location") != "https://example.com/one?click=is#one-trace" {
				t.Fatalf("the redirect has status %d and leads to %q", res.status, res.header.Get("Location"))
			}
			if got := traceID(t, res); got != callerTrace {
				t.Errorf("the answer's trace is %s, want the caller's, %s", got, callerTrace)
			}
			tracetest.WaitFor(t, jaeger, callerTrace, patience, s.clickTrace(code, "remote:"+callerSpan)...)

			// Without one, the redirect begins the trace.
			other := s.createLink("https://example.com/other")
			res, err = s.click(other, http.Header{"User-Agent": {userAgent}})
			must(t, err)
			began := traceID(t, res)
			trace := tracetest.WaitFor(t, jaeger, began, patience, s.clickTrace(other, "")...)
			for _, span := range trace.Spans {
				if span.Failed() {
					t.Errorf("span %s failed:\n%s", span.Name, tracetest.Tree(trace))
				}
			}

			s.eventually("the click is counted", func() error {
				if n := s.clicks(other); n != 1 {
					return fmt.Errorf("%d clicks", n)
				}
				return nil
			})
			var latest struct {
				Clicks []struct {
					TraceID  string `json:"trace_id"`
					SpanID   string `json:"span_id"`
					TraceURL string `json:"trace_url"`
				}
			}
			s.call(http.MethodGet, "/links/"+other+"/clicks", nil, &latest)
			server := tracetest.MustFind(t, trace, "url-api", "GET /{code}")
			if len(latest.Clicks) != 1 || latest.Clicks[0].TraceID != began || latest.Clicks[0].SpanID != server.SpanID ||
				!strings.HasSuffix(latest.Clicks[0].TraceURL, "/trace/"+began) {
				t.Errorf("the latest clicks are %+v, want the one of trace %s, span %s", latest.Clicks, began, server.SpanID)
			}

			// So is what the API shows of it, and the click is among those of all links.
			var shown json.RawMessage
			s.call(http.MethodGet, "/traces/"+began, nil, &shown)
			want, err := json.Marshal(trace)
			must(t, err)
			if string(shown) != string(want) {
				t.Errorf("the API shows the trace\n%s\nwant\n%s", shown, want)
			}
			latest.Clicks = nil
			s.call(http.MethodGet, "/clicks?limit=1", nil, &latest)
			if len(latest.Clicks) != 1 || latest.Clicks[0].TraceID != began {
				t.Errorf("the latest clicks of all links are %+v, want that of trace %s", latest.Clicks, began)
			}

			// What `linktrail trace` prints is that trace.
			tree := string(s.linktrail("trace", "--last", other))
			for _, span := range trace.Spans {
				if !strings.Contains(tree, span.Name) {
					t.Errorf("linktrail trace does not show %q:\n%s", span.Name, tree)
				}
			}

			res = s.call(http.MethodGet, "/links/"+other+"/stats", nil, nil)
			tracetest.WaitFor(t, jaeger, traceID(t, res), patience, statisticsTrace()...)
		})
	}
}

// traceOf returns the trace id of an answer's traceparent (W3C Trace Context, 3.2).
func traceOf(res answer) (string, error) {
	parts := strings.Split(res.header.Get("Traceparent"), "-")
	if len(parts) != 4 || len(parts[1]) != 32 {
		return "", fmt.Errorf("traceparent of the answer is %q", res.header.Get("Traceparent"))
	}
	return parts[1], nil
}

func traceID(t *testing.T, res answer) string {
	t.Helper()
	id, err := traceOf(res)
	must(t, err)
	return id
}

func randomHex(t *testing.T, bytes int) string {
	t.Helper()
	b := make([]byte, bytes)
	_, err := rand.Read(b)
	must(t, err)
	return hex.EncodeToString(b)
}

func randomName(t *testing.T) string { return randomHex(t, 5) }
