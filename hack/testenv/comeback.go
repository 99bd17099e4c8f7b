package testenv

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
)

// ComeBack makes what is at target answer at address, until the test ends: a server that was away is there again.
func ComeBack(t testing.TB, address, target string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		running.Wait()
	})
	running.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", target)
			if err != nil {
				_ = from.Close()
				continue
			}
			stop := context.AfterFunc(ctx, func() { _, _ = from.Close(), to.Close() })
			pass := func(dst, src net.Conn) {
				_, _ = io.Copy(dst, src)
				_, _ = dst.Close(), src.Close()
				stop()
			}
			running.Go(func() { pass(to, from) })
			running.Go(func() { pass(from, to) })
		}
	})
}
