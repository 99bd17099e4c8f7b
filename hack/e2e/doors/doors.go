// Package doors is a user of linktrail, for tests: one who makes links at the API, clicks on them at the front door, and
// knows what the trace of a click must hold.
package doors

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/tracequery"
	"github.com/linktrail/linktrail/internal/tracequery/tracetest"
)

// Patience is how long a test waits for what must come. Nothing is asserted about how fast it comes.
const Patience = 3 * time.Minute

// UserAgent is a browser's: what no browser says is no person's click.
const UserAgent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

// Doors are the addresses of url-api, http://host:port, and a key for the API. They are safe for concurrent use.
type Doors struct {
	Door, API string
	Key       string
}

var client = Client(&http.Transport{MaxIdleConnsPerHost: 64})

// Client follows no redirect.
func Client(transport *http.Transport) *http.Client {
	return &http.Client{
		Timeout:       10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     transport,
	}
}

// Call makes an API request; it decodes what comes back into reply.
func (d Doors) Call(method, path string, body, reply any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(method, d.API+"/api/v1"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+d.Key)
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, answer)
	}
	return json.Unmarshal(answer, reply)
}

// Link is what the API answers who makes one.
type Link struct {
	Code     string
	ShortURL string `json:"short_url"`
}

// MustLink makes a link, and waits until the API does so.
func (d Doors) MustLink(t *testing.T, target string) Link {
	t.Helper()
	var link Link
	Eventually(t, "the API makes a link", func() error {
		return d.Call(http.MethodPost, "/links", map[string]any{"url": target}, &link)
	})
	return link
}

// Click visits a code as a browser does; it must be redirected to target. It returns the trace's id.
func (d Doors) Click(code, target string) (string, error) {
	return d.ClickWith(context.Background(), client, code, target)
}

// ClickWith is Click with a client of the caller's.
func (d Doors) ClickWith(ctx context.Context, client *http.Client, code, target string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.Door+"/"+code, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("User-Agent", UserAgent)
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	_, _ = io.Copy(io.Discard, res.Body) // so that the connection serves again
	_ = res.Body.Close()
	parts := strings.Split(res.Header.Get("Traceparent"), "-")
	if res.StatusCode != http.StatusFound || res.Header.Get("Location") != target || len(parts) != 4 {
		return "", fmt.Errorf("a click on %s is answered %s, Location %q, traceparent %q", code, res.Status, res.Header.Get("Location"), parts)
	}
	return parts[1], nil
}

// Clicks returns how many clicks the statistics of a link count.
func (d Doors) Clicks(code string) (int, error) {
	var stats struct{ Clicks int }
	err := d.Call(http.MethodGet, "/links/"+code+"/stats", nil, &stats)
	return stats.Clicks, err
}

// WantClicks waits until the statistics of a link count so many clicks.
func (d Doors) WantClicks(t *testing.T, code string, want int) {
	t.Helper()
	Eventually(t, fmt.Sprintf("%d clicks on %s are counted", want, code), func() error {
		got, err := d.Clicks(code)
		if err == nil && got != want {
			err = fmt.Errorf("%d are", got)
		}
		return err
	})
}

// StoredClick is what the API says of a click.
type StoredClick struct {
	TraceID string `json:"trace_id"`
	Time    string
}

// StoredClicks returns all clicks of a link, newest first.
func (d Doors) StoredClicks(code string) ([]StoredClick, error) {
	var clicks []StoredClick
	for cursor := ""; ; {
		var page struct {
			Clicks []StoredClick
			Next   *string
		}
		query := url.Values{"limit": {"100"}}
		if cursor != "" {
			query.Set("cursor", cursor)
		}
		if err := d.Call(http.MethodGet, "/links/"+code+"/clicks?"+query.Encode(), nil, &page); err != nil {
			return nil, err
		}
		clicks = append(clicks, page.Clicks...)
		if page.Next == nil {
			return clicks, nil
		}
		cursor = *page.Next
	}
}

// ClickTrace is the table of docs/tracing.md: the spans of a click on a link that no cache knows, which went through a Kafka
// topic by a driver, kgo or kq.
func ClickTrace(code, topic, driver string) []tracetest.Expect {
	send := map[string]any{"messaging.system": "kafka"}
	if driver == "kgo" { // kq does not learn it
		send["messaging.kafka.offset"] = tracetest.Present{}
	}
	return []tracetest.Expect{
		{Service: "url-api", Name: "GET /{code}", Kind: tracequery.KindServer, Times: 1,
			Attributes: map[string]any{"http.response.status_code": 302, "url.path": "/" + code}},
		{Service: "url-api", Name: "get", Kind: tracequery.KindClient, Parent: "GET /{code}", Times: 1,
			Attributes: map[string]any{"db.system.name": "redis"}},
		{Service: "url-api", Name: "SELECT links", Kind: tracequery.KindClient, Parent: "GET /{code}", Times: 1,
			Attributes: map[string]any{"db.system.name": "postgresql"}},
		{Service: "url-api", Name: "send " + topic, Kind: tracequery.KindProducer, Parent: "GET /{code}", Times: 1, Attributes: send},
		{Service: "analytics-consumer", Name: "process " + topic, Kind: tracequery.KindConsumer,
			Parent: "send " + topic, LinkTo: "send " + topic, Times: 1},
		{Service: "analytics-consumer", Name: "INSERT clicks", Kind: tracequery.KindClient, Parent: "process " + topic, Times: 1,
			Attributes: map[string]any{"db.system.name": "postgresql"}},
	}
}

// WaitForClick waits until Jaeger has the whole trace of a click, of which no span may have failed.
func WaitForClick(t *testing.T, jaeger tracequery.Reader, id string, want []tracetest.Expect) tracequery.Trace {
	t.Helper()
	trace := tracetest.WaitFor(t, jaeger, id, Patience, want...)
	for _, span := range trace.Spans {
		if span.Failed() {
			t.Errorf("span %s failed:\n%s", span.Name, tracetest.Tree(trace))
		}
	}
	return trace
}

// Eventually polls until check returns nil.
func Eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	Within(t, Patience, what, check)
}

// Within is Eventually with a deadline of the caller's.
func Within(t *testing.T, patience time.Duration, what string, check func() error) {
	t.Helper()
	if err := testenv.Within(patience, check); err != nil {
		t.Fatalf("waited %v until %s: %v", patience, what, err)
	}
}
