//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// proxy is a toxiproxy before a server. What it does to what goes through it changes with its connections: toxiproxy may wait
// for ever when a toxic is taken off one that is just ending.
type proxy struct {
	name, listen, upstream string
	running                *toxiproxy.Proxy // nil when it is stopped
}

// toxic is what is done to what goes through, each way.
type toxic struct{ kind, attributes string }

func latency(d, jitter time.Duration) toxic {
	return toxic{"latency", fmt.Sprintf(`{"latency": %d, "jitter": %d}`, d.Milliseconds(), jitter.Milliseconds())}
}

// silence lets connections open, and nothing through.
var silence = toxic{"timeout", `{"timeout": 0}`}

// start breaks all connections; those that come are subject to the toxics.
func (p *proxy) start(toxics ...toxic) error {
	p.stop()
	next := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), p.name, p.listen, p.upstream)
	for _, t := range toxics {
		for _, stream := range []string{"upstream", "downstream"} {
			if _, err := next.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(
				`{"type": %q, "stream": %q, "toxicity": 1, "attributes": %s}`, t.kind, stream, t.attributes))); err != nil {
				return err
			}
		}
	}
	p.running = next
	return next.Start()
}

// stop breaks all connections and takes no more. A proxy that does not run stays so.
func (p *proxy) stop() {
	if p.running != nil {
		p.running.Stop()
		p.running = nil
	}
}

// slowKafka delays all that goes to and from Kafka; of every five seconds, nothing comes through in one.
func slowKafka(ctx context.Context, t *trial) error {
	for t.times = 0; t.times < int(t.options.slow/(5*time.Second)); t.times++ {
		if err := t.proxy.start(latency(100*time.Millisecond, 50*time.Millisecond)); err != nil {
			return err
		}
		if err := sleep(ctx, 4*time.Second); err != nil {
			return err
		}
		if err := t.proxy.start(silence); err != nil {
			return err
		}
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
	}
	return t.proxy.start()
}

func slowRedis(ctx context.Context, t *trial) error {
	if err := t.proxy.start(latency(200*time.Millisecond, 100*time.Millisecond)); err != nil {
		return err
	}
	if err := sleep(ctx, t.options.slow); err != nil {
		return err
	}
	return t.proxy.start()
}

// command sends a Redis an inline command that is answered with OK.
func command(ctx context.Context, addr, text string) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte(text + "\r\n")); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && strings.TrimSpace(answer) != "+OK" {
		err = fmt.Errorf("%s: %q", text, answer)
	}
	return err
}
