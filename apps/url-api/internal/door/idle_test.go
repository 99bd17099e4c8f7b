package door_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/linktrail/linktrail/apps/url-api/internal/door"
	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/linkcache"
)

// doorProcess is set to the idle timeout in a process which TestMain makes a door: a door and 10,000 callers in one
// process would be 20,000 files, and their memory could not be told apart.
const doorProcess = "LINKTRAIL_TEST_DOOR_PROCESS"

func TestMain(m *testing.M) {
	if idle := os.Getenv(doorProcess); idle != "" {
		if err := serveProcess(idle); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// discard takes clicks and keeps none.
type discard struct{}

func (discard) Publish(context.Context, click.Click) {}
func (discard) Close(context.Context) error          { return nil }

// memory is what a door's process uses, in bytes.
type memory struct{ Heap, Stacks, RSS int64 }

// serveProcess prints its address, then its memory for each line it reads, and stops at the end of its input.
func serveProcess(idle string) error {
	timeout, err := time.ParseDuration(idle)
	if err != nil {
		return err
	}
	links := linkcache.New(linkcache.Config{}, &store{links: testLinks()}, nil, linkcache.WithClock(func() time.Time { return start }))
	defer links.Close()
	d, err := door.New(door.Config{IdleTimeout: timeout}, door.Deps{
		Links: links, Clicks: discard{}, Registry: prometheus.NewRegistry(),
		Tracers: sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample())),
		Now:     func() time.Time { return start },
	})
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- d.Serve(ln) }()
	fmt.Println(ln.Addr())
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		m, err := measure()
		if err != nil {
			return err
		}
		if err := json.NewEncoder(os.Stdout).Encode(m); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := d.Shutdown(ctx); err != nil {
		return err
	}
	return <-served
}

func measure() (memory, error) {
	for range 3 { // pools are emptied by the second collection
		runtime.GC()
	}
	debug.FreeOSMemory()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return memory{}, err
	}
	pages, err := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
	if err != nil {
		return memory{}, err
	}
	return memory{Heap: int64(stats.HeapAlloc), Stacks: int64(stats.StackInuse), RSS: pages * int64(os.Getpagesize())}, nil
}

// process is a door in a process of its own.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	addr string
}

func startProcess(t *testing.T, idle time.Duration) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(exe)}
	p.cmd.Env = append(os.Environ(), doorProcess+"="+idle.String())
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill(); _, _ = p.cmd.Process.Wait() }) // no more than a net, should the test fail
	p.addr = strings.TrimSpace(p.line())
	return p
}

func (p *process) line() string {
	p.t.Helper()
	line, err := p.out.ReadString('\n')
	if err != nil {
		p.t.Fatalf("the door's process: %v", err)
	}
	return line
}

func (p *process) memory() (m memory) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, "\n"); err != nil {
		p.t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(p.line()), &m); err != nil {
		p.t.Fatal(err)
	}
	return m
}

func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

const idleConns = 10_000

// maxIdleBytes is the most that docs/operations.md says an idle connection takes in memory.
const maxIdleBytes = 16 << 10

func TestIdleConnections(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur < idleConns+500 {
		t.Fatalf("this test opens %d connections and may have only %d open files: raise ulimit -n to %d", idleConns, limit.Cur, idleConns+500)
	}

	t.Run("OK 10,000 of them cost little, and a new one is answered", func(t *testing.T) {
		p := startProcess(t, 10*time.Minute)
		before := p.memory()
		conns := p.connect(idleConns)
		after := p.memory()
		heap, stacks, rss := (after.Heap-before.Heap)/idleConns, (after.Stacks-before.Stacks)/idleConns, (after.RSS-before.RSS)/idleConns
		t.Logf("an idle connection: %d bytes of heap, %d of stacks, %d of resident memory", heap, stacks, rss)
		if heap+stacks > maxIdleBytes || rss > maxIdleBytes && !raceDetector() { // which has memory of its own
			t.Errorf("more than %d bytes", maxIdleBytes)
		}
		began := time.Now()
		for _, c := range p.connect(100) {
			_ = c.Close()
		}
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("100 further connections took %v", took)
		}
		for _, c := range []net.Conn{conns[0], conns[idleConns/2], conns[idleConns-1]} {
			if err := follow(c); err != nil {
				t.Errorf("a connection that was idle: %v", err)
			}
		}
		_ = p.in.Close() // Shutdown
		ended(t, conns)
		if err := p.cmd.Wait(); err != nil {
			t.Errorf("the door's process: %v", err)
		}
	})

	t.Run("OK they end at IdleTimeout", func(t *testing.T) {
		p := startProcess(t, time.Second)
		began := time.Now()
		ended(t, p.connect(1000))
		if took := time.Since(began); took < time.Second {
			t.Errorf("they ended after %v", took)
		}
		_ = p.in.Close()
		if err := p.cmd.Wait(); err != nil {
			t.Errorf("the door's process: %v", err)
		}
	})
}

// connect opens n connections and has one request answered on each. They are closed at the end of the test.
func (p *process) connect(n int) []net.Conn {
	p.t.Helper()
	conns, errs := make([]net.Conn, n), make(chan error, n)
	var wg sync.WaitGroup
	next := make(chan int)
	for range 16 {
		wg.Go(func() {
			for i := range next {
				c, err := net.Dial("tcp", p.addr)
				if err == nil {
					conns[i], err = c, follow(c)
				}
				if err != nil {
					errs <- err
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	p.t.Cleanup(func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	})
	select {
	case err := <-errs:
		p.t.Fatal(err)
	default:
	}
	return conns
}

func follow(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, "GET /found HTTP/1.1\r\nHost: s.example\r\nUser-Agent: "+strings.Repeat("a", 150)+"\r\nAccept: */*\r\n\r\n"); err != nil {
		return err
	}
	res, err := http.ReadResponse(bufio.NewReaderSize(c, 1024), nil)
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusFound {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	return nil
}

// ended waits until the other side has ended all connections.
func ended(t *testing.T, conns []net.Conn) {
	t.Helper()
	for i, c := range conns {
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
		if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Fatalf("connection %d of %d: %d bytes, %v; want its end", i, len(conns), n, err)
		}
	}
}
