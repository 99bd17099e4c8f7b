package urlapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/linktrail/linktrail/apps/url-api/internal/apitest"
	"github.com/linktrail/linktrail/apps/url-api/urlapi"
	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/apikey"
	"github.com/linktrail/linktrail/internal/store"
)

// binaries is the folder that holds analytics-rpc: the services are processes, as each has one tracer provider.
var binaries string

func TestMain(m *testing.M) {
	os.Exit(testenv.WithCommands(m, &binaries, "../../analytics-rpc"))
}

// server is url-api, run by its own Run on SQLite and an in-process Kafka, with analytics-rpc beside it.
type server struct {
	api, door, ops string
	store          store.Store
	tokens         map[string]string // by name
	spans          string            // the folder of span files
	brokers        []string
	analytics      *exec.Cmd
	contract       *apitest.Contract
	stop           func() error
}

// mustServe starts url-api on a new SQLite file, with further lines of YAML, in which {spans} is the folder of span files;
// it is stopped when the test ends.
func mustServe(t *testing.T, yaml string) *server {
	t.Helper()
	return mustServeOn(t, "sqlite:"+filepath.Join(t.TempDir(), "linktrail.db"), yaml)
}

// mustServeOn is mustServe on an empty database.
func mustServeOn(t *testing.T, dsn, yaml string) *server {
	t.Helper()
	// Spans are looked for while the services run.
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
	dir := t.TempDir()
	s := &server{spans: filepath.Join(dir, "spans"), tokens: map[string]string{}}
	if err := os.Mkdir(s.spans, 0o700); err != nil {
		t.Fatal(err)
	}
	s.mustOpenStore(t, dsn)
	rpc := testenv.FreeAddr(t)
	s.mustStartAnalytics(t, dir, dsn, rpc)

	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "click-events"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kafka.Close)
	s.brokers = kafka.ListenAddrs()

	door, api, ops := testenv.FreeAddr(t), testenv.FreeAddr(t), testenv.FreeAddr(t)
	s.door, s.api, s.ops = "http://"+door, "http://"+api, "http://"+ops
	_, port, _ := net.SplitHostPort(api)
	limit := "MaxBytes: 4096"
	if strings.Contains(yaml, "MaxBytes:") {
		limit = ""
	}
	file := mustWrite(t, filepath.Join(dir, "url-api.yaml"), fmt.Sprintf(`
Name: url-api
Host: 127.0.0.1
Port: %s
%s
Middlewares: {Log: false}
Log: {Level: severe, Stat: false}
PublicURL: https://go.example/
OwnHosts: [other.example]
TraceURL: http://jaeger.example/trace/{trace_id}
Door: {Addr: %q}
Store: {DSN: %q}
ClickStream: {Brokers: [%q]}
Analytics: {Endpoints: [%q]}
Telemetry: {Batcher: file, Endpoint: %q}
Ops: {Addr: %q}
Drain: 30s
%s`, port, limit, door, dsn, s.brokers[0], rpc, filepath.Join(s.spans, "url-api.jsonl"), ops,
		strings.ReplaceAll(yaml, "{spans}", s.spans)))
	s.mustRun(t, file)
	if s.contract, err = apitest.Load(t.Context(), s.api); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *server) mustOpenStore(t *testing.T, dsn string) {
	t.Helper()
	cfg := store.Config{DSN: dsn}
	if err := store.Migrate(context.Background(), cfg, nil); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.store, err = store.Open(context.Background(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.store.Close() })
	for name, scopes := range map[string][]apikey.Scope{
		"all":     apikey.Scopes(),
		"reader":  {apikey.ScopeLinksRead},
		"writer":  {apikey.ScopeLinksWrite},
		"analyst": {apikey.ScopeStatsRead},
		"revoked": apikey.Scopes(),
	} {
		key, token, err := apikey.New(name, scopes, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.store.CreateKey(context.Background(), key); err != nil {
			t.Fatal(err)
		}
		if name == "revoked" {
			if err := s.store.RevokeKey(context.Background(), key.ID, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		s.tokens[name] = token
	}
}

func (s *server) mustStartAnalytics(t *testing.T, dir, dsn, addr string) {
	t.Helper()
	// go-zero's signal handler reads the stop times without the lock under which they were set. Its log has one: with
	// lines written the race detector sees their order, as at the level that is shipped.
	file := mustWrite(t, filepath.Join(dir, "analytics-rpc.yaml"), fmt.Sprintf(`
Name: analytics-rpc
ListenOn: %s
Log: {Level: info, Stat: false}
Store: {DSN: %q}
Telemetry: {Batcher: file, Endpoint: %q}
Ops: {Addr: "127.0.0.1:0"}
`, addr, dsn, filepath.Join(s.spans, "analytics-rpc.jsonl")))
	s.analytics = exec.Command(filepath.Join(binaries, "analytics-rpc"), "-f", file)
	s.analytics.Stdout, s.analytics.Stderr = os.Stderr, os.Stderr
	if err := s.analytics.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.stopAnalytics(t) })
	eventually(t, "analytics-rpc listens", func() error {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
}

// stopAnalytics ends analytics-rpc, as Kubernetes does, and waits for it; a client still holds its connection.
func (s *server) stopAnalytics(t *testing.T) {
	t.Helper()
	if s.analytics.ProcessState != nil {
		return
	}
	began := time.Now()
	if err := s.analytics.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := s.analytics.Wait(); err != nil || time.Since(began) > 20*time.Second {
		t.Errorf("analytics-rpc ended after %v with %v", time.Since(began), err)
	}
}

// mustRun runs url-api and waits until it is ready.
func (s *server) mustRun(t *testing.T, file string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- urlapi.Run(ctx, file) }()
	stopped := false
	s.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(20 * time.Second):
			return fmt.Errorf("not stopped after 20 s")
		}
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	eventually(t, "url-api is ready", func() error {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("Run: %v", err)
		default:
		}
		resp, err := http.Get(s.ops + "/readyz")
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("readyz answers %s", resp.Status)
		}
		return nil
	})
}

// client is a client whose answers are held against the document; what is not as documented fails the test.
func (s *server) client(t *testing.T) *http.Client {
	t.Helper()
	return &http.Client{Transport: s.contract.Transport(http.DefaultTransport, func(err error) {
		t.Helper()
		t.Error(err)
	})}
}

// answer is what the API answered.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// decode reads the body.
func (a answer) decode(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("body %q: %v", a.body, err)
	}
}

// call sends a request with the key that has every scope; headers are "Name: value". The answer is held against the
// document.
func (s *server) call(t *testing.T, method, path, body string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequest(method, s.api+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.tokens["all"])
	req.Header.Set("Content-Type", "application/json")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
		if value == "" {
			req.Header.Del(name)
		}
	}
	resp, err := s.client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, got}
}

// mustCall is call that wants a status.
func (s *server) mustCall(t *testing.T, status int, method, path, body string, headers ...string) answer {
	t.Helper()
	a := s.call(t, method, path, body, headers...)
	if a.status != status {
		t.Fatalf("%s %s: status %d, want %d: %s", method, path, a.status, status, a.body)
	}
	return a
}

func mustWrite(t *testing.T, file, text string) string {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// eventually asks until there is no error, for 20 seconds.
func eventually(t *testing.T, what string, ask func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		<-tick.C
	}
}
