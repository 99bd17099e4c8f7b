package logic_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/linktrail/linktrail/apps/url-api/internal/logic"
	"github.com/linktrail/linktrail/apps/url-api/internal/svc"
	"github.com/linktrail/linktrail/apps/url-api/internal/types"
	"github.com/linktrail/linktrail/internal/link"
)

// takenStore has links under some codes.
type takenStore struct {
	link.Store
	taken []string
	tried []string
	err   error
}

func (s *takenStore) CreateLink(_ context.Context, l link.Link) (link.Link, error) {
	s.tried = append(s.tried, l.Code)
	switch {
	case s.err != nil:
		return link.Link{}, s.err
	case slices.Contains(s.taken, l.Code):
		return link.Link{}, link.Taken(l.Code)
	}
	return l, nil
}

type forgotten struct{ codes []string }

func (f *forgotten) Forget(_ context.Context, code string) error {
	f.codes = append(f.codes, code)
	return errors.New("Redis is away") // the link is made all the same
}

// mustCreate makes a link with the random codes that are given, again and again.
func create(s *takenStore, f *forgotten, slug string, codes ...string) (*types.Link, error) {
	next := 0
	svcCtx := &svc.ServiceContext{Links: s, Cache: f, Now: time.Now, PublicURL: "https://go.example",
		NewCode: func() (string, error) {
			next++
			return codes[(next-1)%len(codes)], nil
		}}
	return logic.NewCreateLinkLogic(context.Background(), svcCtx).CreateLink(
		&types.CreateLinkRequest{URL: "http://a.example", Slug: slug, RedirectStatus: 302})
}

func TestCreateLinkTriesAgain(t *testing.T) {
	t.Run("OK", func(t *testing.T) {
		s, f := &takenStore{taken: []string{"one", "two"}}, &forgotten{}
		got, err := create(s, f, "", "one", "two", "three")
		if err != nil {
			t.Fatal(err)
		}
		if got.Code != "three" || got.ShortURL != "https://go.example/three" {
			t.Errorf("link = %+v", got)
		}
		if !slices.Equal(f.codes, []string{"three"}) {
			t.Errorf("announced %q", f.codes)
		}
	})
	t.Run("ErrNoneFree", func(t *testing.T) {
		s := &takenStore{taken: []string{"one"}}
		_, err := create(s, &forgotten{}, "", "one")
		// Nobody chose the code, so nobody is told of a conflict.
		if link.KindOf(err) != link.KindInternal {
			t.Errorf("error = %v, want an internal one", err)
		}
		if len(s.tried) != 10 {
			t.Errorf("%d attempts, want 10", len(s.tried))
		}
	})
	t.Run("ErrSlugTakenOnce", func(t *testing.T) {
		s := &takenStore{taken: []string{"mine"}}
		if _, err := create(s, &forgotten{}, "mine", "one"); link.KindOf(err) != link.KindConflict {
			t.Errorf("error = %v, want a conflict", err)
		}
		if len(s.tried) != 1 {
			t.Errorf("tried %q: another code than the slug is not what was asked for", s.tried)
		}
	})
	t.Run("ErrStore", func(t *testing.T) {
		s := &takenStore{err: errors.New("disk full")}
		if _, err := create(s, &forgotten{}, "", "one"); !errors.Is(err, s.err) || len(s.tried) != 1 {
			t.Errorf("error = %v after %d attempts", err, len(s.tried))
		}
	})
}
