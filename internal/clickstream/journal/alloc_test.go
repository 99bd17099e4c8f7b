//go:build !race

package journal

import (
	"context"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/clickstream"
)

// stuck is a shipper of a Kafka that is away.
type stuck struct{ clickstream.Shipper }

func (stuck) Ship(ctx context.Context, _ clickstream.Message) error {
	<-ctx.Done()
	return ctx.Err()
}

func (stuck) Close(context.Context) error { return nil }

// TestPublishAllocations counts what the redirect does. AllocsPerRun counts all goroutines, and rounds down what others do
// once in a while. The race detector allocates too: `make test` runs this without it.
func TestPublishAllocations(t *testing.T) {
	p, err := NewPublisher(Config{Dir: t.TempDir(), SegmentBytes: 1 << 20, MaxBytes: 1 << 26}, stuck{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = p.Close(ctx) // it says that clicks are left
	})
	now := time.Now()
	parent := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, TraceFlags: trace.FlagsSampled})
	ctx := trace.ContextWithSpanContext(context.Background(), parent)
	c := click.Click{ID: click.NewID(now), LinkID: 1, Code: "abcdefg", Time: now, UserAgent: "Mozilla/5.0", Referrer: "https://news.example/"}
	if got := testing.AllocsPerRun(10000, func() { p.Publish(ctx, c) }); got > 0 {
		t.Errorf("%v allocations a click", got)
	}
	if n := p.Waiting(); n != 10001 { // and one to warm up
		t.Errorf("%d clicks wait", n)
	}
}
