package record

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/linktrail/linktrail/internal/apikey"
	"github.com/linktrail/linktrail/internal/link"
)

// NoKey returns the error for an id that no key has.
func NoKey(id string) error {
	return &link.Error{Kind: link.KindNotFound, Message: fmt.Sprintf("no API key has the id %q", id)}
}

// SameKey returns nil when registering given changes nothing about the key that is held under its id, and else an error
// of kind Conflict. Whether the key was revoked does not matter: it stays so.
func SameKey(held, given apikey.Key) error {
	if !bytes.Equal(held.Hash, given.Hash) {
		return &link.Error{Kind: link.KindConflict, Message: fmt.Sprintf("another API key has the id %q", given.ID)}
	}
	if held.Name != Text(given.Name) || !slices.Equal(sorted(held.Scopes), sorted(given.Scopes)) {
		return &link.Error{Kind: link.KindConflict,
			Message: fmt.Sprintf("the API key %q is registered already, with another name or other scopes", given.ID)}
	}
	return nil
}

func sorted(scopes []apikey.Scope) []apikey.Scope {
	scopes = slices.Clone(scopes)
	slices.Sort(scopes)
	return slices.Compact(scopes)
}
