package door

import (
	"context"
	"net"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/linkcache"
	"github.com/linktrail/linktrail/internal/telemetry"
)

// How often a redirect may allocate memory, in the door and for the click's value and its two spans. What the Kafka
// client and the exporter do later, for many at once, is not in it. These numbers do not depend on the machine: lower
// them when they have become fewer, and do not raise them without a reason.
const (
	// The click's three texts, and the span and the context that carry the ids.
	allocationsNotSampled = 5
	// Besides: the second span and its context, and of what the spans tell the path, the network and the click's id.
	allocationsSampled = 10
)

type oneLink struct{}

func (oneLink) LinkByCode(_ context.Context, code string) (link.Link, error) {
	return link.Link{ID: 1, Code: code, URL: "https://example.org/a/page", RedirectStatus: 302}, nil
}

// encoder is a publisher that does all that a driver does before it hands the record to its client.
type encoder struct {
	sends *clickstream.Sends
	value []byte
}

func (e *encoder) Publish(ctx context.Context, c click.Click) {
	span, _ := e.sends.Start(ctx, c.ID)
	e.value = c.AppendJSON(e.value[:0])
	span.Sent(3, 4711)
}

func (*encoder) Close(context.Context) error { return nil }

func TestRedirectAllocations(t *testing.T) {
	if race {
		t.Log("the race detector allocates too: only the answers are checked, and `make test` counts without it")
	}
	for _, test := range []struct {
		name    string
		sampler float64
		most    float64
	}{
		{"not sampled", 0, allocationsNotSampled},
		{"sampled", 1, allocationsSampled},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, rc := redirecting(t, test.sampler)
			got := testing.AllocsPerRun(1000, func() {
				d.serve(rc)
				if rc.Response.StatusCode() != 302 {
					t.Fatal(rc.Response.StatusCode())
				}
				rc.Response.Reset()
			})
			if got > test.most && !race {
				t.Errorf("%v allocations a redirect, at most %v are allowed", got, test.most)
			}
			t.Logf("%v allocations a redirect", got)
		})
	}
}

// redirecting returns a door that knows a link, whose clicks are written and forgotten, and a request for the link.
func redirecting(tb testing.TB, sampler float64) (*Door, *fasthttp.RequestCtx) {
	tb.Helper()
	links := linkcache.New(linkcache.Config{TTL: 1 << 60}, oneLink{}, nil)
	tb.Cleanup(func() { links.Close() })
	traces, err := telemetry.Start(telemetry.Config{Name: "url-api", Batcher: telemetry.BatcherOTLPGRPC, Sampler: sampler})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := traces.Shutdown(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	tracers := traces.Light()
	d, err := New(Config{}, Deps{
		Links: links, Registry: prometheus.NewRegistry(), TrustedProxies: []string{"none"}, Tracers: tracers,
		Clicks: &encoder{sends: clickstream.NewSends(tracers, clickstream.Config{Topic: "click-events"}, "linktrail")},
	})
	if err != nil {
		tb.Fatal(err)
	}
	var req fasthttp.Request
	req.SetRequestURI("http://s.example/abcdefg")
	req.Header.SetUserAgent("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	req.Header.Set("Referer", "https://news.example/story?session=1")
	req.Header.Set("Accept-Language", "en-GB,en;q=0.9")
	rc := new(fasthttp.RequestCtx)
	rc.Init(&req, &net.TCPAddr{IP: net.IPv4(203, 0, 113, 7), Port: 4711}, silent{})
	return d, rc
}
