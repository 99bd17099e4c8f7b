package door

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linktrail/linktrail/hack/testenv"
)

// awaitRead returns when the door has read all that was sent on its newest connection.
func (f *flooded) awaitRead(client net.Conn) {
	f.t.Helper()
	err := testenv.Within(time.Minute, func() error {
		server := f.ln.last.Load()
		if server == nil {
			return fmt.Errorf("the connection is not accepted yet")
		}
		sent, err := queued(client.(*net.TCPConn), unix.SIOCOUTQ)
		if err != nil {
			return err
		}
		unread, err := queued(server, unix.SIOCINQ)
		if err == nil && sent+unread > 0 {
			err = fmt.Errorf("%d bytes are on their way, %d are not read", sent, unread)
		}
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// queued is how many bytes one of a connection's queues holds.
func queued(c syscall.Conn, queue int) (n int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	if failed := raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), uint(queue)) }); failed != nil {
		return 0, failed
	}
	return n, err
}

// TestShedPiecemeal has a request arrive up to the last byte but one of what its buffer holds. What comes then is a part of
// its header, and no request, though it looks like one.
func TestShedPiecemeal(t *testing.T) {
	f := openFlooded(t, 1)
	conn := f.dial()
	head := "GET /abcdefg HTTP/1.1\r\nX: "
	head += strings.Repeat("a", f.config.MaxHeaderBytes-1-len(head))
	for piece := range slices.Chunk([]byte(head), 4000) {
		if _, err := conn.Write(piece); err != nil {
			t.Fatal(err)
		}
		f.awaitRead(conn)
	}
	if _, err := io.WriteString(conn, plainGet); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	res := f.read(in, http.MethodGet)
	if res.StatusCode != http.StatusRequestHeaderFieldsTooLarge || !res.Close {
		t.Errorf("%s, Connection: close is %v; want 431 and the end", res.Status, res.Close)
	}
	if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
		t.Errorf("a second answer to one request: %q %v", rest, err)
	}
}
