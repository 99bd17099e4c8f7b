package urlapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/zeromicro/go-zero/core/conf"
	"github.com/zeromicro/go-zero/core/logx"
	"github.com/zeromicro/go-zero/rest"

	"github.com/linktrail/linktrail/apps/url-api/internal/apitest"
	"github.com/linktrail/linktrail/apps/url-api/internal/config"
	"github.com/linktrail/linktrail/apps/url-api/internal/svc"
	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/problem"
	"github.com/linktrail/linktrail/internal/telemetry"
)

// brokenStore fails as its codes say.
type brokenStore struct{ link.Store }

func (brokenStore) LinkByCode(ctx context.Context, code string) (link.Link, error) {
	switch code {
	case "slow", "stream":
		<-ctx.Done()
		return link.Link{}, fmt.Errorf("select secret: %w", ctx.Err())
	case "away":
		return link.Link{}, fmt.Errorf("dial secret: %w", io.ErrUnexpectedEOF)
	case "panic":
		panic("secret")
	default:
		return link.Link{}, errors.New("secret")
	}
}

// TestFaults goes through go-zero's whole chain: what its middlewares answer are problems too.
func TestFaults(t *testing.T) {
	p, err := telemetry.Start(telemetry.Config{Name: "url-api", Sampler: 1, Batcher: telemetry.BatcherOTLPGRPC})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Shutdown(context.Background()) })
	var c config.Config
	if err := conf.LoadFromYamlBytes([]byte("{Name: url-api, Port: 0, Timeout: 300, Log: {Stat: false}, Telemetry: {Disabled: true}, DevServer: {Enabled: false}}"), &c.RestConf); err != nil {
		t.Fatal(err)
	}
	through := rest.Middleware(func(next http.HandlerFunc) http.HandlerFunc { return next })
	svcCtx := &svc.ServiceContext{Links: brokenStore{}, MaxBody: 1024, LinksRead: through, LinksWrite: through, StatsRead: through}
	h, err := newHandler(c, svcCtx, func(netip.Addr) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	logged := mustCaptureLogs(t) // go-zero has set its log up by now, and does so once
	server := httptest.NewServer(h)
	defer server.Close()
	contract, err := apitest.Load(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: contract.Transport(http.DefaultTransport, func(err error) { t.Error(err) })}

	for code, status := range map[string]int{"slow": 503, "stream": 503, "away": 503, "panic": 500, "broken": 500} {
		t.Run(code, func(t *testing.T) {
			req, err := http.NewRequest(http.MethodGet, server.URL+"/api/v1/links/"+code, nil)
			if err != nil {
				t.Fatal(err)
			}
			if code == "stream" { // go-zero lets these go on for ever
				req.Header.Set("Accept", "text/event-stream")
				req.Header.Set("Upgrade", "websocket")
			}
			req.Header.Set("Authorization", "Bearer lt_key")
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			var got problem.Problem
			if err := json.Unmarshal(body, &got); err != nil {
				t.Fatalf("body %q: %v", body, err)
			}
			if resp.StatusCode != status || got.Status != status || resp.Header.Get("Content-Type") != problem.ContentType {
				t.Errorf("%s, %s, %+v; want %d", resp.Status, resp.Header.Get("Content-Type"), got, status)
			}
			if strings.Contains(string(body), "secret") {
				t.Errorf("the answer shows internals: %s", body)
			}
			if len(got.TraceID) != 32 || !strings.Contains(resp.Header.Get("Traceparent"), got.TraceID) {
				t.Errorf("trace_id = %q, traceparent = %q", got.TraceID, resp.Header.Get("Traceparent"))
			}
			if status == 503 && resp.Header.Get("Retry-After") == "" {
				t.Error("503 without Retry-After")
			}
		})
	}
	server.Close() // waits for the handlers, which log last
	if !strings.Contains(logged.String(), "/api/v1/links/broken") {
		t.Errorf("the log does not tell of a fault: %s", logged)
	}
	if strings.Contains(logged.String(), "lt_key") {
		t.Errorf("the log shows a key: %s", logged)
	}
}

// mustCaptureLogs takes the process's log until the test ends.
func mustCaptureLogs(t *testing.T) *lockedBuffer {
	t.Helper()
	var b lockedBuffer
	before := logx.Reset()
	logx.SetLevel(logx.ErrorLevel) // what other tests have set lasts
	logx.SetWriter(logx.NewWriter(&b))
	t.Cleanup(func() {
		if before != nil {
			logx.SetWriter(before)
		}
	})
	return &b
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
