package ingest_test

import (
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	franz "github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/linktrail/linktrail/internal/clickstream"
)

func (w *world) startBroker() (err error) {
	w.cluster, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(w.port), kfake.DataDir(filepath.Join(w.data, "kafka")),
		kfake.ListenFn(w.gate.listen), kfake.GroupMinSessionTimeout(time.Second), kfake.SleepOutOfOrder(),
		kfake.SeedTopics(partitions, w.config.Topic, w.config.Topic+clickstream.DeadLetterSuffix))
	return err
}

func (w *world) wait(s step) error {
	select {
	case <-time.After(time.Duration(s.n) * time.Millisecond):
		return nil
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
}

func (w *world) brokerAway(step) error { w.gate.close(); return nil }
func (w *world) brokerBack(step) error { w.gate.open(); return nil }

func (w *world) brokerRestarts(step) error {
	w.cluster.Close()
	return w.startBroker()
}

// loseAnswers has the broker do what the publisher asks, and cuts the connection instead of answering.
func (w *world) loseAnswers(s step) error {
	w.gate.lose("publisher-", s.n)
	return nil
}

func (w *world) brokerErrors(s step) error {
	list := []*kerr.Error{
		kerr.NotEnoughReplicasAfterAppend, kerr.NotLeaderForPartition, kerr.RequestTimedOut, kerr.KafkaStorageError,
		kerr.UnknownTopicOrPartition, kerr.CoordinatorLoadInProgress, kerr.ThrottlingQuotaExceeded,
		kerr.TopicAuthorizationFailed, kerr.ClusterAuthorizationFailed, kerr.PolicyViolation, kerr.InvalidTopicException,
	}
	err := list[s.pick%uint64(len(list))]
	keys := []kmsg.Key{kmsg.Produce, kmsg.Fetch}
	if errors.Is(err, kerr.CoordinatorLoadInProgress) {
		keys = []kmsg.Key{kmsg.OffsetCommit, kmsg.JoinGroup, kmsg.Heartbeat}
	}
	w.cluster.Fault(kfake.Fault{Keys: keys, Err: err, Count: s.n})
	return nil
}

// deliverAgain puts clicks that are stored into the topic once more.
func (w *world) deliverAgain(s step) error {
	if w.gate.closed() {
		return nil
	}
	stored, err := w.store.LatestClicks(w.ctx, w.link.ID, uuid.UUID{}, s.n)
	if err != nil {
		return err
	}
	var again []*franz.Record
	for _, c := range stored {
		again = append(again, &franz.Record{Topic: w.config.Topic, Value: c.AppendJSON(nil)})
	}
	return w.client.ProduceSync(w.ctx, again...).FirstErr()
}

// gate stands before a broker. It knows by their client ids who comes.
type gate struct {
	mu     sync.Mutex
	shut   bool
	banned map[string]bool
	whose  string // whose answers get lost
	left   int    // how many
	conns  map[*gatedConn]bool
}

func newGate() *gate {
	return &gate{banned: make(map[string]bool), conns: make(map[*gatedConn]bool)}
}

func (g *gate) listen(network, address string) (net.Listener, error) {
	l, err := net.Listen(network, address)
	return &gatedListener{l, g}, err
}

func (g *gate) closed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = false
}

// close cuts all connections and takes no more.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	g.cut(func(*gatedConn) bool { return true })
}

// ban cuts the connections of a client, for good.
func (g *gate) ban(client string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.banned[client] = true
	g.cut(func(c *gatedConn) bool { return c.client == client })
}

func (g *gate) cut(which func(*gatedConn) bool) {
	for c := range g.conns {
		if which(c) {
			_ = c.Conn.Close()
			delete(g.conns, c)
		}
	}
}

// lose has the next n answers to clients whose id begins so get lost.
func (g *gate) lose(whose string, n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.whose, g.left = whose, n
}

type gatedListener struct {
	net.Listener
	gate *gate
}

func (l *gatedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &gatedConn{Conn: conn, gate: l.gate}
		l.gate.mu.Lock()
		shut := l.gate.shut
		if !shut {
			l.gate.conns[c] = true
		}
		l.gate.mu.Unlock()
		if !shut {
			return c, nil
		}
		_ = conn.Close()
	}
}

type gatedConn struct {
	net.Conn
	gate   *gate
	client string // the gate's mutex guards it
	begin  []byte // of the first request, until the client is known
}

// Read finds the client's id in the first request: a length, the kind, the version and the number of the request come first.
func (c *gatedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	if c.client != "" {
		return n, err
	}
	const at = 4 + 2 + 2 + 4
	c.begin = append(c.begin, b[:n]...)
	if len(c.begin) < at+2 {
		return n, err
	}
	end := at + 2 + int(c.begin[at])<<8 + int(c.begin[at+1])
	if len(c.begin) < end {
		return n, err
	}
	c.client = string(c.begin[at+2 : end])
	if c.gate.banned[c.client] {
		_ = c.Conn.Close()
		delete(c.gate.conns, c)
		return 0, net.ErrClosed
	}
	return n, err
}

func (c *gatedConn) Write(b []byte) (int, error) {
	c.gate.mu.Lock()
	lost := c.gate.left > 0 && strings.HasPrefix(c.client, c.gate.whose)
	if lost {
		c.gate.left--
	}
	c.gate.mu.Unlock()
	if lost {
		_ = c.Conn.Close()
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}

func (c *gatedConn) Close() error {
	c.gate.mu.Lock()
	delete(c.gate.conns, c)
	c.gate.mu.Unlock()
	return c.Conn.Close()
}
