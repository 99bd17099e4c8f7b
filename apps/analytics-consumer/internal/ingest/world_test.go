package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	franz "github.com/twmb/franz-go/pkg/kgo"

	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/clickstream"
	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/store"
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
		limited, cancel := context.WithTimeout(w.ctx, 20*time.Second)
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
