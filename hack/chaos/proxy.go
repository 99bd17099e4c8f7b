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

// startProxy has a toxiproxy stand before a server.
func (s *system) startProxy(name, listen, upstream string) error {
	s.proxy = toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), name, listen, upstream)
	return s.proxy.Start()
}

// slow delays what goes through the proxy, each way.
func (s *system) slow(ctx context.Context, latency, jitter time.Duration) (mend func(), err error) {
	for _, stream := range []string{"upstream", "downstream"} {
		if err := s.toxic("slow-"+stream, "latency", stream, fmt.Sprintf(`{"latency": %d, "jitter": %d}`, latency.Milliseconds(), jitter.Milliseconds())); err != nil {
			return nil, err
		}
	}
	return func() { s.proxy.Toxics.ResetToxics(context.WithoutCancel(ctx)) }, nil
}

func (s *system) toxic(name, kind, stream, attributes string) error {
	_, err := s.proxy.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(
		`{"name": %q, "type": %q, "stream": %q, "toxicity": 1, "attributes": %s}`, name, kind, stream, attributes)))
	return err
}

// slowKafka delays all that goes to and from Kafka, and of every five seconds drops all that is under way in one; its
// connections are then broken.
func slowKafka(ctx context.Context, t *trial) error {
	mend, err := t.slow(ctx, 100*time.Millisecond, 50*time.Millisecond)
	if err != nil {
		return err
	}
	defer mend()
	for t.times = 0; t.times < int(t.options.slow/(5*time.Second)); t.times++ {
		if err := sleep(ctx, 4*time.Second); err != nil {
			return err
		}
		for _, stream := range []string{"upstream", "downstream"} {
			if err := t.toxic("loss-"+stream, "timeout", stream, `{"timeout": 0}`); err != nil {
				return err
			}
		}
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
		for _, stream := range []string{"upstream", "downstream"} {
			if err := t.proxy.Toxics.RemoveToxic(ctx, "loss-"+stream); err != nil {
				return err
			}
		}
	}
	return nil
}

func slowRedis(ctx context.Context, t *trial) error {
	mend, err := t.slow(ctx, 200*time.Millisecond, 100*time.Millisecond)
	if err != nil {
		return err
	}
	defer mend()
	return sleep(ctx, t.options.slow)
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
