package urlapi_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/linktrail/linktrail/apps/url-api/internal/apitest"
	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/problem"
)

// stated are the rules by which a request that fits the schemas may be refused with 400, and the words by which the
// document tells of each: in the description of the field or parameter.
var stated = []struct{ operation, field, says string }{
	{"createLink", "url", "with a valid host"},
	{"createLink", "slug", "are reserved"},
	{"createLink", "tags", "none blank"},
	{"createLink", "expires_at", "in the future"},
	{"updateLink", "url", "with a valid host"},
	{"updateLink", "tags", "none blank"},
	{"updateLink", "expires_at", "in the future"},
	{"listLinks", "cursor", "nothing else is one"},
	{"latestClicks", "cursor", "nothing else is one"},
	{"allClicks", "cursor", "nothing else is one"},
	{"linkStats", "from", "RFC 3339"},
	{"linkStats", "to", "after from"},
	{"linkStats", "interval", "at most 2,000"},
	{"linkStats", "tz", "IANA"},
}

// TestProperties sends requests that are made of the served document, good ones and broken ones, through both services and
// PostgreSQL. Nothing may be a fault of the server's, every answer is as the document says, and what the document offers
// is not refused. One seed is always the same, the other is new each time; a failure tells it.
func TestProperties(t *testing.T) {
	s := mustServeOn(t, testenv.Postgres(t), "MaxBytes: 65536\nCpuThreshold: 0\nTraceQuery: {Files: {spans}}\n")
	now := time.Now()
	for i := range 8 {
		code := fmt.Sprintf("seeded-%d", i)
		s.mustCall(t, http.StatusCreated, http.MethodPost, "/api/v1/links", `{"url":"http://a.example","slug":"`+code+`","tags":["seeded"]}`)
		s.mustClick(t, code, now.AddDate(0, -1, 0), now.Add(-time.Hour), now)
	}
	t.Run("RulesAreStated", func(t *testing.T) {
		for _, rule := range stated {
			if text := described(s.contract.Document(), rule.operation, rule.field); !strings.Contains(text, rule.says) {
				t.Errorf("%s: %s is described as %q, which does not say %q", rule.operation, rule.field, text, rule.says)
			}
		}
	})
	if *seed == 0 {
		t.Run("KnownSeed", func(t *testing.T) { testProperties(t, s, 1, 3000) })
		*seed = rand.Uint64()
	}
	t.Run("NewSeed", func(t *testing.T) { testProperties(t, s, *seed, *requests) })
}

// A run is made again by the seed that its failure tells.
var (
	seed     = flag.Uint64("seed", 0, "the seed of TestProperties' requests; 0 is a new one beside a known one")
	requests = flag.Int("requests", 1500, "how many requests TestProperties makes of a new seed")
)

func testProperties(t *testing.T, s *server, seed uint64, requests int) {
	g := apitest.NewGenerator(s.contract, seed)
	hints := map[string][]any{
		"url": {"https://example.com/", "http://a.example:8080/x?y=z#f", "https://müller.example/ß", " https://[2001:db8::1]/ ", "HTTP://A.EXAMPLE/%zz",
			"https://192.0.2.1/", "https://a.example/" + strings.Repeat("x", 8192-18)},
		"tz":       {"UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia", "Asia/Kathmandu", "Australia/Lord_Howe"},
		"from":     {"2026-01-01", "2025-10-26T00:30:00+02:00"},
		"to":       {"2026-06-01", now().Format(time.RFC3339)},
		"tag":      {"seeded", "SEEDED "},
		"trace_id": {s.mustTraceVisit(t, s.mustMake(t)), "11111111111111111111111111111111"},
		"code":     {"seeded-0", "seeded-1", "seeded-2", "seeded-3", "unknown"},
		"tags[]":   {"seeded", " Tag ", "ß", "İ"},
	}
	g.Hints = func(name string) []any { return hints[name] }
	counts, broken, failures := map[string]int{}, map[string]int{}, 0
	for n := range requests {
		r := g.Next()
		a, err := s.send(t, r)
		if err == nil {
			err = judge(r, a)
		}
		if err != nil {
			t.Errorf("seed %d, request %d: %v\n%v\nanswer %d %s", seed, n, err, r, a.status, a.body)
			if failures++; failures == 20 {
				t.FailNow()
			}
			continue
		}
		counts[fmt.Sprint(r.Operation, " ", a.status)]++
		broken[fmt.Sprint(r.Broken, " ", a.status)]++
		s.learn(r, a, hints)
	}
	// Every operation was answered well, and refused: the generator reaches behind the decoders.
	for _, operation := range g.Operations() {
		good, refused := 0, 0
		for answer, n := range counts {
			if status, ok := strings.CutPrefix(answer, operation+" "); ok {
				if status < "300" {
					good += n
				} else {
					refused += n
				}
			}
		}
		if good < 10 || refused < 10 {
			t.Errorf("seed %d: %s was answered well %d times and refused %d times", seed, operation, good, refused)
		}
	}
	t.Logf("seed %d: %v\n%v", seed, counts, broken)
}

func now() time.Time { return time.Now().UTC() }

// mustMake makes a link and returns its code.
func (s *server) mustMake(t *testing.T) string {
	t.Helper()
	var made shownLink
	s.mustCall(t, http.StatusCreated, http.MethodPost, "/api/v1/links", `{"url":"http://a.example"}`).decode(t, &made)
	return made.Code
}

// send sends a generated request. The error is what in it is not as documented.
func (s *server) send(t *testing.T, r apitest.Request) (answer, error) {
	t.Helper()
	var body io.Reader
	if r.Body != nil {
		body = bytes.NewReader(r.Body)
	}
	req, err := http.NewRequestWithContext(t.Context(), r.Method, s.api+r.Target, body)
	if err != nil {
		t.Fatalf("%v: %v", r, err)
	}
	req.Header = r.Header.Clone()
	if _, spoilt := r.Header["Authorization"]; !spoilt {
		req.Header.Set("Authorization", "Bearer "+s.tokens["all"])
	}
	var undocumented error
	check := s.contract.Transport(http.DefaultTransport, func(err error) {
		if _, ok := errors.AsType[*apitest.NotOffered](err); !ok || !strings.HasPrefix(r.Broken, apitest.Odd) {
			undocumented = err
		}
	})
	resp, err := check.RoundTrip(req)
	if err != nil {
		t.Fatalf("%v: %v", r, err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, raw}, undocumented
}

// judge says what is wrong in the answer to a request.
func judge(r apitest.Request, a answer) error {
	switch {
	case a.status >= 500:
		return errors.New("a fault of the server")
	case strings.HasPrefix(r.Broken, apitest.Odd):
		return nil
	case r.Broken == "key" && a.status != http.StatusUnauthorized:
		return errors.New("a wrong key is not refused with 401")
	case r.Broken != "" && a.status < 400:
		return errors.New("a broken request is taken")
	case r.Broken != "":
		return nil
	case a.status == http.StatusBadRequest && r.Method != http.MethodHead:
		var p problem.Problem
		if err := json.Unmarshal(a.body, &p); err != nil {
			return err
		}
		for _, rule := range stated {
			if rule.operation == r.Operation && rule.field == p.Field {
				return nil
			}
		}
		return errors.New("refused by a rule that the document does not state")
	}
	if !slices.Contains([]int{200, 201, 204, 400, 404, 409}, a.status) {
		return errors.New("a good request is refused")
	}
	return nil
}

// learn keeps what later requests may use: codes of links that were made, and cursors.
func (s *server) learn(r apitest.Request, a answer, hints map[string][]any) {
	if a.status >= 300 || r.Method == http.MethodHead || len(a.body) == 0 {
		return
	}
	var got struct {
		Code string `json:"code"`
		Next string `json:"next"`
	}
	if json.Unmarshal(a.body, &got) != nil {
		return
	}
	keep := func(name, value string) {
		if value != "" {
			hints[name] = append(hints[name][max(0, len(hints[name])-20):], value)
		}
	}
	keep("code", got.Code)
	keep("cursor", got.Next)
}

// described is what the document says of a parameter or a field of an operation's body.
func described(doc *openapi3.T, operation, field string) string {
	for _, item := range doc.Paths.Map() {
		for _, op := range item.Operations() {
			if op.OperationID != operation {
				continue
			}
			for _, p := range op.Parameters {
				if p.Value.Name == field {
					return p.Value.Description
				}
			}
			if op.RequestBody != nil {
				if p := op.RequestBody.Value.Content["application/json"].Schema.Value.Properties[field]; p != nil {
					return p.Value.Description
				}
			}
		}
	}
	return ""
}
