package journal

import (
	"os"
	"sync"
	"time"
)

// group puts a file on the disk for many at once: those who come while it is being done wait for the next time, which they
// share.
type group struct {
	mu       sync.Mutex
	next     *round // that those who come now share; nil while there is none
	busy     sync.Mutex
	duration func(seconds float64)
}

type round struct {
	done chan struct{}
	err  error
}

// wait returns when all that was written before it was called is on the disk.
func (g *group) wait(file *os.File) error {
	g.mu.Lock()
	r := g.next
	if r != nil {
		g.mu.Unlock()
		<-r.done
		return r.err
	}
	r = &round{done: make(chan struct{})}
	g.next = r
	g.mu.Unlock()

	g.busy.Lock() // the round before is over
	g.mu.Lock()
	g.next = nil // who comes now may have written too late for this one
	g.mu.Unlock()
	begin := time.Now()
	r.err = syncFile(file)
	g.busy.Unlock()
	if g.duration != nil {
		g.duration(time.Since(begin).Seconds())
	}
	close(r.done)
	return r.err
}
