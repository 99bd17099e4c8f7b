package postgres_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/store"
	"github.com/linktrail/linktrail/internal/store/record"
	"github.com/linktrail/linktrail/internal/store/repair"
	"github.com/linktrail/linktrail/internal/store/storetest"
)

func partitions(t *testing.T, conn *pgx.Conn) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), `SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'clicks'::regclass ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// january2041 fills a store with a click in each of five months and two which have no partition of their own.
func january2041(t *testing.T) (store.Config, store.Store, *pgx.Conn) {
	t.Helper()
	c := fresh(t)
	storetest.MustMigrate(t, c)
	s, conn := storetest.MustOpen(t, c), mustConnect(t, c)
	mustEnsure(t, s, january)
	storetest.MustWrite(t, s, clicksOn(1, january.AddDate(-50, 0, 0), january, january.AddDate(0, 1, 0), january.AddDate(0, 2, 0),
		january.AddDate(0, 3, 0), january.AddDate(30, 0, 0)), 6)
	return c, s, conn
}

func TestRetain(t *testing.T) {
	t.Run("OK partitions are dropped, the default one is emptied", func(t *testing.T) {
		_, s, conn := january2041(t)
		before := partitions(t, conn)
		var removed []string
		if err := s.Retain(t.Context(), record.Retention{Before: january.AddDate(0, 2, 0)}, func(r record.Removed) { removed = append(removed, r.What) }); err != nil {
			t.Fatal(err)
		}
		var want []string // those that Migrate made are of the years before
		for _, name := range before {
			if name < "clicks_2041_03" {
				want = append(want, name)
			}
		}
		if diff := cmp.Diff(append(want, "clicks_default"), removed); diff != "" || !slices.Contains(removed, "clicks_2041_02") {
			t.Errorf("removed (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"clicks_2041_03", "clicks_2041_04", "clicks_default"}, partitions(t, conn)); diff != "" {
			t.Errorf("partitions (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"clicks_2041_03", "clicks_2041_04", "clicks_default"}, places(t, conn, 1)); diff != "" {
			t.Errorf("clicks (-want +got):\n%s", diff)
		}
	})
	t.Run("OK writers go on while somebody reads for long", func(t *testing.T) {
		c, s, conn := january2041(t)
		reader, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := reader.Exec(t.Context(), `SELECT count(*) FROM clicks`); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			done <- s.Retain(t.Context(), record.Retention{Before: january.AddDate(0, 1, 0)}, func(record.Removed) {})
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		other := mustConnect(t, c)
		for i := range 3 {
			for waits := false; !waits; {
				err := other.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'clicks'::regclass
					AND mode = 'AccessExclusiveLock' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))`).Scan(&waits)
				if err != nil {
					t.Fatalf("the drop of a partition does not wait: %v", err)
				}
			}
			// A new store's connection has yet to prepare its statements, which locks tables too.
			if _, err := storetest.MustOpen(t, c).WriteClicks(ctx, clicksOn(2, january.AddDate(0, 1, i))); err != nil {
				t.Fatalf("write: %v", err)
			}
		}
		select {
		case err := <-done:
			t.Fatalf("retain ended while a partition was read: %v", err)
		default:
		}
		if err := reader.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
		case <-ctx.Done():
			t.Fatal("retain still waits")
		}
		if names := partitions(t, conn); names[0] != "clicks_2041_02" {
			t.Errorf("partitions are %v", names)
		}
	})
	t.Run("OK a month that was dropped by hand is left alone", func(t *testing.T) {
		_, s, conn := january2041(t)
		if _, err := conn.Exec(t.Context(), `DROP TABLE clicks_2041_02`); err != nil {
			t.Fatal(err)
		}
		result, lines := storetest.MustVerify(t, s, repair.Scope{})
		month := time.Date(2041, time.February, 1, 0, 0, 0, 0, time.UTC)
		if len(lines) > 0 || !slices.Equal(result.Gone, []time.Time{month}) {
			t.Errorf("gone are %v; %v", result.Gone, lines)
		}
		result, err := repair.Rebuild(t.Context(), s, repair.Scope{}, func(repair.Progress) {})
		if err != nil || result.Different != 0 || len(result.Gone) != 1 {
			t.Errorf("got %+v, %v", result, err)
		}
		stats, err := s.ClickStats(t.Context(), click.StatsQuery{LinkID: 1, From: january, To: january.AddDate(0, 6, 0), Interval: click.IntervalMonth})
		if err != nil || stats.Clicks != 4 {
			t.Errorf("%d clicks, %v; want those of 4 months", stats.Clicks, err)
		}
	})
}

// TestWritersWaitWithNothing has a writer wait for the dropping of a partition, which then locks the table. A new
// connection has yet to prepare its statements, and that locks tables as well: it must not come first.
func TestWritersWaitWithNothing(t *testing.T) {
	c := fresh(t)
	storetest.MustMigrate(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	drop, err := mustConnect(t, c).Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	const lockPartitions = 0x6c696e6b_02
	if _, err := drop.Exec(ctx, `SELECT pg_advisory_xact_lock($1::bigint)`, lockPartitions); err != nil {
		t.Fatal(err)
	}
	s := storetest.MustOpen(t, c)
	done := make(chan error, 1)
	go func() {
		_, err := s.WriteClicks(ctx, clicksOn(1, january))
		done <- err
	}()
	other := mustConnect(t, c)
	for waits := false; !waits; {
		if err := other.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))`).Scan(&waits); err != nil {
			t.Fatalf("the writer does not wait: %v", err)
		}
	}
	if _, err := drop.Exec(ctx, `LOCK TABLE clicks IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Errorf("the table cannot be locked: %v", err)
	}
	if err := drop.Rollback(ctx); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Errorf("write: %v", err)
	}
}
