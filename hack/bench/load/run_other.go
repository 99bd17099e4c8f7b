//go:build !linux

package load

import (
	"context"
	"errors"
)

// Run needs Linux.
func Run(context.Context, Plan) (*Result, error) {
	return nil, errors.New("load: the load generator needs Linux's epoll")
}
