package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What a developer may set: how many sequences TestFaults runs, and the seed of the one that it runs again.
const (
	envFaults     = "LINKTRAIL_TEST_FAULTS"
	envFaultsSeed = "LINKTRAIL_TEST_FAULTS_SEED"
)

const (
	sequences = 8  // by default
	steps     = 20 // in each
)

// TestFaults runs random sequences of faults on all that lies between a redirect and the store, as one process: the journal
// and the Kafka driver of url-api, a broker (franz-go's kfake, which keeps its data on disk), consumers with their handler,
// and a store. After each sequence everything is mended, and what the store holds is compared with a model: each click that
// was answered is there once, but for those that the journal has counted as lost, and the rollups are those of the rows.
//
// Which steps are taken depends on the seed alone, what they meet on the machine's pace too: a seed that failed need not fail
// each time. A sequence that fails is tried again with half of its steps, and so on, and the shortest that fails is told.
func TestFaults(t *testing.T) {
	count := sequences
	if text := os.Getenv(envFaults); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("%s: %q is not a number of sequences", envFaults, text)
		}
		count = n
	}
	seeds := make([]uint64, count)
	for i := range seeds {
		seeds[i] = rand.Uint64() >> 16
	}
	if text := os.Getenv(envFaultsSeed); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s: %q is not a seed", envFaultsSeed, text)
		}
		seeds = []uint64{seed}
	}
	turns := make(chan struct{}, max(2, runtime.GOMAXPROCS(0))) // most of the time a sequence waits
	for _, seed := range seeds {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			turns <- struct{}{}
			defer func() { <-turns }()
			s := newSequence(seed)
			t.Logf("%s=%d: %v", envFaultsSeed, seed, s)
			err := s.run(t, len(s.steps))
			if err == nil {
				return
			}
			n, err := s.shorten(t, err)
			t.Fatalf("%v\nafter %v\nagain: %s=%d", err, s.steps[:n], envFaultsSeed, seed)
		})
	}
}

// sequence is what a seed says is to be done.
type sequence struct {
	seed uint64
	conditions
	steps []step
}

// conditions are those under which a sequence runs.
type conditions struct {
	maxBytes int64
	full     string
	sync     bool
	queue    int
	batch    int
}

// step is one thing that is done. pick decides on what is left open, such as which bit is flipped.
type step struct {
	kind
	n    int
	pick uint64
}

func (s step) String() string {
	if s.most > 1 {
		return fmt.Sprintf("%s %d", s.name, s.n)
	}
	return s.name
}

// kind is a kind of step; n is drawn from 1 to most, and weight is how often it comes beside others.
type kind struct {
	name   string
	weight int
	most   int
	do     func(w *world, s step) error
}

var kinds = []kind{
	{"publish", 10, 1500, (*world).publish},
	{"wait", 3, 200, (*world).wait},
	{"kill the publisher", 3, 1, (*world).killPublisher},
	{"kill the publisher while it publishes", 3, 1500, (*world).killPublishing},
	{"kill the publisher and flip a bit", 2, 1, (*world).killAndFlip},
	{"kill the publisher and cut a segment", 2, 1, (*world).killAndCut},
	{"stop the publisher", 2, 1, (*world).stopPublisher},
	{"broker away", 3, 1, (*world).brokerAway},
	{"broker back", 2, 1, (*world).brokerBack},
	{"broker restarts", 2, 1, (*world).brokerRestarts},
	{"acknowledgements get lost", 3, 8, (*world).loseAnswers},
	{"broker answers with errors", 2, 8, (*world).brokerErrors},
	{"deliver again", 2, 100, (*world).deliverAgain},
	{"kill a consumer before it writes", 2, 1, (*world).killBefore},
	{"kill a consumer before it commits", 3, 1, (*world).killAfter},
	{"consumer joins", 3, 1, (*world).join},
	{"consumer leaves", 2, 1, (*world).leave},
	{"store away", 2, 1, (*world).storeAway},
	{"store back", 2, 1, (*world).storeBack},
	{"store fails", 2, 6, (*world).storeFails},
	{"store fails after it has written", 2, 6, (*world).storeForgets},
}

func newSequence(seed uint64) sequence {
	r := rand.New(rand.NewPCG(seed, 7))
	s := sequence{seed: seed, conditions: conditions{
		maxBytes: segmentBytes * (4 + r.Int64N(30)), full: []string{"drop-oldest", "refuse-new"}[r.IntN(2)],
		sync: r.IntN(4) == 0, queue: 50 << r.IntN(8), batch: 20 << r.IntN(6),
	}}
	var all int
	for _, k := range kinds {
		all += k.weight
	}
	for range steps {
		at := r.IntN(all)
		for _, k := range kinds {
			if at -= k.weight; at < 0 {
				s.steps = append(s.steps, step{kind: k, n: 1 + r.IntN(k.most), pick: r.Uint64()})
				break
			}
		}
	}
	return s
}

func (s sequence) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "a journal of %d segments, %s, sync %v, a queue of %d, batches of %d:", s.maxBytes/segmentBytes, s.full, s.sync, s.queue, s.batch)
	for _, step := range s.steps {
		fmt.Fprintf(&b, "\n  %v", step)
	}
	return b.String()
}

// run does the first n steps and tells what is wrong at the end.
func (s sequence) run(t *testing.T, n int) (err error) {
	// A limit that only a stream which stands still comes to.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	w, err := newWorld(ctx, t, s.conditions)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	for i, step := range s.steps[:n] {
		if err := step.do(w, step); err != nil {
			return fmt.Errorf("step %d, %v: %w", i+1, step, err)
		}
	}
	if err := w.mend(); err != nil {
		return err
	}
	return w.check()
}

// shorten looks for a shorter sequence that fails, and returns how many steps it has and its error.
func (s sequence) shorten(t *testing.T, err error) (int, error) {
	passes, fails := 0, len(s.steps)
	for passes+1 < fails {
		n := (passes + fails) / 2
		if shorter := s.run(t, n); shorter != nil {
			fails, err = n, shorter
		} else {
			passes = n
		}
	}
	return fails, err
}
