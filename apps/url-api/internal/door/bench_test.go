package door

import (
	"context"
	"net"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/linkcache"
)

type oneLink struct{}

func (oneLink) LinkByCode(_ context.Context, code string) (link.Link, error) {
	return link.Link{ID: 1, Code: code, URL: "https://example.org/a/page", RedirectStatus: 302}, nil
}

type discard struct{}

func (discard) Publish(context.Context, click.Click) {}
func (discard) Close(context.Context) error          { return nil }

// BenchmarkRedirect measures the handler alone, with a link that the process knows.
func BenchmarkRedirect(b *testing.B) {
	for name, sampler := range map[string]sdktrace.Sampler{
		"not sampled": sdktrace.NeverSample(), "sampled": sdktrace.AlwaysSample(),
	} {
		b.Run(name, func(b *testing.B) {
			links := linkcache.New(linkcache.Config{TTL: 1 << 60}, oneLink{}, nil)
			defer links.Close()
			d, err := New(Config{}, Deps{
				Links: links, Clicks: discard{}, Registry: prometheus.NewRegistry(), TrustedProxies: []string{"none"},
				Tracers: sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler)),
			})
			if err != nil {
				b.Fatal(err)
			}
			var rc fasthttp.RequestCtx
			var req fasthttp.Request
			req.SetRequestURI("http://s.example/abcdefg")
			req.Header.SetUserAgent("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
			req.Header.Set("Referer", "https://news.example/story?session=1")
			req.Header.Set("Accept-Language", "en-GB,en;q=0.9")
			addr := &net.TCPAddr{IP: net.IPv4(203, 0, 113, 7), Port: 4711}
			b.ReportAllocs()
			for b.Loop() {
				rc.Init(&req, addr, silent{})
				d.serve(&rc)
				if rc.Response.StatusCode() != 302 {
					b.Fatal(rc.Response.StatusCode())
				}
				rc.Response.Reset()
			}
		})
	}
}
