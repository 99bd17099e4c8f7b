package kq_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zeromicro/go-zero/core/logx"

	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/kgo"
	"github.com/linktrail/linktrail/internal/clickstream/kq"
)

// sink is a writer for the log. Safe for concurrent use.
type sink struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

// TestLogSurvives has a consumer stop, which makes kq close the process's log, and logs afterwards.
func TestLogSurvives(t *testing.T) {
	var out sink
	logx.SetWriter(logx.NewWriter(&out))
	t.Cleanup(func() { logx.Reset() })
	c := clickstream.Config{Driver: clickstream.DriverKq, Brokers: testenv.Kafka(t).Brokers, Topic: "kq-" + strings.ToLower(rand.Text()), Conns: 2}.WithDefaults()
	c.Group = c.Topic
	if err := kgo.MakeTopics(t.Context(), c, 1, 1, nil); err != nil {
		t.Fatal(err)
	}
	consumer, err := kq.NewConsumer(c, time.Second, kq.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := consumer.Run(ctx, func(context.Context, []clickstream.Record) error { return nil }); err != nil {
		t.Fatal(err)
	}
	logx.Error("the last spans are flushed")
	if !strings.Contains(out.text.String(), "the last spans are flushed") {
		t.Error("what is logged after the consumer stopped does not reach the log")
	}
}
