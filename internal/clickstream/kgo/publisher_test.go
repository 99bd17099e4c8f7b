package kgo_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/kgo"
)

// BenchmarkPublish publishes clicks below spans that are not sampled, which is what most redirects do, to a broker in
// the same process.
func BenchmarkPublish(b *testing.B) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(12, clickstream.DefaultTopic))
	if err != nil {
		b.Fatal(err)
	}
	defer cluster.Close()
	p, err := kgo.NewPublisher(clickstream.Config{Brokers: cluster.ListenAddrs(), LingerMillis: 50, Queue: 1 << 24}.WithDefaults(),
		kgo.Options{TracerProvider: noop.NewTracerProvider()})
	if err != nil {
		b.Fatal(err)
	}
	c := click.Click{ID: uuid.New(), LinkID: 1, Code: "aZ3x9Qk", Time: time.Now(), UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0"}
	ctx := trace.ContextWithSpanContext(context.Background(),
		trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}}))
	b.ReportAllocs()
	for b.Loop() {
		p.Publish(ctx, c)
	}
	b.StopTimer()
	if err := p.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
}
