package telemetry

import (
	"context"
	"os"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/zeromicro/go-zero/core/logx"
)

// pace is how an overlay is followed. Together the times keep the promise that
// what was written is in force within two seconds, even where the system tells of
// no change.
type pace struct {
	poll   time.Duration // how often the files are read without being told of a change
	settle time.Duration // how long they must stay as they are
	grace  time.Duration // how long, when they look half written
	limit  time.Duration // how long a change may wait while others follow
	retry  time.Duration // how often what was refused is tried again, as what it names may have been mended
}

var usualPace = pace{
	poll:   500 * time.Millisecond,
	settle: 100 * time.Millisecond,
	grace:  500 * time.Millisecond,
	limit:  time.Second,
	retry:  5 * time.Second,
}

// follower reads an overlay folder whenever it changes.
type follower struct {
	provider *Provider
	pace     pace
	watch    *watch

	handled target    // was put in force or refused
	tried   time.Time // when
	seen    target    // differs from it
	changed time.Time // since when seen is as it is; zero when there is none
	first   time.Time // since when there is some other than handled

	stop context.CancelFunc
	done chan struct{}
}

// follow begins to follow the overlay.
func (p *Provider) follow() {
	if p.dir == "" {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	f := &follower{provider: p, pace: p.settings.pace, watch: newWatch(p.dir), stop: stop, done: make(chan struct{})}
	// Whatever changed since begin read it differs from this.
	f.handled, f.tried = p.first, time.Now()
	p.mu.Lock()
	p.follower = f
	p.mu.Unlock()
	go func() {
		defer close(f.done)
		f.run(ctx)
	}()
}

// unfollow ends the following, at most until ctx ends.
func (p *Provider) unfollow(ctx context.Context) {
	p.mu.Lock()
	f := p.follower
	p.mu.Unlock()
	if f == nil {
		return
	}
	f.stop()
	select {
	case <-f.done:
	case <-ctx.Done():
	}
}

func (f *follower) run(ctx context.Context) {
	defer f.watch.close()
	poll := time.NewTicker(f.pace.poll)
	defer poll.Stop()
	again := time.NewTimer(0)
	defer again.Stop()
	armed := true
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.watch.events():
			if armed {
				continue
			}
			again.Reset(f.pace.settle / 2)
			armed = true
			continue
		case <-again.C:
			armed = false
		case <-poll.C:
			f.watch.renew()
		}
		if wait := f.look(time.Now()); wait > 0 && !armed {
			again.Reset(wait)
			armed = true
		}
	}
}

// look reads the folder and handles what has settled. It returns how long to wait
// before the next look, 0 when there is nothing to wait for.
func (f *follower) look(now time.Time) time.Duration {
	t := f.provider.look()
	if t.equal(f.handled) {
		f.changed, f.first = time.Time{}, time.Time{}
		if f.provider.isRefused() && now.Sub(f.tried) >= f.pace.retry {
			f.handle(t, now)
		}
		return 0
	}
	if f.changed.IsZero() || !t.equal(f.seen) {
		f.seen, f.changed = t, now
		if f.first.IsZero() {
			f.first = now
		}
	}
	need := f.pace.settle
	if !t.sound(f.handled.overlay) {
		need = f.pace.grace
	}
	ready := f.changed.Add(need)
	if limit := f.first.Add(f.pace.limit); ready.After(limit) {
		ready = limit
	}
	if wait := ready.Sub(now); wait > 0 {
		return min(wait, f.pace.settle)
	}
	f.handle(t, now)
	return 0
}

func (f *follower) handle(t target, now time.Time) {
	if f.provider.adopt(t) {
		f.provider.counts.reloads[reloadInForce].Add(1)
		logx.Infow("telemetry in force", logx.Field("config", t.cfg.String()), logx.Field("hash", t.overlay.hash()))
	}
	f.handled, f.tried = t, now
	f.changed, f.first = time.Time{}, time.Time{}
}

func (p *Provider) isRefused() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused != nil
}

// watch has the system tell of changes in a folder, as far as it does. A link in
// the folder that is exchanged, as Kubernetes does, is such a change; one in a file
// that a link leads to elsewhere is not, nor is any on some file systems: polling
// is for those.
type watch struct {
	dir      string
	notifier *fsnotify.Watcher // nil when the system has none to give
	watched  os.FileInfo       // the folder; nil when it is not watched
	changes  chan struct{}
	done     chan struct{}
}

func newWatch(dir string) *watch {
	w := &watch{dir: dir, changes: make(chan struct{}, 1), done: make(chan struct{})}
	var err error
	if w.notifier, err = fsnotify.NewWatcher(); err != nil {
		logx.Infow("telemetry overlay: the system tells of no changes, so it is polled alone", logx.Field("error", err.Error()))
		close(w.done)
		return w
	}
	go w.forward()
	w.renew()
	return w
}

// forward makes one token of however many events.
func (w *watch) forward() {
	defer close(w.done)
	events, errs := w.notifier.Events, w.notifier.Errors
	for {
		select {
		case _, ok := <-events:
			if !ok {
				return
			}
		case _, ok := <-errs: // such as events that were too many: something has changed
			if !ok {
				return
			}
		}
		select {
		case w.changes <- struct{}{}:
		default:
		}
	}
}

func (w *watch) events() <-chan struct{} { return w.changes }

// renew watches the folder that is at the path now.
func (w *watch) renew() {
	if w.notifier == nil {
		return
	}
	info, err := os.Stat(w.dir)
	if err != nil || !info.IsDir() {
		w.watched = nil
		return
	}
	if w.watched != nil && os.SameFile(w.watched, info) && len(w.notifier.WatchList()) > 0 {
		return
	}
	_ = w.notifier.Remove(w.dir)
	if w.watched = nil; w.notifier.Add(w.dir) == nil {
		w.watched = info
	}
}

func (w *watch) close() {
	if w.notifier != nil {
		_ = w.notifier.Close()
	}
	<-w.done
}
