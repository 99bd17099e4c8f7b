package ingest

import "errors"

// refused reports whether the store says no to what it was given, so that asking again gives the same answer. Anything
// else (the database is away, full, locked or shutting down) passes with time.
func refused(err error) bool {
	if e, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok { // PostgreSQL: data exceptions and violated constraints
		state := e.SQLState()
		return len(state) == 5 && (state[:2] == "22" || state[:2] == "23")
	}
	if e, ok := errors.AsType[interface {
		error
		Code() int
	}](err); ok { // SQLite's primary result codes: TOOBIG, CONSTRAINT, MISMATCH
		switch e.Code() & 0xff {
		case 18, 19, 20:
			return true
		}
	}
	return false
}
