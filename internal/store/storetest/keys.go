package storetest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/linktrail/linktrail/internal/apikey"
	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/store"
)

func mustKey(t *testing.T, s apikey.Store, name string, at time.Time, scopes ...apikey.Scope) (apikey.Key, string) {
	t.Helper()
	k, token, err := apikey.New(name, scopes, at)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CreateKey(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	return k, token
}

func testKeys(t *testing.T, fresh func(*testing.T) store.Config) {
	s := MustFresh(t, fresh)
	second, _ := mustKey(t, s, "zwei ü", noon.Add(time.Microsecond), apikey.ScopeStatsRead)
	first, token := mustKey(t, s, "one", noon, apikey.ScopeLinksRead, apikey.ScopeLinksWrite)
	t.Run("OK oldest first", func(t *testing.T) {
		keys, err := s.Keys(t.Context())
		if diff := cmp.Diff([]apikey.Key{first, second}, keys); err != nil || diff != "" {
			t.Errorf("error %v (-want +got):\n%s", err, diff)
		}
	})
	t.Run("OK the token opens", func(t *testing.T) {
		k, err := apikey.Verify(t.Context(), s, token)
		if diff := cmp.Diff(first, k); err != nil || diff != "" {
			t.Errorf("error %v (-want +got):\n%s", err, diff)
		}
	})
	t.Run("OK registered again", func(t *testing.T) {
		again := first
		again.CreatedAt = noon.Add(time.Hour)
		if err := s.CreateKey(t.Context(), again); err != nil {
			t.Fatal(err)
		}
		if k, err := s.KeyByID(t.Context(), first.ID); err != nil || !k.CreatedAt.Equal(noon) {
			t.Errorf("got %v, %v; want it left as it was", k, err)
		}
	})
	for name, edit := range map[string]func(*apikey.Key){
		"hash":   func(k *apikey.Key) { k.Hash = make([]byte, 32) },
		"name":   func(k *apikey.Key) { k.Name = "x" },
		"scopes": func(k *apikey.Key) { k.Scopes = apikey.Scopes() },
	} {
		t.Run("ErrConflict other "+name, func(t *testing.T) {
			other := first
			edit(&other)
			wantError(t, s.CreateKey(t.Context(), other), link.KindConflict, "")
			if k, err := s.KeyByID(t.Context(), first.ID); err != nil || !cmp.Equal(k, first) {
				t.Errorf("got %v, %v; want it left as it was", k, err)
			}
		})
	}
	for _, id := range []string{"nothing00000", "a\x00", "\xff"} {
		t.Run("ErrNotFound", func(t *testing.T) {
			_, err := s.KeyByID(t.Context(), id)
			wantError(t, err, link.KindNotFound, "")
			wantError(t, s.RevokeKey(t.Context(), id, noon), link.KindNotFound, "")
		})
	}
	t.Run("OK revoked once and for all", func(t *testing.T) {
		for _, at := range []time.Time{noon.Add(time.Hour), noon.Add(2 * time.Hour)} {
			if err := s.RevokeKey(t.Context(), first.ID, at); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.CreateKey(t.Context(), first); err != nil {
			t.Errorf("registered again: %v", err)
		}
		k, err := s.KeyByID(t.Context(), first.ID)
		if err != nil || !k.RevokedAt.Equal(noon.Add(time.Hour)) {
			t.Errorf("got %v, %v", k, err)
		}
		_, err = apikey.Verify(t.Context(), s, token)
		wantError(t, err, link.KindUnauthorized, "")
	})
}
