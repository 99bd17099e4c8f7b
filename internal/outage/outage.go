// Package outage tells errors which say that something linktrail depends on is away, for now, from faults of linktrail.
// The one is a 503 that is worth trying again, the other a 500.
package outage

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/linktrail/linktrail/internal/link"
)

// Of reports whether err, in all of its chain, says that a server cannot be reached, does not answer in time, or takes
// no work at the moment. A cancelled request is none.
func Of(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	if link.KindOf(err) == link.KindUnavailable || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return true
	}
	if e, ok := errors.AsType[net.Error](err); ok {
		// A bare errno has the methods of a net.Error whatever it is about, so also that of a file.
		_, bare := e.(syscall.Errno)
		return !bare
	}
	if e, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		return awayState(e.SQLState())
	}
	return false
}

// awayState reports whether an SQLSTATE (PostgreSQL's appendix A) is about the server and not about the statement: 08 is
// the connection, 53 a lack of resources, 57P an operator's shutdown, 25006 a standby that takes no writes.
func awayState(state string) bool {
	return strings.HasPrefix(state, "08") || strings.HasPrefix(state, "53") ||
		strings.HasPrefix(state, "57P") || state == "25006"
}
