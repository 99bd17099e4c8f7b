package streamtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	franz "github.com/twmb/franz-go/pkg/kgo"

	"github.com/linktrail/linktrail/internal/clickstream"
)

// batches keeps what a handler was given. Safe for concurrent use.
type batches struct {
	mu  sync.Mutex
	all [][]clickstream.Record
}

// take is a clickstream.Handler.
func (b *batches) take(_ context.Context, batch []clickstream.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = append(b.all, batch)
	return nil
}

// await waits until n records have come, and returns the batches.
func (b *batches) await(t *testing.T, n int) [][]clickstream.Record {
	t.Helper()
	var all [][]clickstream.Record
	eventually(t, func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		var records int
		for _, batch := range b.all {
			records += len(batch)
		}
		if all = b.all; records != n {
			return fmt.Errorf("%d of %d records have come", records, n)
		}
		return nil
	})
	return all
}

// write writes values one after the other, each when the one before is acknowledged.
func (s *stream) write(t *testing.T, values ...[]byte) {
	t.Helper()
	client := MustDial(t, franz.ProducerLinger(0))
	defer client.Close()
	for _, value := range values {
		if err := client.ProduceSync(t.Context(), &franz.Record{Topic: s.Topic, Value: value}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBatches(t *testing.T) {
	t.Parallel()
	t.Run("time", func(t *testing.T) {
		t.Parallel()
		s := newStream(t, variant{driver: clickstream.DriverKgo}, 3)
		s.BatchMillis, s.MaxBatch = 10000, 30
		var got batches
		reader := s.consume(t, patience, got.take)
		eventually(t, reader.consumer.Ready)
		values := make([][]byte, 30)
		s.write(t, values...)
		if all := got.await(t, 30); len(all) != 1 {
			t.Errorf("30 records that came one by one within ten seconds are %d batches", len(all))
		}
		s.write(t, values[:3]...) // which are not full, and go when their time has passed
		got.await(t, 33)
		reader.stop(t)
		if n := s.committed(t); n != 33 {
			t.Errorf("%d records are committed, want 33", n)
		}
	})
	t.Run("stopped while it fills", func(t *testing.T) {
		t.Parallel()
		s := newStream(t, variant{driver: clickstream.DriverKgo}, 1)
		s.BatchMillis = 10000
		var got batches
		reader := s.consume(t, patience, got.take)
		eventually(t, reader.consumer.Ready)
		s.write(t, nil)
		reader.stop(t)
		again := s.consume(t, patience, got.take)
		got.await(t, 1)
		again.stop(t)
	})
	t.Run("bytes", func(t *testing.T) {
		t.Parallel()
		s := newStream(t, variant{driver: clickstream.DriverKgo}, 1)
		s.MaxBatchBytes = 1024
		small, large := bytes.Repeat([]byte("s"), 300), bytes.Repeat([]byte("l"), 3000)
		s.write(t, small, small, small, small, large, small, large, large)
		var got batches
		reader := s.consume(t, patience, got.take)
		var next int64
		for _, batch := range got.await(t, 8) {
			var size int
			for _, r := range batch {
				size += len(r.Value)
				if r.Offset != next {
					t.Errorf("offset %d where %d is next", r.Offset, next)
				}
				next++
			}
			if size > s.MaxBatchBytes && len(batch) > 1 {
				t.Errorf("a batch of %d records has %d bytes", len(batch), size)
			}
		}
		reader.stop(t)
		if n := s.committed(t); n != 8 {
			t.Errorf("%d records are committed, want 8", n)
		}
	})
	t.Run("let go in the middle", func(t *testing.T) {
		t.Parallel()
		s := newStream(t, variant{driver: clickstream.DriverKgo}, 1)
		s.MaxBatchBytes = 1024
		large := bytes.Repeat([]byte("l"), 3000)
		s.write(t, large, large, large)
		var got batches
		failing := make(chan struct{})
		var once sync.Once
		reader := s.consume(t, 0, func(ctx context.Context, batch []clickstream.Record) error {
			if batch[0].Offset == 2 {
				once.Do(func() { close(failing) })
				return errors.New("the database is away")
			}
			return got.take(ctx, batch)
		})
		await(t, failing, "the third record has not come")
		reader.stop(t)
		again := s.consume(t, patience, got.take)
		for n, batch := range got.await(t, 3) {
			if batch[0].Offset != int64(n) {
				t.Errorf("batch %d has offset %d", n, batch[0].Offset)
			}
		}
		again.stop(t)
	})
}
