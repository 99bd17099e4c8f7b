package urlapi_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/linktrail/linktrail/apps/url-api/urlapi"
	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/store"
)

func TestRunErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	_, takenPort, _ := net.SplitHostPort(taken.Addr().String())
	dir := t.TempDir()
	dsn := "sqlite:" + filepath.Join(dir, "linktrail.db")
	if err := store.Migrate(context.Background(), store.Config{DSN: dsn}, nil); err != nil {
		t.Fatal(err)
	}

	base := map[string]string{
		"Name": "url-api", "Host": "127.0.0.1", "Port": "0", "PublicURL": "http://go.example",
		"Door": `{Addr: "127.0.0.1:0"}`, "Store": fmt.Sprintf("{DSN: %q}", dsn), "Ops": `{Addr: "127.0.0.1:0"}`,
		"ClickStream": `{Brokers: ["127.0.0.1:1"]}`, "Analytics": `{Endpoints: ["127.0.0.1:1"]}`, "Log": "{Level: severe, Stat: false}",
	}
	tests := []struct {
		name, key, value string
		wants            []string
	}{
		{"PortTaken", "Port", takenPort, []string{"Port", takenPort, "in use"}},
		{"DoorTaken", "Door", "{Addr: " + taken.Addr().String() + "}", []string{"Door.Addr", takenPort, "in use"}},
		{"OpsTaken", "Ops", "{Addr: " + taken.Addr().String() + "}", []string{"Ops.Addr", takenPort, "in use"}},
		{"DoorAddr", "Door", "{Addr: nowhere}", []string{"Door.Addr", "nowhere", "host:port"}},
		{"PublicURL", "PublicURL", "go.example", []string{"PublicURL", "go.example", "http"}},
		{"PublicURLPath", "PublicURL", "http://go.example/x", []string{"PublicURL", "go.example/x"}},
		{"TraceURL", "TraceURL", "http://jaeger.example", []string{"TraceURL", "jaeger.example", "{trace_id}"}},
		{"TraceQuery", "TraceQuery", "{Jaeger: http://jaeger.example, Files: /traces}", []string{"TraceQuery", "Jaeger", "Files"}},
		{"TraceQueryJaeger", "TraceQuery", "{Jaeger: jaeger.example}", []string{"TraceQuery.Jaeger", "jaeger.example", "http://"}},
		{"TrustedProxies", "TrustedProxies", "[proxy]", []string{"TrustedProxies", "proxy", "CIDR"}},
		{"Analytics", "Analytics", "{}", []string{"Analytics", "Endpoints", "Target"}},
		{"Drain", "Drain", "-1s", []string{"Drain", "-1s"}},
		{"Batcher", "Telemetry", "{Batcher: jaeger}", []string{"Telemetry.Batcher", "jaeger", "otlpgrpc"}},
		{"CountryDB", "CountryDB", "/nonexistent.mmdb", []string{"CountryDB", "nonexistent.mmdb"}},
		{"NotMigrated", "Store", `{DSN: "sqlite:` + dir + `/none.db"}`, []string{"migrate"}},
	}
	for _, tt := range tests {
		t.Run("Err"+tt.name, func(t *testing.T) {
			var yaml strings.Builder
			for key, value := range base {
				if key != tt.key {
					fmt.Fprintf(&yaml, "%s: %s\n", key, value)
				}
			}
			fmt.Fprintf(&yaml, "%s: %s\n", tt.key, tt.value)
			file := mustWrite(t, filepath.Join(t.TempDir(), "url-api.yaml"), yaml.String())
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			err := urlapi.Run(ctx, file)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tt.wants {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not name %q", err, want)
				}
			}
		})
	}
}

// TestOnRealServers is the API on PostgreSQL and Redis.
func TestOnRealServers(t *testing.T) {
	s := mustServeOn(t, testenv.Postgres(t), fmt.Sprintf("Redis: {Addrs: [%q]}\nLinkCache: {KeyPrefix: %q, Channel: %q}\n",
		testenv.Redis(t), t.Name()+":", t.Name()))
	t.Run("Create", func(t *testing.T) { testCreate(t, s) })
	t.Run("Update", func(t *testing.T) { testUpdate(t, s) })
	t.Run("Delete", func(t *testing.T) { testDelete(t, s) })
	t.Run("List", func(t *testing.T) { testList(t, s) })
	t.Run("Errors", func(t *testing.T) { testErrors(t, s) })
	t.Run("ChangesReachTheDoor", func(t *testing.T) { testDoor(t, s) })
	s.mustCall(t, http.StatusCreated, http.MethodPost, "/api/v1/links", `{"url":"http://a.example","slug":"counted"}`)
	now := time.Now()
	s.mustClick(t, "counted", now, now, now, now, now, now, now, now)
	t.Run("LatestClicks", func(t *testing.T) { testLatest(t, s) })
	t.Run("OneTrace", func(t *testing.T) { testStatsTrace(t, s) })
}

// TestStopAnswersWhatIsInFlight stops url-api while a request is half sent.
func TestStopAnswersWhatIsInFlight(t *testing.T) {
	s := mustServe(t, "")
	addr := strings.TrimPrefix(s.api, "http://")
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	const body = `{"url":"http://a.example","slug":"in-flight"}`
	fmt.Fprintf(conn, "POST /api/v1/links HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
		s.tokens["all"], len(body), body[:10])
	// The half that was sent has arrived when the rest of the API has answered after it.
	s.mustCall(t, http.StatusOK, http.MethodGet, "/api/v1/links", "")

	ended := make(chan error, 1)
	go func() { ended <- s.stop() }()
	eventually(t, "the port is closed", func() error {
		if c, err := net.Dial("tcp", addr); err == nil {
			_ = c.Close()
			return fmt.Errorf("%s still takes connections", addr)
		}
		return nil
	})
	if _, err := io.WriteString(conn, body[10:]); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Errorf("status = %d, want 201", resp.StatusCode)
	}
	if err := <-ended; err != nil {
		t.Errorf("stop: %v", err)
	}
	if _, err := s.store.LinkByCode(context.Background(), "in-flight"); err != nil {
		t.Errorf("the link that was answered: %v", err)
	}
}

// TestStopSendsClicks stops url-api right after its last redirect: all clicks are in Kafka, each with its trace.
func TestStopSendsClicks(t *testing.T) {
	s := mustServe(t, "")
	s.mustCall(t, http.StatusCreated, http.MethodPost, "/api/v1/links", `{"url":"http://a.example","slug":"clicked"}`)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	const visits = 300
	traces := map[string]bool{} // of redirects, whether their click has come
	for range visits {
		resp, err := client.Get(s.door + "/clicked")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusFound {
			t.Fatalf("status = %d", resp.StatusCode)
		}
		traces[strings.Split(resp.Header.Get("Traceparent"), "-")[1]] = false
	}
	client.CloseIdleConnections()
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}

	reader, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.ConsumeTopics("click-events"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for read := 0; read < visits; {
		fetched := reader.PollFetches(ctx)
		if err := fetched.Err(); err != nil {
			t.Fatalf("after %d of %d clicks: %v", read, visits, err)
		}
		fetched.EachRecord(func(r *kgo.Record) {
			read++
			c, err := click.Decode(r.Value)
			if err != nil {
				t.Error(err)
				return
			}
			if twice, ours := traces[c.TraceID.String()]; !ours || twice {
				t.Errorf("a click of the trace %s: ours %v, twice %v", c.TraceID, ours, twice)
			}
			traces[c.TraceID.String()] = true
			for _, h := range r.Headers {
				if h.Key == "traceparent" && !strings.Contains(string(h.Value), c.TraceID.String()) {
					t.Errorf("traceparent = %s, want the trace %s", h.Value, c.TraceID)
				}
			}
		})
	}
}
