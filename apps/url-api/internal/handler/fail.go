package handler

import (
	"errors"
	"net/http"

	"github.com/linktrail/linktrail/internal/problem"
	"github.com/linktrail/linktrail/internal/tracequery"
)

// refusal is why a body is not taken, with a status of its own and, where HTTP has one for it, a header that says what
// would be taken.
type refusal struct {
	status        int
	detail        string
	header, value string
}

func (e *refusal) Error() string { return e.detail }

// fail answers a request with the problem of err.
func fail(w http.ResponseWriter, r *http.Request, err error) {
	if e, ok := errors.AsType[*refusal](err); ok {
		p := problem.New(e.status, e.detail)
		if e.status != http.StatusRequestTimeout { // then there is nothing to mend in it
			p.Field = "body"
		}
		if e.header != "" {
			w.Header().Set(e.header, e.value)
		}
		problem.Write(r.Context(), w, p)
		return
	}
	if errors.Is(err, tracequery.ErrTooLarge) {
		problem.Write(r.Context(), w, problem.New(http.StatusUnprocessableEntity,
			"The trace is larger than this API shows; `linktrail trace` prints it."))
		return
	}
	problem.Fail(w, r, err)
}
