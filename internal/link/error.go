package link

import (
	"errors"
	"fmt"
)

// Kind says what sort of refusal an Error is. HTTP and gRPC map it to their own codes in one place each.
type Kind string

// The kinds of Error.
const (
	KindInvalid      Kind = "invalid"      // the caller sent something wrong; Field names it
	KindNotFound     Kind = "not_found"    // there is no such thing
	KindConflict     Kind = "conflict"     // it exists already
	KindUnauthorized Kind = "unauthorized" // no valid key
	KindForbidden    Kind = "forbidden"    // a valid key without the right
	KindUnavailable  Kind = "unavailable"  // something linktrail needs is away; trying again later may work
	KindInternal     Kind = "internal"     // a fault of linktrail; people never see its text
)

// Error is what callers of linktrail are told. Message is meant for people and names no internals.
type Error struct {
	Kind    Kind
	Field   string // the field of the request that is wrong, if one is
	Message string
}

func (e *Error) Error() string {
	if e.Field != "" {
		return e.Field + " " + e.Message
	}
	return e.Message
}

// Invalid returns an Error of kind Invalid on a field; the message continues a sentence that starts with the field's name.
func Invalid(field, format string, args ...any) *Error {
	return &Error{Kind: KindInvalid, Field: field, Message: fmt.Sprintf(format, args...)}
}

// NotFound returns the Error for a code that no link has.
func NotFound(code string) *Error {
	return &Error{Kind: KindNotFound, Message: fmt.Sprintf("no link has the code %q", code)}
}

// Taken returns the Error for a code that another link has.
func Taken(code string) *Error {
	return &Error{Kind: KindConflict, Field: "slug", Message: fmt.Sprintf("%q is taken", code)}
}

// KindOf returns the kind of the Error in err's chain, KindInternal for any other error and "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return KindInternal
}
