// Package apikey is the domain of API keys: tokens of the form lt_<id>_<secret>, of which only a hash is kept, and the
// scopes that they grant.
package apikey

import (
	"context"
	"time"
)

// Scope is a right that a key grants.
type Scope string

// The scopes.
const (
	ScopeLinksRead  Scope = "links:read"
	ScopeLinksWrite Scope = "links:write"
	ScopeStatsRead  Scope = "stats:read"
)

// Scopes returns all scopes.
func Scopes() []Scope { return []Scope{ScopeLinksRead, ScopeLinksWrite, ScopeStatsRead} }

// A Key is what is kept of an API key.
type Key struct {
	// ID is the public part of the token, 12 characters of [a-z0-9].
	ID string
	// Name is free text that says whose key it is.
	Name string
	// Hash is the SHA-256 of the secret; the secret has 256 bits from crypto/rand, so a slow hash would add nothing.
	Hash      []byte
	Scopes    []Scope
	CreatedAt time.Time
	// RevokedAt is when the key ended; the zero time means that it is valid.
	RevokedAt time.Time
}

// Store keeps keys. Implementations are safe for concurrent use, by several processes too.
type Store interface {
	// CreateKey stores a key. A key with the same ID, name, hash and scopes is left as it is, so that a migration can
	// register one again and again; the same ID with another hash is a *link.Error of kind Conflict.
	CreateKey(ctx context.Context, k Key) error
	// KeyByID returns a key, revoked ones too, or a *link.Error of kind NotFound.
	KeyByID(ctx context.Context, id string) (Key, error)
	// Keys returns all keys, oldest first.
	Keys(ctx context.Context) ([]Key, error)
	// RevokeKey ends a key at the given time, or returns a *link.Error of kind NotFound. Revoking twice changes nothing.
	RevokeKey(ctx context.Context, id string, at time.Time) error
}
