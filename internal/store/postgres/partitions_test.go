package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/store"
	"github.com/linktrail/linktrail/internal/store/storetest"
)

// january is far from the months that Migrate makes partitions of.
var january = time.Date(2041, time.January, 15, 12, 0, 0, 0, time.UTC)

func mustConnect(t *testing.T, c store.Config) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), c.DSN)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func mustEnsure(t *testing.T, s store.Store, now time.Time) {
	t.Helper()
	if err := s.(store.Partitioner).EnsurePartitions(t.Context(), now); err != nil {
		t.Fatal(err)
	}
}

// places returns the partition of every click of a link, oldest first.
func places(t *testing.T, conn *pgx.Conn, linkID int64) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), `SELECT tableoid::regclass::text FROM clicks WHERE link_id = $1 ORDER BY id`, linkID)
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func clicksOn(linkID int64, times ...time.Time) []click.Click {
	var clicks []click.Click
	for _, at := range times {
		clicks = append(clicks, click.Click{ID: click.NewID(at), LinkID: linkID, Time: at, Referrer: "https://a.example/"})
	}
	return clicks
}

func TestEnsurePartitions(t *testing.T) {
	c := fresh(t)
	storetest.MustMigrate(t, c)
	s, conn := storetest.MustOpen(t, c), mustConnect(t, c)

	t.Run("OK a migrated database has them already", func(t *testing.T) {
		now := time.Now()
		month := time.Date(now.UTC().Year(), now.UTC().Month(), 1, 0, 0, 0, 0, time.UTC)
		var times []time.Time
		var want []string
		for i := range 4 {
			times = append(times, month.AddDate(0, i, 10))
			want = append(want, month.AddDate(0, i, 0).Format("clicks_2006_01"))
		}
		storetest.MustWrite(t, s, clicksOn(1, times...), 4)
		if diff := cmp.Diff(want, places(t, conn, 1)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("OK this month and three more, to the millisecond", func(t *testing.T) {
		mustEnsure(t, s, january)
		first := time.Date(2041, time.January, 1, 0, 0, 0, 0, time.UTC)
		clicks := clicksOn(2, first.Add(-time.Millisecond), first, first.AddDate(0, 1, 0).Add(-time.Millisecond), first.AddDate(0, 1, 0),
			first.AddDate(0, 4, 0).Add(-time.Millisecond), first.AddDate(0, 4, 0))
		storetest.MustWrite(t, s, clicks, len(clicks))
		want := []string{"clicks_default", "clicks_2041_01", "clicks_2041_01", "clicks_2041_02", "clicks_2041_04", "clicks_default"}
		if diff := cmp.Diff(want, places(t, conn, 2)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("OK the default partition is emptied", func(t *testing.T) {
		tooEarly, tooLate := time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), january.AddDate(40, 0, 0)
		all := clicksOn(3, tooEarly, january.AddDate(0, -7, 0), january.AddDate(0, -7, 1), january.AddDate(0, 5, 0),
			january.AddDate(0, 11, 0), tooLate)
		storetest.MustWrite(t, s, all, len(all))
		for _, place := range places(t, conn, 3) {
			if place != "clicks_default" {
				t.Errorf("a click is in %s already", place)
			}
		}
		mustEnsure(t, s, january)
		want := []string{"clicks_default", "clicks_2040_06", "clicks_2040_06", "clicks_2041_06", "clicks_2041_12", "clicks_default"}
		if diff := cmp.Diff(want, places(t, conn, 3)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		latest, err := s.LatestClicks(t.Context(), 3, uuid.Nil, 100)
		if err != nil || len(latest) != len(all) {
			t.Errorf("%d clicks after the move, %v; want %d", len(latest), err, len(all))
		}
		storetest.MustWrite(t, s, all, 0)
	})
	t.Run("OK nobody waits when none is missing", func(t *testing.T) {
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		// As a writer would, that is in the middle of its batch.
		if _, err := tx.Exec(t.Context(), `LOCK TABLE clicks IN ROW EXCLUSIVE MODE`); err != nil {
			t.Fatal(err)
		}
		mustEnsure(t, s, january)
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestEnsurePartitionsAmongWriters(t *testing.T) {
	c := fresh(t)
	storetest.MustMigrate(t, c)
	s, other := storetest.MustOpen(t, c), storetest.MustOpen(t, c)
	const writers, batches, months = 4, 30, 8
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wait, writing sync.WaitGroup
	done := make(chan struct{})
	for i := range writers {
		writing.Go(func() {
			for n := range batches {
				var times []time.Time
				for m := range months {
					times = append(times, january.AddDate(0, m, 0).Add(time.Duration(i*batches+n)*time.Second))
				}
				if _, err := []store.Store{s, other}[i%2].WriteClicks(ctx, clicksOn(9, times...)); err != nil {
					t.Errorf("write: %v", err)
				}
			}
		})
	}
	for _, s := range []store.Store{s, other} {
		wait.Go(func() {
			for m := 0; ; m = (m + 1) % months {
				select {
				case <-done:
					return
				default:
				}
				if err := s.(store.Partitioner).EnsurePartitions(ctx, january.AddDate(0, m, 0)); err != nil {
					t.Errorf("ensure: %v", err)
					return
				}
				if _, err := s.LatestClicks(ctx, 9, uuid.Nil, 10); err != nil {
					t.Errorf("read: %v", err)
				}
			}
		})
	}
	writing.Wait()
	close(done)
	wait.Wait()
	mustEnsure(t, s, january)
	count := map[string]int{}
	for _, place := range places(t, mustConnect(t, c), 9) {
		count[place]++
	}
	want := map[string]int{}
	for m := range months {
		want[fmt.Sprintf("clicks_2041_%02d", m+1)] = writers * batches
	}
	if diff := cmp.Diff(want, count); diff != "" {
		t.Errorf("clicks by partition (-want +got):\n%s", diff)
	}
	stats, err := s.ClickStats(t.Context(), click.StatsQuery{LinkID: 9, From: january, To: january.AddDate(1, 0, 0), Interval: click.IntervalMonth})
	if err != nil || stats.Clicks != writers*batches*months {
		t.Errorf("%d clicks in the rollups, %v; want %d", stats.Clicks, err, writers*batches*months)
	}
}

// TestIdleInTransaction has the server itself say how long it would wait for a writer that is gone.
func TestIdleInTransaction(t *testing.T) {
	c := fresh(t)
	storetest.MustMigrate(t, c)
	conn := mustConnect(t, c)
	_, err := conn.Exec(t.Context(), `CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
			$$BEGIN RAISE EXCEPTION 'waits %', current_setting('idle_in_transaction_session_timeout'); END$$;
		CREATE TRIGGER tell BEFORE INSERT ON clicks FOR EACH ROW EXECUTE FUNCTION tell()`)
	if err != nil {
		t.Fatal(err)
	}
	s := storetest.MustOpen(t, c)
	if _, err := s.WriteClicks(t.Context(), clicksOn(1, time.Now())); err == nil || !strings.Contains(err.Error(), "waits 30s") {
		t.Errorf("got %v, want the server to end a transaction whose writer is gone for 30 s", err)
	}
}
