package analyticsconsumer_test

import (
	"net"
	"os"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestStopWithoutCollector stops while spans wait for a collector that accepts and never answers: they are lost, and the
// stop is in order all the same.
func TestStopWithoutCollector(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0") // the system accepts for it
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = mute.Close() }()
	w := newWorld(t)
	text, err := os.ReadFile(w.config)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.NewReplacer("Batcher: file", "Batcher: otlpgrpc", "Endpoint: "+w.spans, "Endpoint: "+mute.Addr().String()).Replace(string(text))
	if err := os.WriteFile(w.config, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	stop := w.start()
	traced := &kgo.Record{Topic: w.topic, Value: w.newClick().AppendJSON(nil),
		Headers: []kgo.RecordHeader{{Key: "traceparent", Value: []byte("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")}}}
	if err := w.kafka.ProduceSync(t.Context(), traced).FirstErr(); err != nil {
		t.Fatal(err)
	}
	w.wantClicks(func(n int64) bool { return n == 1 })
	stop()
}
