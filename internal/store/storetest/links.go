package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/store"
)

func codesOf(links []link.Link) []string {
	all := []string{}
	for _, l := range links {
		all = append(all, l.Code)
	}
	return all
}

func mustLinks(t *testing.T, s link.Store, f link.Filter) []link.Link {
	t.Helper()
	links, err := s.Links(t.Context(), f)
	if err != nil {
		t.Fatalf("links %+v: %v", f, err)
	}
	return links
}

func wantError(t *testing.T, err error, kind link.Kind, field string) {
	t.Helper()
	e, ok := errors.AsType[*link.Error](err)
	if !ok || e.Kind != kind || e.Field != field {
		t.Fatalf("got error %v, want one of kind %s on field %q", err, kind, field)
	}
}

func testCreateLink(t *testing.T, fresh func(*testing.T) store.Config) {
	s := MustFresh(t, fresh)
	t.Run("OK all fields", func(t *testing.T) {
		given := link.Link{Code: "Grüße", URL: "https://example.com/%C3%BC?a=1&b='\"", Title: "Ελληνικά 日本語 🦊 O'Neil", Tags: []string{"a", "ü b"},
			RedirectStatus: 308, Disabled: true, ExpiresAt: time.Date(2030, 1, 2, 3, 4, 5, 678901999, time.FixedZone("", 7200))}
		before := time.Now().UTC().Truncate(time.Microsecond)
		made, err := s.CreateLink(t.Context(), given)
		if err != nil {
			t.Fatal(err)
		}
		want := given
		want.ID, want.CreatedAt, want.UpdatedAt = made.ID, made.CreatedAt, made.CreatedAt
		want.ExpiresAt = time.Date(2030, 1, 2, 1, 4, 5, 678901000, time.UTC)
		if diff := cmp.Diff(want, made); diff != "" {
			t.Errorf("created (-want +got):\n%s", diff)
		}
		if made.ID <= 0 || made.CreatedAt.Before(before) || made.CreatedAt.After(time.Now()) {
			t.Errorf("id %d, created at %v", made.ID, made.CreatedAt)
		}
		read, err := s.LinkByCode(t.Context(), given.Code)
		if diff := cmp.Diff(made, read); err != nil || diff != "" {
			t.Errorf("read back: %v (-want +got):\n%s", err, diff)
		}
	})
	t.Run("OK no tags, no expiry", func(t *testing.T) {
		made := MustCreate(t, s, "plain")
		read, err := s.LinkByCode(t.Context(), "plain")
		if diff := cmp.Diff(made, read); err != nil || diff != "" {
			t.Errorf("read back: %v (-want +got):\n%s", err, diff)
		}
		if read.Tags == nil || len(read.Tags) != 0 || !read.ExpiresAt.IsZero() || read.Expired(time.Now()) {
			t.Errorf("got %+v, want empty tags and no expiry", read)
		}
	})
	t.Run("OK letter case matters", func(t *testing.T) {
		lower, upper := MustCreate(t, s, "case"), MustCreate(t, s, "CASE")
		if read, err := s.LinkByCode(t.Context(), "case"); err != nil || read.ID != lower.ID || lower.ID == upper.ID {
			t.Errorf("got %v, %v", read, err)
		}
	})
	t.Run("ErrTaken", func(t *testing.T) {
		first := MustCreate(t, s, "taken")
		_, err := s.CreateLink(t.Context(), link.Link{Code: "taken", URL: "https://other.example/", RedirectStatus: 301})
		wantError(t, err, link.KindConflict, "slug")
		if read, err := s.LinkByCode(t.Context(), "taken"); err != nil || read.URL != first.URL {
			t.Errorf("got %v, %v", read, err)
		}
	})
	for _, code := range []string{"nothing", "", "a\x00b", "\xff", "%", "' OR 1=1 --"} {
		t.Run(fmt.Sprintf("ErrNotFound %q", code), func(t *testing.T) {
			_, err := s.LinkByCode(t.Context(), code)
			wantError(t, err, link.KindNotFound, "")
		})
	}
}

func testUpdateLink(t *testing.T, fresh func(*testing.T) store.Config) {
	s := MustFresh(t, fresh)
	made, err := s.CreateLink(t.Context(), link.Link{Code: "one", URL: "https://old.example/", Title: "Old", Tags: []string{"old"},
		RedirectStatus: 302, ExpiresAt: noon})
	if err != nil {
		t.Fatal(err)
	}
	MustCreate(t, s, "bystander")
	url, title, tags, status, disabled, never := "https://new.example/", "New", []string{"new", "x"}, 307, true, time.Time{}
	for _, c := range []struct {
		name   string
		change link.Change
		want   func(*link.Link)
	}{
		{"nothing", link.Change{}, func(*link.Link) {}},
		{"one field", link.Change{Title: &title}, func(l *link.Link) { l.Title = title }},
		{"all at once", link.Change{URL: &url, Title: &title, Tags: &tags, RedirectStatus: &status, Disabled: &disabled, ExpiresAt: &never},
			func(l *link.Link) {
				l.URL, l.Tags, l.RedirectStatus, l.Disabled, l.ExpiresAt = url, tags, status, disabled, never
			}},
		{"to empty", link.Change{Title: new(string), Tags: &[]string{}}, func(l *link.Link) { l.Title, l.Tags = "", []string{} }},
	} {
		t.Run("OK "+c.name, func(t *testing.T) {
			got, err := s.UpdateLink(t.Context(), "one", c.change)
			if err != nil {
				t.Fatal(err)
			}
			if got.UpdatedAt.Before(made.UpdatedAt) {
				t.Errorf("updated at %v, before %v", got.UpdatedAt, made.UpdatedAt)
			}
			c.want(&made)
			made.UpdatedAt = got.UpdatedAt
			if diff := cmp.Diff(made, got); diff != "" {
				t.Errorf("returned (-want +got):\n%s", diff)
			}
			read, err := s.LinkByCode(t.Context(), "one")
			if diff := cmp.Diff(made, read); err != nil || diff != "" {
				t.Errorf("read back: %v (-want +got):\n%s", err, diff)
			}
		})
	}
	t.Run("OK is found by what it is now", func(t *testing.T) {
		if _, err := s.UpdateLink(t.Context(), "one", link.Change{Title: &title, Tags: &tags}); err != nil {
			t.Fatal(err)
		}
		for filter, want := range map[link.Filter][]string{
			{Tag: "old", Limit: 9}: {}, {Tag: "new", Limit: 9}: {"one"}, {Text: "OLD", Limit: 9}: {}, {Text: "NEW.example", Limit: 9}: {"one"},
		} {
			if diff := cmp.Diff(want, codesOf(mustLinks(t, s, filter))); diff != "" {
				t.Errorf("%+v (-want +got):\n%s", filter, diff)
			}
		}
	})
	for _, code := range []string{"nothing", "a\x00b"} {
		t.Run(fmt.Sprintf("ErrNotFound %q", code), func(t *testing.T) {
			_, err := s.UpdateLink(t.Context(), code, link.Change{Title: &title})
			wantError(t, err, link.KindNotFound, "")
		})
	}
}

func testDeleteLink(t *testing.T, fresh func(*testing.T) store.Config) {
	s := MustFresh(t, fresh)
	t.Run("OK ids are never used again", func(t *testing.T) {
		var last int64
		for range 3 {
			l := MustCreate(t, s, "again")
			if l.ID <= last {
				t.Fatalf("id %d after %d", l.ID, last)
			}
			last = l.ID
			if err := s.DeleteLink(t.Context(), "again"); err != nil {
				t.Fatal(err)
			}
		}
		_, err := s.LinkByCode(t.Context(), "again")
		wantError(t, err, link.KindNotFound, "")
	})
	t.Run("OK a slug made again starts at zero, the old clicks stay", func(t *testing.T) {
		old := MustCreate(t, s, "slug")
		MustWrite(t, s, clicksAt(old.ID, noon, 3), 3)
		if err := s.DeleteLink(t.Context(), "slug"); err != nil {
			t.Fatal(err)
		}
		again := MustCreate(t, s, "slug")
		if stats := MustStats(t, s, again.ID); stats.Clicks != 0 {
			t.Errorf("the new link has %d clicks", stats.Clicks)
		}
		if stats := MustStats(t, s, old.ID); stats.Clicks != 3 {
			t.Errorf("the old link has %d clicks, want 3", stats.Clicks)
		}
	})
	t.Run("OK is in no list", func(t *testing.T) {
		if _, err := s.CreateLink(t.Context(), link.Link{Code: "gone", URL: "https://g.example/", Tags: []string{"gone"}, RedirectStatus: 302}); err != nil {
			t.Fatal(err)
		}
		if err := s.DeleteLink(t.Context(), "gone"); err != nil {
			t.Fatal(err)
		}
		if got := mustLinks(t, s, link.Filter{Tag: "gone", Limit: 9}); len(got) != 0 {
			t.Errorf("got %v", codesOf(got))
		}
	})
	for _, code := range []string{"nothing", "a\x00b"} {
		t.Run(fmt.Sprintf("ErrNotFound %q", code), func(t *testing.T) {
			wantError(t, s.DeleteLink(t.Context(), code), link.KindNotFound, "")
		})
	}
}

func testLinks(t *testing.T, fresh func(*testing.T) store.Config) {
	t.Run("Filter", func(t *testing.T) {
		s := MustFresh(t, fresh)
		for _, l := range []link.Link{
			{Code: "Sale_50", URL: "https://shop.example/a%20b", Title: "50% off", Tags: []string{"shop", "ünï"}},
			{Code: "sale-x50", URL: "https://shop.example/ab", Title: `back\slash`, Tags: []string{"shop"}},
			{Code: "other", URL: "https://EXAMPLE.org/Straße", Title: "ÜBER Ελλάς", Tags: []string{"Shop"}},
		} {
			l.RedirectStatus = 302
			if _, err := s.CreateLink(t.Context(), l); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			name   string
			filter link.Filter
			want   []string
		}{
			{"all, newest first", link.Filter{Limit: 10}, []string{"other", "sale-x50", "Sale_50"}},
			{"limit", link.Filter{Limit: 2}, []string{"other", "sale-x50"}},
			{"tag", link.Filter{Tag: "shop", Limit: 10}, []string{"sale-x50", "Sale_50"}},
			{"tag beyond ASCII", link.Filter{Tag: "ünï", Limit: 10}, []string{"Sale_50"}},
			{"tag that none has", link.Filter{Tag: "sho", Limit: 10}, []string{}},
			{"text in the code", link.Filter{Text: "SALE", Limit: 10}, []string{"sale-x50", "Sale_50"}},
			{"text in the url", link.Filter{Text: "example.ORG", Limit: 10}, []string{"other"}},
			{"text in the title", link.Filter{Text: "OFF", Limit: 10}, []string{"Sale_50"}},
			{"underscore is itself", link.Filter{Text: "sale_", Limit: 10}, []string{"Sale_50"}},
			{"percent is itself", link.Filter{Text: "50%", Limit: 10}, []string{"Sale_50"}},
			{"percent in the middle", link.Filter{Text: "a%b", Limit: 10}, []string{}},
			{"backslash is itself", link.Filter{Text: `K\S`, Limit: 10}, []string{"sale-x50"}},
			{"quote", link.Filter{Text: "'", Limit: 10}, []string{}},
			{"letter case beyond ASCII", link.Filter{Text: "über ελλάΣ", Limit: 10}, []string{"other"}},
			{"text and tag", link.Filter{Text: "sale", Tag: "ünï", Limit: 10}, []string{"Sale_50"}},
			{"not across fields", link.Filter{Text: "50https", Limit: 10}, []string{}},
			{"NUL", link.Filter{Text: "\x00", Limit: 10}, []string{}},
			{"not UTF-8", link.Filter{Tag: "\xff", Limit: 10}, []string{}},
		} {
			t.Run("OK "+c.name, func(t *testing.T) {
				if diff := cmp.Diff(c.want, codesOf(mustLinks(t, s, c.filter))); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	})
	t.Run("OK pages have no gaps while links are made and deleted", func(t *testing.T) {
		s := MustFresh(t, fresh)
		var want []string
		for i := range 25 {
			want = append(want, MustCreate(t, s, fmt.Sprintf("link-%02d", i)).Code)
		}
		slices.Reverse(want)
		var got []string
		for page, after := 0, int64(0); ; page++ {
			links := mustLinks(t, s, link.Filter{After: after, Limit: 4})
			if len(links) == 0 {
				break
			}
			for _, l := range links {
				got = append(got, l.Code)
			}
			after = links[len(links)-1].ID
			MustCreate(t, s, fmt.Sprintf("newer-%02d", page))
			if err := s.DeleteLink(t.Context(), links[0].Code); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("pages together (-want +got):\n%s", diff)
		}
	})
	t.Run("OK never more than MaxPage", func(t *testing.T) {
		s := MustFresh(t, fresh)
		for i := range link.MaxPage + 1 {
			MustCreate(t, s, "c"+strings.Repeat("x", i%7)+fmt.Sprint(i))
		}
		if got := mustLinks(t, s, link.Filter{Limit: 10 * link.MaxPage}); len(got) != link.MaxPage {
			t.Errorf("got %d links, want %d", len(got), link.MaxPage)
		}
	})
}
