package up

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"
)

// loopback is where everything listens unless told otherwise.
const loopback = "127.0.0.1"

// holdUsual listens on a usual port of loopback, or on a free one when that is taken.
func holdUsual(port int) (ln net.Listener, replaced bool, err error) {
	ln, err = net.Listen("tcp", net.JoinHostPort(loopback, strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		ln, err = holdFree(loopback)
		return ln, true, err
	}
	return ln, false, err
}

// holdGiven listens where the user said.
func holdGiven(flag, addr string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, wrong("--%s %q is not host:port, such as 127.0.0.1:8080", flag, addr)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	if port == "0" {
		return holdFree(host)
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, wrong("--%s %s is taken: name another port, or port 0 for any", flag, addr)
	}
	if err != nil {
		if op, ok := errors.AsType[*net.OpError](err); ok {
			err = op.Err
		}
		return nil, wrong("--%s %s: cannot listen there: %v", flag, addr, err)
	}
	return ln, nil
}

// Free ports are taken from below those that systems give to outgoing connections: one of those could take the port
// between our letting go of it and its service's start.
const (
	freeFrom  = 20000
	freeTo    = 32000
	freeTries = 200
)

// holdFree listens on any free port of a host.
func holdFree(host string) (net.Listener, error) {
	for range freeTries {
		port := freeFrom + rand.IntN(freeTo-freeFrom)
		ln, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) {
			return ln, err
		}
	}
	return net.Listen("tcp", net.JoinHostPort(host, "0"))
}
