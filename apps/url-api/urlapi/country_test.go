package urlapi_test

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/click/countrytest"
)

// TestCountries clicks at the front door, looks at the clicks in Kafka, and asks for the statistics of them.
func TestCountries(t *testing.T) {
	file := filepath.Join(t.TempDir(), "countries.mmdb")
	countrytest.MustWriteMMDB(t, file, map[string]string{"127.0.0.0/8": "CH", "203.0.113.0/24": "DE", "2001:db8::/32": "FR"})
	type visit struct {
		headers string // name: value, with commas
		country string
	}
	for name, tt := range map[string]struct {
		proxies string
		visits  []visit
		shown   []count
	}{
		"OKThroughATrustedProxy": {"127.0.0.0/8", []visit{
			{"X-Forwarded-For: 203.0.113.9", "DE"},
			{"X-Forwarded-For: ::ffff:203.0.113.200", "DE"},
			{"X-Forwarded-For: 2001:db8:1::1", "FR"},
			{"X-Forwarded-For: 2001:db9:1::1", ""},
			{"X-Forwarded-For: 198.51.100.1", ""},
			{"X-Forwarded-For: 203.0.113.9, X-Country: at", "AT"},
			{"X-Forwarded-For: 198.51.100.1, X-Country: AT", "AT"},
			{"X-Forwarded-For: 203.0.113.9, X-Country: XX", "DE"},
			{"X-Forwarded-For: 203.0.113.9, X-Country: Austria", "DE"},
			{"", "CH"},
		}, []count{{"DE", 4}, {"AT", 2}, {"unknown", 2}, {"CH", 1}, {"FR", 1}}},
		"OKFromAnyoneElse": {"192.0.2.0/24", []visit{
			{"X-Forwarded-For: 203.0.113.9", "CH"},
			{"X-Forwarded-For: 203.0.113.9, X-Country: AT", "CH"},
			{"X-Country: AT", "CH"},
		}, []count{{"CH", 3}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := mustServe(t, fmt.Sprintf("CountryDB: %q\nCountryHeader: X-Country\nTrustedProxies: [%s]\n", file, tt.proxies))
			s.mustCall(t, http.StatusCreated, http.MethodPost, "/api/v1/links", `{"url":"http://a.example","slug":"visited"}`)
			want := make(map[string]string)
			for _, v := range tt.visits {
				want[s.mustVisit(t, "/visited", v.headers)] = v.country
			}
			clicks := s.mustReadClicks(t, len(tt.visits))
			got := make(map[string]string)
			for _, c := range clicks {
				got[c.TraceID.String()] = c.Country
				if c.Client.IsSingleIP() {
					t.Errorf("the click has a whole address, %s", c.Client)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("countries by trace (-want +got):\n%s", diff)
			}
			if _, err := s.store.WriteClicks(context.Background(), clicks); err != nil {
				t.Fatal(err)
			}
			var stats shownStats
			s.mustCall(t, http.StatusOK, http.MethodGet, "/api/v1/links/visited/stats", "").decode(t, &stats)
			if diff := cmp.Diff(tt.shown, stats.Countries); diff != "" {
				t.Errorf("statistics (-want +got):\n%s", diff)
			}
		})
	}
}

// mustVisit follows no redirect and returns the trace of the visit.
func (s *server) mustVisit(t *testing.T, path, headers string) (traceID string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, s.door+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("User-Agent", chrome)
	for h := range strings.SplitSeq(headers, ", ") {
		if name, value, ok := strings.Cut(h, ": "); ok {
			req.Header.Set(name, value)
		}
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	parts := strings.Split(resp.Header.Get("Traceparent"), "-")
	if resp.StatusCode != http.StatusFound || len(parts) != 4 {
		t.Fatalf("status = %d, traceparent = %v", resp.StatusCode, parts)
	}
	return parts[1]
}

// mustReadClicks reads clicks from Kafka from its start on.
func (s *server) mustReadClicks(t *testing.T, n int) []click.Click {
	t.Helper()
	reader, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.ConsumeTopics("click-events"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var clicks []click.Click
	for len(clicks) < n {
		fetched := reader.PollFetches(ctx)
		if err := fetched.Err(); err != nil {
			t.Fatalf("after %d of %d clicks: %v", len(clicks), n, err)
		}
		fetched.EachRecord(func(r *kgo.Record) {
			c, err := click.Decode(r.Value)
			if err != nil {
				t.Fatal(err)
			}
			clicks = append(clicks, c)
		})
	}
	return clicks
}
