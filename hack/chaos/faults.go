//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// shortSession has a consumer that was killed keep its partitions for as little as a broker allows: they are read by the next
// one when the session is over, and fifty of the usual ones are forty minutes.
const shortSession = 6 * time.Second

// fewUnderWay is how many clicks may be on their way to Kafka where the journal is to drop old ones: those it keeps.
const fewUnderWay = 4000

// The metrics that count what a journal has lost.
const (
	journalDropped = "linktrail_clicks_journal_dropped_total"
	journalDamaged = "linktrail_clicks_journal_damaged_total"
)

// catalogue is all the faults, in the order of the table.
func catalogue() []fault {
	small := map[string]any{"SegmentBytes": 1 << 20, "MaxBytes": 64 << 20}
	return []fault{
		{name: "kill-url-api", title: "kill -9 of url-api", restarts: true, harm: killURLAPI},
		{name: "kill-consumer", title: "kill -9 of the consumer", settings: settings{session: shortSession}, harm: killConsumer},
		{name: "kill-analytics-rpc", title: "kill -9 of analytics-rpc", harm: killRPC},
		{name: "kafka-stopped", title: "Kafka stopped and started", harm: away(kafka, syscall.SIGTERM, func(o options) time.Duration { return o.kafkaAway })},
		{name: "kafka-killed", title: "kill -9 of Kafka", harm: killServer(kafka)},
		{name: "kafka-slow", title: "Kafka slow: 100 ± 50 ms each way, nothing comes through for one second in five", settings: settings{proxied: kafka}, harm: slowKafka},
		{name: "redis-stopped", title: "Redis stopped and started", harm: away(redis, syscall.SIGTERM, func(o options) time.Duration { return o.redisAway })},
		{name: "redis-flushed", title: "Redis flushed every second", harm: flushRedis},
		{name: "redis-slow", title: "Redis slow: 200 ± 100 ms each way", settings: settings{proxied: redis}, harm: slowRedis},
		{name: "postgres-stopped", title: "PostgreSQL stopped and started", harm: away(postgres, syscall.SIGINT, func(o options) time.Duration { return o.postgresAway })},
		{name: "postgres-killed", title: "kill -9 of PostgreSQL", harm: killServer(postgres)},
		{name: "postgres-failing", title: "PostgreSQL fails every tenth INSERT", harm: failInserts},
		{name: "disk-full", title: "disk full under the journal", settings: settings{journal: small, prepared: smallDisk}, harm: fillDisk},
		{name: "disk-full-kafka-stopped", title: "disk full under the journal while Kafka is stopped", settings: settings{journal: small, queue: fewUnderWay, prepared: smallDisk},
			harm: fillDiskWithoutKafka, costs: []string{journalDropped}},
		{name: "journal-flipped", title: "bits flipped in the journal of a killed url-api", restarts: true, settings: settings{journal: small},
			harm: damage(flipBits), costs: []string{journalDamaged}},
		{name: "journal-truncated", title: "a segment of the journal of a killed url-api cut in half", restarts: true, settings: settings{journal: small},
			harm: damage(truncate), costs: []string{journalDamaged}, places: true},
		{name: "clock-back", title: "clock of url-api and the consumer an hour back", clock: true, harm: turnClock},
		{name: "rebalance", title: "consumers join and leave every 5 s, two to five of them", harm: rebalance},
		{name: "sigterm-all", title: "SIGTERM of all services, at last of the servers too", restarts: true, harm: terminateAll},
	}
}

// killURLAPI kills url-api while it answers, and starts it again.
func killURLAPI(ctx context.Context, t *trial) error {
	for t.times = 0; t.times < t.options.kills; t.times++ {
		if err := sleep(ctx, 200*time.Millisecond+rand.N(700*time.Millisecond)); err != nil {
			return err
		}
		if err := errors.Join(t.urlAPI.Kill(), t.urlAPI.start(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// killConsumer kills the consumer while it writes, and starts it again.
func killConsumer(ctx context.Context, t *trial) error {
	writes := func() bool { return t.consumer.metric(ctx, "linktrail_clicks_written_total") > 0 }
	begin := time.Now()
	for t.times = 0; t.times < t.options.kills && time.Since(begin) < t.options.longest; t.times++ {
		if err := until(ctx, 2*time.Minute, "the consumer writes", writes); err != nil {
			return err
		}
		if err := sleep(ctx, rand.N(300*time.Millisecond)); err != nil {
			return err
		}
		if err := errors.Join(t.consumer.Kill(), t.consumer.begin()); err != nil {
			return err
		}
	}
	if t.times < t.options.kills {
		t.note("a killed consumer's partitions are read again so late that there was time for %d kills alone", t.times)
	}
	return nil
}

func killRPC(ctx context.Context, t *trial) error {
	for t.times = 0; t.times < min(10, t.options.kills); t.times++ {
		if err := sleep(ctx, 500*time.Millisecond+rand.N(time.Second)); err != nil {
			return err
		}
		if err := errors.Join(t.rpc.Kill(), t.rpc.start(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// away ends a server and begins it again a while later.
func away(name string, signal syscall.Signal, long func(options) time.Duration) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		if err := t.session.End(ctx, name, signal); err != nil {
			return err
		}
		if err := sleep(ctx, long(t.options)); err != nil {
			return err
		}
		return t.session.Begin(ctx, name)
	}
}

// killServer kills a server under load, several times, and begins it again at once.
func killServer(name string) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		for t.times = 0; t.times < min(5, t.options.kills); t.times++ {
			if err := errors.Join(t.session.End(ctx, name, syscall.SIGKILL), t.session.Begin(ctx, name)); err != nil {
				return err
			}
			if err := sleep(ctx, 2*time.Second+rand.N(2*time.Second)); err != nil {
				return err
			}
		}
		return nil
	}
}

func flushRedis(ctx context.Context, t *trial) error {
	for t.times = 0; t.times < 30; t.times++ {
		if err := command(ctx, t.redis, "FLUSHALL"); err != nil {
			return err
		}
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
	}
	return nil
}

// failInserts has every tenth INSERT into the clicks or their rollups fail, as if PostgreSQL had run out of memory.
func failInserts(ctx context.Context, t *trial) error {
	execute := func(statements string) error {
		return t.query(ctx, func(conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, statements)
			return err
		})
	}
	// A sequence does not turn back with the transaction.
	if err := execute(`CREATE SEQUENCE chaos_inserts;
		CREATE FUNCTION chaos_fail() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF nextval('chaos_inserts') % 10 = 0 THEN
				RAISE EXCEPTION 'one in ten' USING ERRCODE = '53200';
			END IF;
			RETURN NULL;
		END $$;
		CREATE TRIGGER chaos BEFORE INSERT ON clicks FOR EACH STATEMENT EXECUTE FUNCTION chaos_fail();
		CREATE TRIGGER chaos BEFORE INSERT ON click_rollups FOR EACH STATEMENT EXECUTE FUNCTION chaos_fail()`); err != nil {
		return err
	}
	if err := sleep(ctx, t.options.failing); err != nil {
		return err
	}
	var failed int
	if err := t.query(ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "SELECT last_value / 10 FROM chaos_inserts").Scan(&failed)
	}); err != nil {
		return err
	}
	t.times = failed
	if failed == 0 {
		return fmt.Errorf("%w: no INSERT has failed", errVoid)
	}
	return execute("DROP TRIGGER chaos ON clicks; DROP TRIGGER chaos ON click_rollups")
}

// rebalance has consumers join and leave beside the one that stays.
func rebalance(ctx context.Context, t *trial) error {
	var more []*service
	wanted := []int{2, 5, 3, 4, 2, 5, 4, 2, 3, 5, 2, 4}
	for t.times = 0; t.times < len(wanted); t.times++ {
		next := time.Now().Add(5 * time.Second)
		for len(more)+1 < wanted[t.times] {
			v, err := t.anotherConsumer()
			if err != nil {
				return err
			}
			more = append(more, v)
		}
		for len(more)+1 > wanted[t.times] {
			if err := more[0].Stop(); err != nil {
				return err
			}
			more = more[1:]
		}
		if err := sleep(ctx, time.Until(next)); err != nil {
			return err
		}
	}
	var all errgroup.Group
	for _, v := range more {
		all.Go(v.Stop)
	}
	return all.Wait()
}

// terminateAll ends all services in order, and starts them again; the last time the servers are ended with them.
func terminateAll(ctx context.Context, t *trial) error {
	for t.times = 0; t.times < 5; t.times++ {
		if err := t.terminate(ctx, t.times == 4); err != nil {
			return err
		}
		if err := sleep(ctx, 3*time.Second); err != nil {
			return err
		}
	}
	return nil
}

func (t *trial) terminate(ctx context.Context, servers bool) error {
	ended := map[string]syscall.Signal{kafka: syscall.SIGTERM, redis: syscall.SIGTERM, postgres: syscall.SIGINT}
	if !servers {
		clear(ended)
	}
	var ending, beginning errgroup.Group
	for _, v := range []*service{t.urlAPI, t.rpc, t.consumer} {
		ending.Go(v.Stop)
	}
	for name, signal := range ended {
		ending.Go(func() error { return t.session.End(ctx, name, signal) })
	}
	if err := ending.Wait(); err != nil {
		return err
	}
	for name := range ended {
		beginning.Go(func() error { return t.session.Begin(ctx, name) })
	}
	for _, v := range []*service{t.urlAPI, t.rpc, t.consumer} {
		beginning.Go(func() error { return v.start(ctx) })
	}
	return beginning.Wait()
}
