//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"github.com/linktrail/linktrail/internal/clickstream/journal"
)

const journalRow = "journal"

// appended is what an append costs when so many goroutines do it at once.
type appended struct {
	goroutines     int
	cached, synced appendCost
}

// appendCost is that of one append.
type appendCost struct {
	each        time.Duration // by the wall clock, of all of them together
	cpu         time.Duration
	allocations float64
}

const (
	// cachedAppends is how many appends are measured, syncedAppends how many of each goroutine when each waits for the disk.
	cachedAppends = 400_000
	syncedAppends = 100
	// valueBytes is the size of a usual click.
	valueBytes = 400
)

// compareJournal measures what an append costs, and whether redirects are slower with a journal.
func (s *system) compareJournal(ctx context.Context, o options) (appends []appended, pairs []pair, err error) {
	if !o.wants(journalRow) {
		return nil, nil, nil
	}
	for _, goroutines := range []int{1, 4, 16, 64} {
		a := appended{goroutines: goroutines}
		if a.cached, err = s.append(ctx, o, goroutines, cachedAppends/goroutines, false); err != nil {
			return nil, nil, err
		}
		if a.synced, err = s.append(ctx, o, goroutines, syncedAppends, true); err != nil {
			return nil, nil, err
		}
		fmt.Fprintf(os.Stderr, "bench: journal, %2d goroutines: %v an append, %v CPU; with Sync %v\n", goroutines, a.cached.each, a.cached.cpu, a.synced.each)
		appends = append(appends, a)
	}
	var subjects [2]*subject
	for i, name := range []string{"without a journal", "with a journal"} {
		v := &subject{name: name}
		v.service, err = s.startURLAPI(ctx, name, s.binary, func(c map[string]any) {
			c["LinkCache"].(map[string]any)["TTL"] = "1h"
			if i == 0 {
				delete(c, "Journal")
			}
		})
		if err != nil {
			return nil, nil, err
		}
		v.Process, v.addr = v.service.Process, v.service.door
		defer func() { err = errors.Join(err, v.Stop()) }()
		subjects[i] = v
	}
	pairs, err = s.takePairs(ctx, o, subjects)
	return appends, pairs, err
}

// append measures appends to a journal that nobody reads, with segments as url-api has them: what beginning one costs is in it.
func (s *system) append(ctx context.Context, o options, goroutines, each int, synced bool) (appendCost, error) {
	var walls, cpus []time.Duration
	var allocations []float64
	for range o.rounds {
		if err := ctx.Err(); err != nil {
			return appendCost{}, err
		}
		dir := filepath.Join(s.dir, "appends")
		j, err := journal.Open(journal.Config{Dir: dir, MaxBytes: 1 << 30, Sync: synced})
		if err != nil {
			return appendCost{}, err
		}
		parent := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}})
		record := journal.Record{ID: uuid.New(), Appended: time.Now(), Parent: parent, Value: make([]byte, valueBytes)}
		err = j.Append(&record) // the first segment is there
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		cpu, begin := ownCPU(), time.Now()
		var running sync.WaitGroup
		errs := make([]error, goroutines)
		for g := range goroutines {
			running.Go(func() {
				for n := 0; n < each && errs[g] == nil; n++ {
					errs[g] = j.Append(&record)
				}
			})
		}
		running.Wait()
		wall := time.Since(begin)
		cpu = ownCPU() - cpu
		runtime.ReadMemStats(&after)
		if err = errors.Join(err, errors.Join(errs...), j.Close(), os.RemoveAll(dir)); err != nil {
			return appendCost{}, err
		}
		n := time.Duration(goroutines * each)
		walls, cpus = append(walls, wall/n), append(cpus, cpu/n)
		allocations = append(allocations, float64(after.Mallocs-before.Mallocs)/float64(n))
	}
	return appendCost{each: median(walls), cpu: median(cpus), allocations: median(allocations)}, nil
}
