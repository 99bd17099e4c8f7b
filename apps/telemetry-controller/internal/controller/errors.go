package controller

import "errors"

// userError is one that stays until someone changes something: a condition tells it, and nothing is tried again meanwhile.
type userError struct {
	condition string
	reason    string
	error
}

func (e userError) Unwrap() error { return e.error }

// asUserError returns the userError in err, if there is one.
func asUserError(err error) (userError, bool) {
	var e userError
	return e, errors.As(err, &e)
}
