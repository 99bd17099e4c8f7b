package door_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// probe is what a caller sends who wants to know whether the connection is still good.
const probe = "GET /robots.txt HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n"

// dial connects to the door.
func (h *house) dial() *net.TCPConn {
	h.t.Helper()
	conn, err := net.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn.(*net.TCPConn)
}

// readAnswer reads one answer; method is the request's, for an answer to HEAD has no body.
func readAnswer(in *bufio.Reader, method string) (answer, error) {
	res, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		return answer{}, err
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	return answer{Response: res, body: string(body)}, err
}

// exchange is what a test of raw bytes sends and what must come of it.
type exchange struct {
	send string
	want []int  // the status of each answer, in order
	open bool   // the connection goes on after it; otherwise the door ends it
	gets string // the codes that clicks were published for, in order
}

// run sends the bytes, without ending the connection, and holds what comes back against what must come. Whether the
// connection is still good is tried with a further request.
func (x exchange) run(t *testing.T, h *house) []answer {
	t.Helper()
	before, reads := len(h.clicks.all()), h.store.reads.Load()
	conn := h.dial()
	if _, err := io.WriteString(conn, x.send); err != nil {
		t.Logf("write: %v", err) // the door may have closed already
	}
	method, _, _ := strings.Cut(x.send, " ")
	in := bufio.NewReader(conn)
	var answers []answer
	statuses := []int{}
	for len(answers) < len(x.want) {
		a, err := readAnswer(in, method)
		if err != nil {
			t.Errorf("answer %d: %v", len(answers)+1, err)
			break
		}
		answers, statuses = append(answers, a), append(statuses, a.StatusCode)
		if a.Close {
			break
		}
	}
	if diff := cmp.Diff(x.want, statuses); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
	if x.open {
		if _, err := io.WriteString(conn, probe); err != nil {
			t.Errorf("a further request: %v", err)
		}
		if a, err := readAnswer(in, "GET"); err != nil || a.StatusCode != http.StatusOK || !strings.HasPrefix(a.body, "User-agent") {
			t.Errorf("a further request: %v, %+v", err, a.Response)
		}
	}
	if rest, err := io.ReadAll(in); err != nil && len(x.want) > 0 || len(rest) > 0 {
		t.Errorf("after the last answer: %v, %q; want the connection's end", err, rest)
	}
	for _, a := range answers {
		h.span(a) // every answer names its span
		if a.Header.Values("Server") != nil || a.Header.Get("Date") == "" {
			t.Errorf("headers %v", a.Header)
		}
		if a.StatusCode >= 400 && a.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%d as %q: %s", a.StatusCode, a.Header.Get("Content-Type"), a.body)
		}
		if a.StatusCode == http.StatusMethodNotAllowed && a.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("405 with Allow %q", a.Header.Get("Allow"))
		}
	}
	var codes []string
	for _, c := range h.clicks.all()[before:] {
		codes = append(codes, c.Code)
	}
	if got := strings.Join(codes, " "); got != x.gets {
		t.Errorf("clicks of %q, want of %q", got, x.gets)
	}
	if x.gets == "" && !slices.ContainsFunc(statuses, func(s int) bool { return s < 400 || s == 404 }) && h.store.reads.Load() != reads {
		t.Error("a refused request was looked up")
	}
	return answers
}
