package analyticsrpc_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/linktrail/linktrail/apps/analytics-rpc/analyticsrpc"
	"github.com/linktrail/linktrail/apps/analytics-rpc/pb"
	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/store"
)

const chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// mustServe starts the service on a new SQLite store and returns a client, the store and what stops the service.
func mustServe(t *testing.T) (pb.AnalyticsClient, *grpc.ClientConn, store.Store, func() error) {
	t.Helper()
	dir := t.TempDir()
	cfg := store.Config{DSN: "sqlite:" + filepath.Join(dir, "linktrail.db")}
	if err := store.Migrate(context.Background(), cfg, nil); err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	addr := testenv.FreeAddr(t)
	file := mustWriteConfig(t, dir, cfg.DSN, addr)

	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- analyticsrpc.Run(ctx, file) }()
	stopped := false
	stop := func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(15 * time.Second):
			return fmt.Errorf("not stopped after 15 s")
		}
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})

	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ready, done := context.WithTimeout(context.Background(), time.Minute)
	defer done()
	health, err := grpc_health_v1.NewHealthClient(conn).Check(ready, &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true))
	if err != nil {
		select {
		case err := <-ended:
			t.Fatalf("Run: %v", err)
		default:
			t.Fatal(err)
		}
	}
	if health.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatalf("health = %v", health.GetStatus())
	}
	return pb.NewAnalyticsClient(conn), conn, st, stop
}

func mustWriteConfig(t *testing.T, dir, dsn, addr string) string {
	t.Helper()
	file := filepath.Join(dir, "analytics-rpc.yaml")
	text := fmt.Sprintf(`
Name: analytics-rpc
ListenOn: %s
Log: {Level: error, Stat: false}
Store: {DSN: %q}
Ops: {Addr: "127.0.0.1:0"}
Drain: 30s
`, addr, dsn)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func makeClick(n int) click.Click {
	at := noon.Add(time.Duration(n) * time.Minute)
	id := uuid.Must(uuid.NewV7())
	ms := at.UnixMilli() // the id's time is the click's
	for i := range 6 {
		id[i] = byte(ms >> (8 * (5 - i)))
	}
	c := click.Click{ID: id, LinkID: 7, Code: "abc", Time: at, Referrer: "https://news.example/item", UserAgent: chrome,
		Language: "de", Country: "DE", TraceID: trace.TraceID{1, byte(n)}, SpanID: trace.SpanID{2, byte(n)}, Sampled: true}
	click.Classify(&c)
	return c
}

func TestAnalytics(t *testing.T) {
	client, _, st, stop := mustServe(t)
	ctx := context.Background()
	bot := makeClick(3)
	bot.UserAgent = "Googlebot/2.1 (+http://www.google.com/bot.html)"
	click.Classify(&bot)
	if _, err := st.WriteClicks(ctx, []click.Click{makeClick(0), makeClick(1), makeClick(70), bot}); err != nil {
		t.Fatal(err)
	}

	t.Run("ClickStatsOK", func(t *testing.T) {
		got, err := client.ClickStats(ctx, &pb.ClickStatsRequest{LinkId: 7, From: timestamppb.New(noon),
			To: timestamppb.New(noon.Add(80 * time.Minute)), Interval: "hour", TimeZone: "Asia/Tokyo"})
		if err != nil {
			t.Fatal(err)
		}
		if got.GetClicks() != 3 || got.GetBots() != 1 {
			t.Errorf("clicks, bots = %d, %d, want 3, 1", got.GetClicks(), got.GetBots())
		}
		if want := noon.Add(90 * time.Minute); !got.GetTo().AsTime().Equal(want) {
			t.Errorf("to = %v, want the full quarter of an hour %v", got.GetTo().AsTime(), want)
		}
		var series []int64
		for _, s := range got.GetSeries() {
			series = append(series, s.GetClicks())
		}
		if fmt.Sprint(series) != "[2 1]" {
			t.Errorf("series = %v, want [2 1]", series)
		}
		values := map[string]string{}
		for _, d := range got.GetDimensions() {
			for _, c := range d.GetCounts() {
				values[d.GetName()] += fmt.Sprintf("%s %d ", c.GetValue(), c.GetClicks())
			}
		}
		want := map[string]string{"referrer": "news.example 3 ", "country": "DE 3 ", "browser": "Chrome 3 ", "os": "Linux 3 ", "device": "desktop 3 "}
		for name, w := range want {
			if values[name] != w {
				t.Errorf("%s = %q, want %q", name, values[name], w)
			}
		}
	})

	t.Run("LatestClicksOK", func(t *testing.T) {
		first, err := client.LatestClicks(ctx, &pb.LatestClicksRequest{LinkId: 7, Limit: 3})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(first.GetClicks()); n != 3 {
			t.Fatalf("%d clicks, want 3", n)
		}
		newest := first.GetClicks()[0]
		if newest.GetCode() == "" {
			t.Error("the click has no code")
		}
		if newest.GetTraceId() != "01460000000000000000000000000000" || newest.GetBrowser() != "Chrome" || !newest.GetSampled() {
			t.Errorf("newest = %v", newest)
		}
		rest, err := client.LatestClicks(ctx, &pb.LatestClicksRequest{LinkId: 7, Limit: 3, Before: first.GetClicks()[2].GetId()})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(rest.GetClicks()); n != 1 {
			t.Errorf("%d clicks on the second page, want 1", n)
		}
	})

	t.Run("LatestClicksOfAllLinksOK", func(t *testing.T) {
		all, err := client.LatestClicks(ctx, &pb.LatestClicksRequest{Limit: 3})
		if err != nil {
			t.Fatal(err)
		}
		of7, err := client.LatestClicks(ctx, &pb.LatestClicksRequest{LinkId: 7, Limit: 3})
		if err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(all, of7) { // no other link has clicks
			t.Errorf("all links have %v, their only one %v", all, of7)
		}
	})

	invalid := []struct {
		field string
		call  func() error
	}{
		{"link_id", statsCall(client, &pb.ClickStatsRequest{})},
		{"from", statsCall(client, &pb.ClickStatsRequest{LinkId: 7, To: timestamppb.New(noon)})},
		{"to", statsCall(client, &pb.ClickStatsRequest{LinkId: 7, From: timestamppb.New(noon), To: timestamppb.New(noon)})},
		{"interval", statsCall(client, &pb.ClickStatsRequest{LinkId: 7, From: timestamppb.New(noon), To: timestamppb.New(noon.Add(time.Hour)), Interval: "week"})},
		{"tz", statsCall(client, &pb.ClickStatsRequest{LinkId: 7, From: timestamppb.New(noon), To: timestamppb.New(noon.Add(time.Hour)), TimeZone: "Local"})},
		{"top", statsCall(client, &pb.ClickStatsRequest{LinkId: 7, From: timestamppb.New(noon), To: timestamppb.New(noon.Add(time.Hour)), Top: 201})},
		{"link_id", latestCall(client, &pb.LatestClicksRequest{LinkId: -1, Limit: 1})},
		{"limit", latestCall(client, &pb.LatestClicksRequest{LinkId: 7})},
		{"before", latestCall(client, &pb.LatestClicksRequest{LinkId: 7, Limit: 1, Before: "x"})},
	}
	for _, tt := range invalid {
		t.Run("ErrInvalid_"+tt.field, func(t *testing.T) {
			s := status.Convert(tt.call())
			if s.Code() != codes.InvalidArgument {
				t.Fatalf("status = %v, want InvalidArgument", s)
			}
			for _, d := range s.Details() {
				if bad, ok := d.(*errdetails.BadRequest); ok {
					if got := bad.GetFieldViolations()[0].GetField(); got != tt.field {
						t.Errorf("field = %q, want %q", got, tt.field)
					}
					return
				}
			}
			t.Errorf("no field in %v", s)
		})
	}

	t.Run("StopsAtOnce", func(t *testing.T) {
		began := time.Now()
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("a stop with nothing in flight took %v", took)
		}
	})
}

// TestMaxConnectionAge makes calls all the while and wants several connections to have carried them, and none to fail.
func TestMaxConnectionAge(t *testing.T) {
	dir := t.TempDir()
	dsn := "sqlite:" + filepath.Join(dir, "linktrail.db")
	if err := store.Migrate(context.Background(), store.Config{DSN: dsn}, nil); err != nil {
		t.Fatal(err)
	}
	addr := testenv.FreeAddr(t)
	file := mustWriteConfig(t, dir, dsn, addr)
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(content, "MaxConnectionAge: 200ms\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- analyticsrpc.Run(ctx, file) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("stop: %v", err)
		}
	}()

	var dialled atomic.Int32
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
			if err == nil {
				dialled.Add(1)
			}
			return c, err
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	calls, done := context.WithTimeout(context.Background(), 30*time.Second)
	defer done()
	for dialled.Load() < 4 {
		if _, err := pb.NewAnalyticsClient(conn).LatestClicks(calls, &pb.LatestClicksRequest{LinkId: 7, Limit: 1}, grpc.WaitForReady(true)); err != nil {
			t.Fatalf("after %d connections: %v", dialled.Load(), err)
		}
	}
}

func statsCall(c pb.AnalyticsClient, in *pb.ClickStatsRequest) func() error {
	return func() error {
		_, err := c.ClickStats(context.Background(), in)
		return err
	}
}

func latestCall(c pb.AnalyticsClient, in *pb.LatestClicksRequest) func() error {
	return func() error {
		_, err := c.LatestClicks(context.Background(), in)
		return err
	}
}

func TestRunErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	dir := t.TempDir()
	dsn := "sqlite:" + filepath.Join(dir, "linktrail.db")
	if err := store.Migrate(context.Background(), store.Config{DSN: dsn}, nil); err != nil {
		t.Fatal(err)
	}

	tests := []struct {
		name, yaml string
		wants      []string
	}{
		{"ErrPortTaken", "Name: a\nListenOn: " + taken.Addr().String() + "\nStore: {DSN: " + dsn + "}\nOps: {Addr: \"127.0.0.1:0\"}",
			[]string{"ListenOn", taken.Addr().String()}},
		{"ErrOpsPortTaken", "Name: a\nListenOn: 127.0.0.1:0\nStore: {DSN: " + dsn + "}\nOps: {Addr: \"" + taken.Addr().String() + "\"}",
			[]string{"Ops.Addr", taken.Addr().String()}},
		{"ErrListenOn", "Name: a\nListenOn: nowhere\nStore: {DSN: " + dsn + "}\nOps: {Addr: \"127.0.0.1:0\"}", []string{"ListenOn", "nowhere", "host:port"}},
		{"ErrMaxConnectionAge", "Name: a\nListenOn: 127.0.0.1:0\nMaxConnectionAge: -1s\nStore: {DSN: " + dsn + "}", []string{"MaxConnectionAge", "-1s", "30s"}},
		{"ErrBatcher", "Name: a\nListenOn: 127.0.0.1:0\nTelemetry: {Batcher: jaeger}\nStore: {DSN: " + dsn + "}", []string{"Telemetry.Batcher", "jaeger", "otlpgrpc"}},
		{"ErrNotMigrated", "Name: a\nListenOn: 127.0.0.1:0\nStore: {DSN: \"sqlite:" + dir + "/none.db\"}\nOps: {Addr: \"127.0.0.1:0\"}", []string{"migrate"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "a.yaml")
			if err := os.WriteFile(file, []byte(tt.yaml+"\nLog: {Level: error, Stat: false}\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			err := analyticsrpc.Run(ctx, file)
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
