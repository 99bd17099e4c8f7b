package watch

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/linktrail/linktrail/apps/linktrail/internal/client"
)

// id is that of the click which was made n milliseconds after a moment.
func id(n int) string {
	const moment = 1_800_000_000_000
	var u uuid.UUID
	binary.BigEndian.PutUint64(u[:8], uint64(moment+n)<<16)
	u[6], u[8] = 0x70, 0x80
	return u.String()
}

// server is an API in memory.
type server struct {
	ids   []string // oldest first
	asked int
	fail  int // this many questions from now on fails one, 0 none
}

var errAway = errors.New("away")

func (s *server) page(_ context.Context, cursor string) (client.ClickPage, error) {
	s.asked++
	if s.fail > 0 {
		if s.fail--; s.fail == 0 {
			return client.ClickPage{}, errAway
		}
	}
	var page client.ClickPage
	for _, click := range slices.Backward(s.ids) {
		if cursor != "" && click >= cursor {
			continue
		}
		if len(page.Clicks) == client.MaxPage {
			page.Next = &page.Clicks[client.MaxPage-1].ID
			break
		}
		page.Clicks = append(page.Clicks, client.Click{ID: click})
	}
	return page, nil
}

func (s *server) add(numbers ...int) {
	for _, n := range numbers {
		s.ids = append(s.ids, id(n))
	}
	slices.Sort(s.ids)
}

// upTo are the numbers from one to another, both included.
func upTo(from, to int) []int {
	var numbers []int
	for n := from; n <= to; n++ {
		numbers = append(numbers, n)
	}
	return numbers
}

func MustStart(t *testing.T, s *server, last int) (*Follower, []client.Click) {
	t.Helper()
	f := New(s.page)
	found, err := f.Start(t.Context(), last)
	if err != nil {
		t.Fatal(err)
	}
	return f, found
}

func wantNext(t *testing.T, f *Follower, numbers ...int) {
	t.Helper()
	found, skipped, err := f.Next(t.Context())
	if err != nil || skipped {
		t.Fatalf("skipped %v, error %v", skipped, err)
	}
	wantClicks(t, found, numbers...)
}

func wantClicks(t *testing.T, found []client.Click, numbers ...int) {
	t.Helper()
	got, want := []string{}, []string{}
	for _, c := range found {
		got = append(got, c.ID)
	}
	for _, n := range numbers {
		want = append(want, id(n))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("clicks (-want +got):\n%s", diff)
	}
}

func TestFollower(t *testing.T) {
	t.Run("OK the latest first, then each new one once", func(t *testing.T) {
		s := &server{}
		s.add(upTo(1, 250)...)
		f, found := MustStart(t, s, 3)
		wantClicks(t, found, 248, 249, 250)
		wantNext(t, f)
		s.add(251, 252)
		wantNext(t, f, 251, 252)
		wantNext(t, f)
	})
	t.Run("OK new ones only", func(t *testing.T) {
		s := &server{}
		s.add(1, 2)
		f, found := MustStart(t, s, 0)
		wantClicks(t, found)
		s.add(3)
		wantNext(t, f, 3)
	})
	t.Run("OK nothing yet", func(t *testing.T) {
		s := &server{}
		f, found := MustStart(t, s, 10)
		wantClicks(t, found)
		wantNext(t, f)
		s.add(1)
		wantNext(t, f, 1)
	})
	t.Run("OK many pages between two looks", func(t *testing.T) {
		s := &server{}
		s.add(1)
		f, _ := MustStart(t, s, 1)
		s.add(upTo(2, 1234)...)
		wantNext(t, f, upTo(2, 1234)...)
		wantNext(t, f)
	})
	t.Run("OK more of the latest than a page", func(t *testing.T) {
		s := &server{}
		s.add(upTo(1, 500)...)
		_, found := MustStart(t, s, 321)
		wantClicks(t, found, upTo(180, 500)...)
	})
	t.Run("OK late ones behind newer", func(t *testing.T) {
		s := &server{}
		s.add(10, 20)
		f, _ := MustStart(t, s, 0)
		s.add(30)
		wantNext(t, f, 30)
		s.add(5, 15, 25) // older than what was known at the start, too
		wantNext(t, f, 5, 15, 25)
		wantNext(t, f)
	})
	t.Run("OK late ones pages behind newer", func(t *testing.T) {
		s := &server{}
		s.add(upTo(1, 10)...)
		f, _ := MustStart(t, s, 0)
		s.add(upTo(100, 1000)...)
		wantNext(t, f, upTo(100, 1000)...)
		s.add(50)
		var late []client.Click
		for range lateEvery {
			found, _, err := f.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			late = append(late, found...)
		}
		wantClicks(t, late, 50)
	})
	t.Run("OK clicks of a consumer that was away for long", func(t *testing.T) {
		s := &server{}
		hour := int(time.Hour.Milliseconds())
		s.add(1)
		f, _ := MustStart(t, s, 0)
		s.add(hour, hour+1)
		wantNext(t, f, hour, hour+1)
	})
	t.Run("OK history stays history", func(t *testing.T) {
		s := &server{}
		day := int((24 * time.Hour).Milliseconds())
		for i := range 1000 {
			s.add(i * day / 100)
		}
		f, _ := MustStart(t, s, 5)
		for range 2 * lateEvery {
			wantNext(t, f)
		}
		if s.asked > 3*lateEvery {
			t.Errorf("%d questions for nothing new", s.asked)
		}
	})
	t.Run("ErrAway loses nothing", func(t *testing.T) {
		s := &server{}
		s.add(upTo(1, 5)...)
		f, _ := MustStart(t, s, 5)
		s.add(upTo(6, 300)...)
		s.fail = 2 // in the middle of the pages
		if found, _, err := f.Next(t.Context()); !errors.Is(err, errAway) || found != nil {
			t.Fatalf("%d clicks, error %v", len(found), err)
		}
		wantNext(t, f, upTo(6, 300)...)
	})
	t.Run("ErrStart can be tried again", func(t *testing.T) {
		s := &server{fail: 1}
		s.add(1)
		f := New(s.page)
		if _, err := f.Start(t.Context(), 1); !errors.Is(err, errAway) {
			t.Fatal(err)
		}
		found, err := f.Start(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		wantClicks(t, found, 1)
	})
}

// TestFollowerForgets follows more clicks than it remembers.
func TestFollowerForgets(t *testing.T) {
	s := &server{}
	f, _ := MustStart(t, s, 0)
	total, shown := 3*kept, 0
	for n := 0; n < total; n += kept / 4 {
		s.add(upTo(n+1, n+kept/4)...)
		found, skipped, err := f.Next(t.Context())
		if err != nil || skipped {
			t.Fatal(skipped, err)
		}
		shown += len(found)
	}
	if shown != total {
		t.Errorf("%d of %d clicks are shown", shown, total)
	}
	if len(f.seen) > 2*kept {
		t.Errorf("it remembers %d clicks", len(f.seen))
	}
	s.add(-5) // too old to tell whether it was shown
	for range lateEvery {
		wantNext(t, f)
	}
}

func TestFollowerSkips(t *testing.T) {
	s := &server{}
	f, _ := MustStart(t, s, 0)
	many := &server{}
	for n := range Most + 1000 {
		many.ids = append(many.ids, id(n))
	}
	s.ids = many.ids
	found, skipped, err := f.Next(t.Context())
	if err != nil || !skipped || len(found) != Most || found[Most-1].ID != id(Most+999) {
		t.Fatalf("%d clicks, skipped %v, error %v", len(found), skipped, err)
	}
	wantNext(t, f)
}

func TestEarliest(t *testing.T) {
	if got, want := earliest(id(int(Window.Milliseconds())+7)), id(7); got[:13] != want[:13] {
		t.Errorf("earliest is %s, want %s", got, want)
	}
	if got := earliest("no id"); got != "" {
		t.Errorf("earliest of no id is %q", got)
	}
}
