package apikey_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/linktrail/linktrail/internal/apikey"
	"github.com/linktrail/linktrail/internal/link"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 1500, time.FixedZone("CET", 3600))

// keys is a Store of one look-up.
type keys struct {
	apikey.Store
	held map[string]apikey.Key
	err  error
}

func (s keys) KeyByID(_ context.Context, id string) (apikey.Key, error) {
	if s.err != nil {
		return apikey.Key{}, s.err
	}
	if k, ok := s.held[id]; ok {
		return k, nil
	}
	return apikey.Key{}, &link.Error{Kind: link.KindNotFound, Message: "no such key"}
}

func MustNew(t *testing.T, scopes ...apikey.Scope) (apikey.Key, string) {
	t.Helper()
	key, token, err := apikey.New("ci", scopes, now)
	if err != nil {
		t.Fatal(err)
	}
	return key, token
}

func TestNew(t *testing.T) {
	t.Run("OK", func(t *testing.T) {
		key, token := MustNew(t, apikey.ScopeStatsRead, apikey.ScopeLinksRead, apikey.ScopeStatsRead)
		if !regexp.MustCompile(`^lt_[a-z0-9]{12}_[A-Za-z0-9]{43}$`).MatchString(token) {
			t.Errorf("token is %q", token)
		}
		id, secret := token[3:15], token[16:]
		hash := sha256.Sum256([]byte(secret))
		want := apikey.Key{ID: id, Name: "ci", Hash: hash[:], Scopes: []apikey.Scope{apikey.ScopeLinksRead, apikey.ScopeStatsRead},
			CreatedAt: time.Date(2026, 3, 1, 11, 0, 0, 1000, time.UTC)}
		if diff := cmp.Diff(want, key); diff != "" {
			t.Errorf("key (-want +got):\n%s", diff)
		}
		if bytes.Contains(key.Hash, []byte(secret)) {
			t.Error("the key holds the secret")
		}
	})
	t.Run("OK every character is used, no two tokens are the same", func(t *testing.T) {
		seen, characters := map[string]bool{}, map[rune]bool{}
		for range 300 {
			_, token := MustNew(t, apikey.ScopeLinksRead)
			if seen[token] {
				t.Fatalf("%s came twice", token)
			}
			seen[token] = true
			for _, c := range token[16:] {
				characters[c] = true
			}
		}
		if len(characters) != 62 {
			t.Errorf("300 secrets use %d characters, want 62", len(characters))
		}
	})
	for name, c := range map[string]struct {
		name   string
		scopes []apikey.Scope
		field  string
	}{
		"ErrNoName":       {" ", []apikey.Scope{apikey.ScopeLinksRead}, "name"},
		"ErrLongName":     {strings.Repeat("ü", 101), []apikey.Scope{apikey.ScopeLinksRead}, "name"},
		"ErrNoScope":      {"ci", nil, "scopes"},
		"ErrUnknownScope": {"ci", []apikey.Scope{"links:all"}, "scopes"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := apikey.New(c.name, c.scopes, now)
			var e *link.Error
			if !errors.As(err, &e) || e.Kind != link.KindInvalid || e.Field != c.field {
				t.Errorf("got %v, want an invalid %s", err, c.field)
			}
		})
	}
}

func TestFromToken(t *testing.T) {
	t.Run("OK the same key comes of the same token", func(t *testing.T) {
		key, token := MustNew(t, apikey.ScopeLinksWrite)
		again, err := apikey.FromToken(token, "ci", []apikey.Scope{apikey.ScopeLinksWrite}, now)
		if diff := cmp.Diff(key, again); err != nil || diff != "" {
			t.Errorf("error %v, key (-want +got):\n%s", err, diff)
		}
	})
	t.Run("ErrForm", func(t *testing.T) {
		_, err := apikey.FromToken("hunter2", "ci", apikey.Scopes(), now)
		if link.KindOf(err) != link.KindInvalid || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v", err)
		}
	})
}

func TestParseScopes(t *testing.T) {
	t.Run("OK", func(t *testing.T) {
		got, err := apikey.ParseScopes([]string{"stats:read", " links:read", "stats:read"})
		if diff := cmp.Diff([]apikey.Scope{apikey.ScopeLinksRead, apikey.ScopeStatsRead}, got); err != nil || diff != "" {
			t.Errorf("error %v (-want +got):\n%s", err, diff)
		}
	})
	t.Run("ErrUnknown", func(t *testing.T) {
		_, err := apikey.ParseScopes([]string{"links:read", "root"})
		if err == nil || !strings.Contains(err.Error(), `"root"`) || !strings.Contains(err.Error(), "links:write") {
			t.Errorf("got %v, want what is wrong and what is allowed", err)
		}
	})
}

func TestVerify(t *testing.T) {
	ctx := context.Background()
	key, token := MustNew(t, apikey.ScopeLinksRead)
	store := keys{held: map[string]apikey.Key{key.ID: key}}
	t.Run("OK", func(t *testing.T) {
		got, err := apikey.Verify(ctx, store, token)
		if diff := cmp.Diff(key, got); err != nil || diff != "" {
			t.Errorf("error %v (-want +got):\n%s", err, diff)
		}
	})
	_, other := MustNew(t, apikey.ScopeLinksRead)
	revoked := key
	revoked.RevokedAt = now
	noHash := key
	noHash.Hash = nil
	for name, c := range map[string]struct {
		store keys
		token string
	}{
		"ErrEmpty":       {store, ""},
		"ErrShort":       {store, token[:len(token)-1]},
		"ErrLong":        {store, token + "a"},
		"ErrPrefix":      {store, "xx" + token[2:]},
		"ErrSeparator":   {store, token[:15] + "-" + token[16:]},
		"ErrCapitalID":   {store, token[:3] + "A" + token[4:]},
		"ErrSecretForm":  {store, token[:len(token)-1] + "-"},
		"ErrWrongSecret": {store, token[:16] + other[16:]},
		"ErrUnknownID":   {store, other},
		"ErrRevoked":     {keys{held: map[string]apikey.Key{key.ID: revoked}}, token},
		"ErrNoHash":      {keys{held: map[string]apikey.Key{key.ID: noHash}}, token},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := apikey.Verify(ctx, c.store, c.token)
			if link.KindOf(err) != link.KindUnauthorized || got.ID != "" {
				t.Fatalf("got %v, %v", got, err)
			}
			if _, empty := apikey.Verify(ctx, store, ""); empty.Error() != err.Error() {
				t.Errorf("message %q tells more than %q", err, empty)
			}
		})
	}
	t.Run("ErrStore", func(t *testing.T) {
		away := errors.New("away")
		_, err := apikey.Verify(ctx, keys{err: away}, token)
		if !errors.Is(err, away) || link.KindOf(err) == link.KindUnauthorized {
			t.Errorf("got %v, want the store's error", err)
		}
	})
}

func TestAllows(t *testing.T) {
	key, _ := MustNew(t, apikey.ScopeLinksRead)
	t.Run("OK", func(t *testing.T) {
		if err := key.Allows(apikey.ScopeLinksRead); err != nil {
			t.Error(err)
		}
	})
	t.Run("ErrMissing", func(t *testing.T) {
		err := key.Allows(apikey.ScopeLinksWrite)
		if link.KindOf(err) != link.KindForbidden || !strings.Contains(err.Error(), "links:write") {
			t.Errorf("got %v, want the missing scope named", err)
		}
	})
}
