package link_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/linktrail/linktrail/internal/link"
)

func TestNormalizeTags(t *testing.T) {
	many := func(n int) []string {
		var tags []string
		for i := range n {
			tags = append(tags, strconv.Itoa(100+i))
		}
		return tags
	}
	for name, tt := range map[string]struct{ in, want []string }{
		"None":    {nil, []string{}},
		"Sorted":  {[]string{"b", "a"}, []string{"a", "b"}},
		"Folded":  {[]string{" Spring Sale ", "spring sale", "É"}, []string{"spring sale", "é"}},
		"AtLimit": {append(many(20), "100", "101"), many(20)},
		"Longest": {[]string{strings.Repeat("ü", 50)}, []string{strings.Repeat("ü", 50)}},
	} {
		t.Run("OK"+name, func(t *testing.T) {
			got, err := link.NormalizeTags(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Fatalf("-want +got\n%s", diff)
			}
		})
	}
	for name, tt := range map[string]struct {
		in   []string
		want string
	}{
		"Empty":   {[]string{"a", " "}, "empty tag"},
		"Long":    {[]string{strings.Repeat("ü", 51)}, "more than 50 characters, got one of 51"},
		"Many":    {many(21), "at most 20"},
		"Control": {[]string{"a\nb"}, "control characters"},
		"NotUTF8": {[]string{"a\xff"}, "UTF-8"},
	} {
		t.Run("Err"+name, func(t *testing.T) {
			_, err := link.NormalizeTags(tt.in)
			mustRefuse(t, err, "tags", tt.want)
		})
	}
}

func TestCheckTitle(t *testing.T) {
	for _, title := range []string{"", "Spring sale – 20 %", strings.Repeat("ü", 200)} {
		if err := link.CheckTitle(title); err != nil {
			t.Errorf("%q: %v", title, err)
		}
	}
	mustRefuse(t, link.CheckTitle(strings.Repeat("ü", 201)), "title", "at most 200 characters, got 201")
	mustRefuse(t, link.CheckTitle("a\x00b"), "title", "control characters")
	mustRefuse(t, link.CheckTitle("a\xff"), "title", "UTF-8")
}

func TestCheckExpiry(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, at := range []time.Time{{}, now.Add(time.Second), now.AddDate(100, 0, 0)} {
		if err := link.CheckExpiry(at, now); err != nil {
			t.Errorf("%s: %v", at, err)
		}
	}
	mustRefuse(t, link.CheckExpiry(now, now), "expires_at", "must be in the future, got 2026-05-01T12:00:00Z")
	mustRefuse(t, link.CheckExpiry(now.Add(-time.Hour), now), "expires_at", "must be in the future")
	mustRefuse(t, link.CheckExpiry(now.AddDate(8000, 0, 0), now), "expires_at", "before the year 10000")
}
