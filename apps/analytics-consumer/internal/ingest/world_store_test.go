package ingest_test

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/store"
	"github.com/linktrail/linktrail/internal/store/dbtrace"
)

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
