package up

import (
	"crypto/rand"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// redisServer is Redis in this process. It keeps nothing beyond a stop: all it holds are caches.
type redisServer struct {
	addr     string
	password string // other users of the machine must not put targets into the cache
	server   *miniredis.Miniredis
	quit     chan struct{}
	ticker   sync.WaitGroup
}

// startRedis serves at the address of a listener that has kept it free.
func startRedis(held net.Listener) (*redisServer, error) {
	addr := held.Addr().String()
	if err := held.Close(); err != nil {
		return nil, err
	}
	server, password := miniredis.NewMiniRedis(), rand.Text()
	server.RequireAuth(password)
	if err := server.StartAddr(addr); err != nil {
		return nil, fmt.Errorf("Redis in this process: %w", err)
	}
	r := &redisServer{addr: addr, password: password, server: server, quit: make(chan struct{})}
	r.ticker.Go(r.tick)
	return r, nil
}

// tick lets time pass: miniredis, made for tests, expires keys only when it is told to.
func (r *redisServer) tick() {
	const step = time.Second
	ticker := time.NewTicker(step)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			r.server.FastForward(step)
		case <-r.quit:
			return
		}
	}
}

func (r *redisServer) close() {
	close(r.quit)
	r.ticker.Wait()
	r.server.Close()
}
