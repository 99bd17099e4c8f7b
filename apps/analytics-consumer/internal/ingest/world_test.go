package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	franz "github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/linktrail/linktrail/apps/analytics-consumer/internal/ingest"
	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/clickstream/journal"
	"github.com/linktrail/linktrail/internal/clickstream/kgo"
	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/store"
	"github.com/linktrail/linktrail/internal/store/dbtrace"
)

const (
	segmentBytes = 64 << 10 // the least that a journal allows
	partitions   = 4
	quiet        = 3 * time.Minute // how long all that is mended may take to come to rest
)

// world is all that lies between a redirect and the store, and the model of what must come of it.
type world struct {
	conditions
	t      *testing.T
	ctx    context.Context
	config clickstream.Config

	gate    *gate
	port    int
	cluster *kfake.Cluster
	data    string
	client  *franz.Client // no fault concerns it

	store store.Store
	fails storeFault
	link  link.Link

	publisher *publisher
	folders   int

	members []*member // those that live
	ending  sync.WaitGroup
	names   int

	mu       sync.Mutex
	answered map[uuid.UUID]click.Click // whose redirect was answered
	perhaps  map[uuid.UUID]click.Click // whose publisher was killed meanwhile
	damaged  map[uuid.UUID]bool        // that a journal lost because somebody damaged it
	counted  int                       // clicks that journals have counted as lost
	unsure   bool                      // whether a journal may have counted clicks as lost that Kafka had
}

func newWorld(ctx context.Context, t *testing.T, c conditions) (*world, error) {
	w := &world{
		conditions: c, t: t, ctx: ctx, gate: newGate(), data: t.TempDir(),
		answered: make(map[uuid.UUID]click.Click), perhaps: make(map[uuid.UUID]click.Click), damaged: make(map[uuid.UUID]bool),
	}
	addr := testenv.FreeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	w.port, _ = strconv.Atoi(port)
	w.config = clickstream.Config{Brokers: []string{addr}, Queue: c.queue, MaxBatch: c.batch, LingerMillis: 5}.WithDefaults()
	if err := w.startBroker(); err != nil {
		return nil, err
	}
	var err error
	if w.client, err = franz.NewClient(franz.SeedBrokers(addr), franz.ClientID("test"), franz.RecordPartitioner(franz.RoundRobinPartitioner())); err != nil {
		return nil, errors.Join(err, w.close())
	}
	if err := w.openStore(); err != nil {
		return nil, errors.Join(err, w.close())
	}
	if err := w.openPublisher(w.folder()); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, w.join(step{})
}

// openStore opens PostgreSQL where there is one and the name of the test is even, else SQLite.
func (w *world) openStore() error {
	cfg := store.Config{DSN: "sqlite:" + filepath.Join(w.t.TempDir(), "linktrail.db")}
	if name := w.t.Name(); os.Getenv(testenv.EnvPostgres) != "" && (name[len(name)-1]-'0')%2 == 0 {
		cfg.DSN = testenv.Postgres(w.t)
	}
	if err := store.Migrate(w.ctx, cfg, nil); err != nil {
		return err
	}
	var err error
	if w.store, err = store.Open(w.ctx, cfg); err != nil {
		return err
	}
	w.link, err = w.store.CreateLink(w.ctx, link.Link{Code: "abcdefg", URL: "https://example.com/", RedirectStatus: 302})
	return err
}

// close ends all that the world has; the check is over.
func (w *world) close() error {
	for _, m := range w.members {
		w.die(m)
	}
	if w.publisher != nil {
		w.abandon(w.publisher)
	}
	w.ending.Wait()
	if w.client != nil {
		w.client.Close()
	}
	w.cluster.Close()
	if w.store == nil {
		return nil
	}
	return w.store.Close()
}

// The publisher.

type publisher struct {
	*journal.Publisher
	name     string
	dir      string
	registry *prometheus.Registry
}

func (w *world) folder() string {
	w.folders++
	return filepath.Join(w.data, fmt.Sprintf("journal-%d", w.folders))
}

func (w *world) journal(dir string) journal.Config {
	return journal.Config{Dir: dir, SegmentBytes: segmentBytes, MaxBytes: w.maxBytes, Full: w.full, Sync: w.sync}
}

func (w *world) openPublisher(dir string) error {
	w.names++
	p := &publisher{name: fmt.Sprintf("publisher-%d", w.names), dir: dir, registry: prometheus.NewRegistry()}
	shipper, err := kgo.NewPublisher(w.config, kgo.Options{ClientID: p.name, Registerer: p.registry})
	if err != nil {
		return err
	}
	if p.Publisher, err = journal.NewPublisher(w.journal(dir), shipper, p.registry); err != nil {
		return err
	}
	w.publisher = p
	return nil
}

// publish publishes clicks from several goroutines, and notes each when it may be answered.
func (w *world) publish(s step) error {
	w.publishTo(w.publisher, s.n, func(c click.Click) { w.answered[c.ID] = c })
	return nil
}

func (w *world) publishTo(p *publisher, n int, note func(click.Click)) {
	const goroutines = 4
	var all sync.WaitGroup
	for g := range goroutines {
		all.Go(func() {
			for i := g; i < n; i += goroutines {
				at := time.Now().UTC().Truncate(time.Microsecond)
				c := click.Click{ID: click.NewID(at), LinkID: w.link.ID, Code: w.link.Code, Time: at, UserAgent: firefox,
					Referrer: fmt.Sprintf("https://site-%d.example/", i%7)}
				if i%5 == 0 {
					c.UserAgent = "curl/8.14.1"
				}
				p.Publish(w.ctx, c)
				w.mu.Lock()
				note(c)
				w.mu.Unlock()
			}
		})
	}
	all.Wait()
}

// killPublisher leaves of a publisher what kill -9 leaves: its journal as it lies there. Another one begins with it.
func (w *world) killPublisher(step) error {
	dir := w.folder()
	if err := copyFolder(w.publisher.dir, dir); err != nil {
		return err
	}
	w.abandon(w.publisher)
	return w.openPublisher(dir)
}

// killPublishing kills the publisher while it publishes: what it had not answered by then may come or not.
func (w *world) killPublishing(s step) error {
	p, dir := w.publisher, w.folder()
	var begun atomic.Bool
	var publishing sync.WaitGroup
	reached := make(chan struct{})
	var once sync.Once
	var n int
	publishing.Go(func() {
		w.publishTo(p, s.n, func(c click.Click) {
			// Whoever comes later than the copy's begin may not be in it.
			if begun.Load() {
				w.perhaps[c.ID] = c
				return
			}
			w.answered[c.ID] = c
			if n++; n > s.n/2 {
				once.Do(func() { close(reached) })
			}
		})
		once.Do(func() { close(reached) })
	})
	<-reached
	w.mu.Lock() // those that were answered are noted
	begun.Store(true)
	w.mu.Unlock()
	err := copyFolder(p.dir, dir)
	publishing.Wait()
	w.abandon(p)
	return errors.Join(err, w.openPublisher(dir))
}

// abandon ends a publisher of which nothing more may come.
func (w *world) abandon(p *publisher) {
	w.gate.ban(p.name)
	w.account(p)
	w.unsure = true
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_ = p.Close(ended) // what is left is the next one's
}

// account adds what a publisher counts as lost.
func (w *world) account(p *publisher) { w.counted += int(p.lost()) }

func (p *publisher) lost() float64 {
	return p.sum("linktrail_clicks_journal_dropped_total") + p.sum("linktrail_clicks_journal_refused_total") +
		p.sum("linktrail_clicks_journal_overwritten_total")
}

func (p *publisher) sum(name string) (sum float64) {
	families, err := p.registry.Gather()
	if err != nil {
		panic(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

func (w *world) killAndFlip(s step) error {
	return w.killAndDamage(func(file string, content []byte, used int) (int, error) {
		content[s.pick>>3%uint64(used)] ^= 1 << (s.pick & 7)
		// A bit is in one record at most.
		return 1, os.WriteFile(file, content, 0o600)
	}, s.pick)
}

func (w *world) killAndCut(s step) error {
	return w.killAndDamage(func(file string, _ []byte, used int) (int, error) {
		return used, os.Truncate(file, int64(s.pick>>3%uint64(used)))
	}, s.pick)
}

// killAndDamage kills the publisher, damages one of its segments, and notes what is lost by that: at most as many as damage
// says.
func (w *world) killAndDamage(damage func(file string, content []byte, used int) (int, error), pick uint64) error {
	dir := w.folder()
	if err := copyFolder(w.publisher.dir, dir); err != nil {
		return err
	}
	w.abandon(w.publisher)
	before, err := w.look(dir)
	if err != nil {
		return err
	}
	most := 0
	if files, _ := filepath.Glob(filepath.Join(dir, "*.journal")); len(files) > 0 {
		file := files[pick>>32%uint64(len(files))]
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		used := len(content)
		for used > 0 && content[used-1] == 0 {
			used--
		}
		if used > 0 {
			if most, err = damage(file, content, used); err != nil {
				return err
			}
		}
	}
	after, err := w.look(dir)
	if err != nil {
		return err
	}
	var lost int
	for id := range before {
		if !after[id] {
			w.damaged[id] = true
			lost++
		}
	}
	if lost > most {
		return fmt.Errorf("%d records are lost by what can damage %d", lost, most)
	}
	if err := w.openPublisher(dir); err != nil {
		return err
	}
	if lost == 1 && most == 1 && w.publisher.sum("linktrail_clicks_journal_damaged_total") == 0 {
		return errors.New("a record is lost by a flipped bit, and no metric tells")
	}
	return nil
}

// look returns the clicks that wait in a journal, and leaves it as it is.
func (w *world) look(dir string) (map[uuid.UUID]bool, error) {
	scratch := w.folder()
	if err := copyFolder(dir, scratch); err != nil {
		return nil, err
	}
	j, err := journal.Open(w.journal(scratch))
	if err != nil {
		return nil, err
	}
	waiting := make(map[uuid.UUID]bool)
	for c := j.Read(100); c != nil; c = j.Read(100) {
		for _, r := range c.Records {
			waiting[r.ID] = true
		}
	}
	return waiting, j.Close()
}

// stopPublisher ends the publisher as SIGTERM does, without the time to send all.
func (w *world) stopPublisher(step) error {
	p := w.publisher
	limited, cancel := context.WithTimeout(w.ctx, 50*time.Millisecond)
	defer cancel()
	_ = p.Close(limited) // what is left is the next one's
	w.account(p)
	w.unsure = true
	return w.openPublisher(p.dir)
}

// copyFolder copies a folder that others write to; a file that goes meanwhile is left out.
func copyFolder(from, to string) error {
	if err := os.MkdirAll(to, 0o750); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(from, e.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, e.Name()), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// The broker.

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

// The consumers.

type member struct {
	name   string
	stop   context.CancelFunc
	dead   atomic.Bool
	doomed atomic.Int32 // before or after, when it is to die at its next batch
	ended  chan error
}

const (
	before = 1
	after  = 2
)

var errDead = errors.New("the process is dead")

// join starts a consumer, of which there are three at most.
func (w *world) join(step) error {
	if w.living() == 3 {
		return nil
	}
	w.names++
	m := &member{name: fmt.Sprintf("consumer-%d", w.names), ended: make(chan error, 1)}
	o := kgo.Options{ClientID: m.name, SessionTimeout: 2 * time.Second}
	consumer, err := kgo.NewConsumer(w.config, 100*time.Millisecond, o)
	if err != nil {
		return err
	}
	letters, err := kgo.NewDeadLetters(w.config, o)
	if err != nil {
		return err
	}
	i := ingest.New(ingest.Config{Store: &brittleStore{Store: w.store, fault: &w.fails}, DeadLetters: letters, Group: w.config.Group})
	ctx, stop := context.WithCancel(w.ctx)
	m.stop = stop
	w.ending.Go(func() {
		err := consumer.Run(ctx, func(ctx context.Context, batch []clickstream.Record) error {
			if m.dead.Load() || m.doomed.Load() == before {
				w.die(m)
				return errDead
			}
			err := i.Handle(ctx, batch)
			if err == nil && m.doomed.Load() == after {
				w.die(m)
				return errDead
			}
			return err
		})
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = letters.Close(ended)
		m.ended <- err
	})
	w.members = append(w.members, m)
	return nil
}

func (w *world) living() (n int) {
	for _, m := range w.members {
		if !m.dead.Load() {
			n++
		}
	}
	return n
}

// die has nobody hear of a member any more, not even that it leaves.
func (w *world) die(m *member) {
	m.dead.Store(true)
	w.gate.ban(m.name)
	m.stop()
}

func (w *world) doom(s step, when int32) error {
	if len(w.members) > 0 {
		w.members[s.pick%uint64(len(w.members))].doomed.Store(when)
	}
	return nil
}

func (w *world) killBefore(s step) error { return w.doom(s, before) }
func (w *world) killAfter(s step) error  { return w.doom(s, after) }

// leave stops a consumer as SIGTERM does.
func (w *world) leave(s step) error {
	if len(w.members) == 0 {
		return nil
	}
	i := int(s.pick % uint64(len(w.members)))
	w.members[i].stop()
	w.members = append(w.members[:i], w.members[i+1:]...)
	return nil
}

// The store.

// storeFault says how the store fails.
type storeFault struct {
	away         atomic.Bool
	fail, forget atomic.Int32 // how many writes fail, before and after they are committed
}

func (w *world) storeAway(step) error      { w.fails.away.Store(true); return nil }
func (w *world) storeBack(step) error      { w.fails.away.Store(false); return nil }
func (w *world) storeFails(s step) error   { w.fails.fail.Store(int32(s.n)); return nil }
func (w *world) storeForgets(s step) error { w.fails.forget.Store(int32(s.n)); return nil }

type brittleStore struct {
	store.Store
	fault *storeFault
}

var errAway = errors.New("store: connection refused")

func (s *brittleStore) WriteClicks(ctx context.Context, batch []click.Click) (int, error) {
	if s.fault.away.Load() || s.fault.fail.Add(-1) >= 0 {
		return 0, errAway
	}
	n, err := s.Store.WriteClicks(ctx, batch)
	if err == nil && s.fault.forget.Add(-1) >= 0 {
		return 0, errAway
	}
	return n, err
}

func (s *brittleStore) Database() dbtrace.Database { return s.Store.Database() }

// The end.

// mend ends all faults and waits until every click has come to where it belongs.
func (w *world) mend() error {
	w.gate.open()
	w.gate.lose("", 0)
	w.fails.away.Store(false)
	w.fails.fail.Store(0)
	w.fails.forget.Store(0)
	for _, m := range w.members {
		m.doomed.Store(0)
	}
	if err := w.join(step{}); err != nil {
		return err
	}
	admin := kadm.NewClient(w.client)
	return testenv.Within(quiet, func() error {
		if n := w.publisher.sum("linktrail_clicks_journal_records"); n > 0 {
			return fmt.Errorf("%.0f clicks are left in the journal", n)
		}
		limited, cancel := context.WithTimeout(w.ctx, 5*time.Second)
		defer cancel()
		ends, err := admin.ListEndOffsets(limited, w.config.Topic)
		if err = errors.Join(err, ends.Error()); err != nil {
			return err
		}
		commits, err := admin.FetchOffsets(limited, w.config.Group)
		if err = errors.Join(err, commits.Error()); err != nil {
			return err
		}
		for _, end := range ends.Offsets().Sorted() {
			if end.At == 0 {
				continue
			}
			commit, ok := commits.Lookup(w.config.Topic, end.Partition)
			if !ok || commit.Err != nil || commit.At < end.At {
				return fmt.Errorf("partition %d is read up to %d of %d", end.Partition, commit.At, end.At)
			}
		}
		return nil
	})
}

// check compares the store with the model.
func (w *world) check() error {
	w.account(w.publisher)
	rows, err := w.rows()
	if err != nil {
		return err
	}
	var lost int
	for id := range w.answered {
		if _, ok := rows[id]; !ok && !w.damaged[id] {
			lost++
		}
	}
	var all []click.Click
	for id, c := range rows {
		_, answered := w.answered[id]
		_, perhaps := w.perhaps[id]
		if !answered && !perhaps {
			return fmt.Errorf("a click that nobody made is stored: %+v", c)
		}
		all = append(all, c)
	}
	w.t.Logf("%d clicks answered and %d perhaps, %d stored; %d lost by damage, %d counted as lost, %d missing",
		len(w.answered), len(w.perhaps), len(rows), len(w.damaged), w.counted, lost)
	switch {
	case lost > w.counted:
		return fmt.Errorf("%d clicks were answered and are not stored, %d of them are counted", lost, w.counted)
	case lost < w.counted && !w.unsure:
		return fmt.Errorf("%d clicks are counted as lost, %d are", w.counted, lost)
	}
	if n := w.publisher.sum("linktrail_clicks_dropped_total"); n > 0 {
		return fmt.Errorf("the publisher has dropped %.0f clicks", n)
	}
	return w.checkRollups(all)
}

// rows reads all clicks of the store.
func (w *world) rows() (map[uuid.UUID]click.Click, error) {
	rows := make(map[uuid.UUID]click.Click)
	var last uuid.UUID
	for {
		page, err := w.store.LatestClicks(w.ctx, w.link.ID, last, click.MaxLatest)
		if err != nil {
			return nil, err
		}
		for _, c := range page {
			if _, ok := rows[c.ID]; ok {
				return nil, fmt.Errorf("click %v is stored twice", c.ID)
			}
			rows[c.ID] = c
			last = c.ID
		}
		if len(page) < click.MaxLatest {
			return rows, nil
		}
	}
}

// checkRollups compares the statistics with those of a store that was given each click once.
func (w *world) checkRollups(clicks []click.Click) error {
	cfg := store.Config{DSN: "sqlite:" + filepath.Join(w.t.TempDir(), "linktrail.db")}
	if err := store.Migrate(w.ctx, cfg, nil); err != nil {
		return err
	}
	s, err := store.Open(w.ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	if _, err := s.CreateLink(w.ctx, w.link); err != nil {
		return err
	}
	if _, err := s.WriteClicks(w.ctx, clicks); err != nil {
		return err
	}
	now := time.Now()
	q, err := click.StatsQuery{LinkID: w.link.ID, From: now.Add(-2 * time.Hour), To: now.Add(time.Hour)}.Check()
	if err != nil {
		return err
	}
	want, err := s.ClickStats(w.ctx, q)
	if err != nil {
		return err
	}
	got, err := w.store.ClickStats(w.ctx, q)
	if err != nil {
		return err
	}
	if diff := cmp.Diff(want, got); diff != "" {
		return fmt.Errorf("the rollups are not those of the rows: -want +got\n%s", diff)
	}
	if sum := got.Clicks + got.Bots; sum != int64(len(clicks)) {
		return fmt.Errorf("the rollups count %d clicks, there are %d rows", sum, len(clicks))
	}
	return nil
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
