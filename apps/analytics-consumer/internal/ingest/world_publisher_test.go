package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/clickstream/journal"
	"github.com/linktrail/linktrail/internal/clickstream/kgo"
)

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
