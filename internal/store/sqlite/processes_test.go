package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/store"
	"github.com/linktrail/linktrail/internal/store/storetest"
)

// envWriter makes this test binary a process that writes clicks to the store it names.
const envWriter = "LINKTRAIL_TEST_SQLITE_WRITER"

func TestMain(m *testing.M) {
	if dsn := os.Getenv(envWriter); dsn != "" {
		if err := write(dsn); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const (
	processes = 3
	batches   = 60
	batchSize = 20
)

var start = time.Date(2026, 5, 20, 12, 0, 0, 0, time.UTC)

// batch returns the same clicks in every process; their ids are their places.
func batch(n int) []click.Click {
	clicks := make([]click.Click, batchSize)
	for i := range clicks {
		id := uuid.UUID{6: 0x70, 8: 0x80, 14: byte(n), 15: byte(i)}
		clicks[i] = click.Click{ID: id, LinkID: 1, Time: start, Referrer: fmt.Sprintf("https://r%d.example/", i)}
	}
	return clicks
}

// write writes all batches and says on standard output which one is written.
func write(dsn string) error {
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{DSN: dsn})
	if err != nil {
		return err
	}
	for n := range batches {
		if _, err := s.WriteClicks(ctx, batch(n)); err != nil {
			return err
		}
		fmt.Println(n)
	}
	return s.Close()
}

func TestProcesses(t *testing.T) {
	c := fresh(t)
	storetest.MustMigrate(t, c)
	s := storetest.MustOpen(t, c)
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	stats := func() click.Stats {
		stats, err := s.ClickStats(t.Context(), click.StatsQuery{LinkID: 1, From: start, To: start.Add(time.Hour), Top: click.MaxTop})
		if err != nil {
			t.Fatal(err)
		}
		return stats
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var writers []*exec.Cmd
	for range processes {
		writer := exec.CommandContext(ctx, executable)
		writer.Env = append(os.Environ(), envWriter+"="+c.DSN)
		writer.Stderr = os.Stderr
		writers = append(writers, writer)
	}
	victim := writers[0]
	output, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	for _, writer := range writers {
		if err := writer.Start(); err != nil {
			t.Fatal(err)
		}
	}
	// One is killed once it has written something, most likely within a batch.
	for lines := bufio.NewScanner(output); lines.Scan() && lines.Text() != "3"; {
	}
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = victim.Wait() // it was killed, and says so
	if got := stats(); got.Clicks < 4*batchSize || got.Clicks%batchSize != 0 {
		t.Errorf("%d clicks after the kill, want the batches that were written and none by halves", got.Clicks)
	}
	for _, writer := range writers[1:] {
		if err := writer.Wait(); err != nil {
			t.Errorf("writer: %v", err)
		}
	}
	got := stats()
	if got.Clicks != batches*batchSize {
		t.Errorf("%d clicks, want %d", got.Clicks, batches*batchSize)
	}
	for _, count := range got.Values[click.DimensionReferrer] {
		if count.Clicks != batches {
			t.Errorf("%s has %d clicks, want %d", count.Value, count.Clicks, batches)
		}
	}
}

func TestBusy(t *testing.T) {
	c := fresh(t)
	storetest.MustMigrate(t, c)
	s, holder := storetest.MustOpen(t, c), mustHold(t, c)
	t.Run("ErrDeadline", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := s.CreateLink(ctx, link.Link{Code: "x", RedirectStatus: 302})
		if err == nil || link.KindOf(err) != link.KindInternal {
			t.Errorf("got %v, want the deadline's error", err)
		}
	})
	t.Run("OK reading goes on", func(t *testing.T) {
		if _, err := s.Links(t.Context(), link.Filter{Limit: 1}); err != nil {
			t.Error(err)
		}
	})
	t.Run("OK writing waits", func(t *testing.T) {
		written := make(chan error, 1)
		go func() {
			_, err := s.CreateLink(t.Context(), link.Link{Code: "x", RedirectStatus: 302})
			written <- err
		}()
		holder()
		if err := <-written; err != nil {
			t.Error(err)
		}
	})
}
