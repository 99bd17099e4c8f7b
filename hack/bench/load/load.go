// Package load asks HTTP/1.1 servers on this machine for redirects, and other small answers, as fast as they can give
// them (closed loop) or so many a second (open loop), over connections that are kept, and checks every answer. It is
// made to be cheap, because it shares the machine with the server that it measures: one thread, epoll, requests
// formatted beforehand, no allocation while it runs.
//
// It needs Linux, and asks loopback addresses only.
package load

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"sort"
	"time"
)

// A Request is one that can be made, with what its answer must be.
type Request struct {
	// Send is the request as it goes over the wire, whole: line, headers, empty line and, if any, body.
	Send []byte
	// Status is that of the right answer; 0 takes any from 200 to 399.
	Status int
	// Location must be that of the answer, to the byte; empty is not looked at.
	Location string
}

// Get returns a GET of a path with the headers of a common browser and what else is given as lines without their ends.
func Get(host, path string, headers ...string) []byte {
	text := "GET " + path + " HTTP/1.1\r\nHost: " + host +
		"\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\nAccept-Language: en-GB,en;q=0.9\r\n"
	for _, h := range headers {
		text += h + "\r\n"
	}
	return []byte(text + "\r\n")
}

// A Plan says what to ask, of whom and for how long.
type Plan struct {
	// Addr is a loopback address and port.
	Addr string
	// Requests are those to choose from.
	Requests []Request
	// Order are indices of Requests, in the order in which they are made, from First on and round and round. Empty is one
	// after the other.
	Order []uint32
	First int
	// Connections is how many are open at once, one request on each at a time; 0 is 32.
	Connections int
	// Rate is how many requests are meant to be made a second, evenly. One that finds no connection idle waits for one, and
	// its latency counts from when it was meant to be made. 0 is a closed loop: each connection makes its next request as
	// soon as it has the answer to the one before.
	Rate float64
	// Duration is how long requests are made; it must be set. What is under way then is waited for.
	Duration time.Duration
	// Lead is how long after the begin requests are made whose latencies are left out of the result.
	Lead time.Duration
	// Count is the most requests to make; 0 is no limit.
	Count int
	// Timeout is how long an answer may take; 0 is 5 s. Such a request has failed and its connection is closed.
	Timeout time.Duration
}

// A Result tells what became of a plan.
type Result struct {
	// Sent requests are those that were written; each is then one of Right, Wrong, Refused and Failed.
	Sent int
	// Right answers have the status and Location that were asked for. Latency is theirs, from when the request was meant
	// to be made; Service is theirs too, from when it was sent.
	Right   int
	Latency Histogram
	Service Histogram
	// Refused answers are 503 where another status was asked for; RefusedLatency is theirs, from when the request was
	// meant to be made.
	Refused        int
	RefusedLatency Histogram
	// Wrong is any other answer; FirstWrong says what the first one was.
	Wrong      int
	FirstWrong string
	// Failed requests have no answer: the connection broke or the time was up. FirstFailure says why the first one has none.
	Failed       int
	FirstFailure string
	// Late requests of an open loop were never sent, because no connection was idle until the end.
	Late int
	// Statuses counts answers by status.
	Statuses map[int]int
	// Elapsed is the time from the first request to the last answer.
	Elapsed time.Duration
}

// PerSecond is how many right answers came in a second.
func (r *Result) PerSecond() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Right) / r.Elapsed.Seconds()
}

// Check returns an error unless every request was answered, and rightly.
func (r *Result) Check() error {
	switch {
	case r.Wrong > 0:
		return fmt.Errorf("load: %d of %d answers are wrong, the first: %s", r.Wrong, r.Sent, r.FirstWrong)
	case r.Failed > 0:
		return fmt.Errorf("load: %d of %d requests have no answer, the first: %s", r.Failed, r.Sent, r.FirstFailure)
	case r.Refused > 0:
		return fmt.Errorf("load: %d of %d requests were answered 503", r.Refused, r.Sent)
	case r.Late > 0:
		return fmt.Errorf("load: %d requests were never sent: the server is slower than the rate", r.Late)
	case r.Right == 0:
		return errors.New("load: no request was made")
	}
	return nil
}

func (p *Plan) check() (netip.AddrPort, error) {
	addr, err := netip.ParseAddrPort(p.Addr)
	if err != nil || !addr.Addr().Is4() || !addr.Addr().IsLoopback() {
		return addr, fmt.Errorf("load: %q is no IPv4 loopback address with a port", p.Addr)
	}
	if len(p.Requests) == 0 {
		return addr, errors.New("load: no requests to make")
	}
	for _, i := range p.Order {
		if int(i) >= len(p.Requests) {
			return addr, fmt.Errorf("load: the order names request %d of %d", i, len(p.Requests))
		}
	}
	if p.Duration <= 0 || p.Duration > time.Hour {
		return addr, fmt.Errorf("load: a duration of %v; it must be more than nothing and an hour at most", p.Duration)
	}
	if p.Lead < 0 || p.Lead >= p.Duration {
		return addr, fmt.Errorf("load: a lead of %v in %v", p.Lead, p.Duration)
	}
	if p.Rate < 0 || p.Count < 0 || p.First < 0 || p.Connections < 0 {
		return addr, errors.New("load: numbers must not be negative")
	}
	if p.Connections == 0 {
		p.Connections = 32
	}
	if p.Timeout <= 0 {
		p.Timeout = 5 * time.Second
	}
	return addr, nil
}

// pick returns the index of the n-th request to make.
func (p *Plan) pick(n int) int {
	if len(p.Order) == 0 {
		return (p.First + n) % len(p.Requests)
	}
	return int(p.Order[(p.First+n)%len(p.Order)])
}

// Zipf returns length indices below n in which the k-th most frequent appears in proportion to 1/k^s. Which index is how
// frequent, and their order, come from the seed; the same seed gives the same indices.
func Zipf(seed uint64, s float64, n, length int) []uint32 {
	random := rand.New(rand.NewPCG(seed, 1))
	rank := random.Perm(n)
	weights := make([]float64, n) // summed up
	sum := 0.0
	for k := range weights {
		sum += math.Pow(float64(k+1), -s)
		weights[k] = sum
	}
	order := make([]uint32, length)
	for i := range order {
		order[i] = uint32(rank[min(n-1, sort.SearchFloat64s(weights, random.Float64()*sum))])
	}
	return order
}
