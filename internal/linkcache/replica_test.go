package linkcache_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/linkcache"
)

// TestMain runs the test binary as a second replica when a test has started it so.
func TestMain(m *testing.M) {
	if dir := os.Getenv("LINKCACHE_REPLICA"); dir != "" {
		if err := replica(dir, os.Getenv("LINKCACHE_REDIS"), os.Getenv("LINKCACHE_NAME")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// files is a store of files that both processes read: a target by code.
type files string

func (dir files) LinkByCode(_ context.Context, code string) (link.Link, error) {
	target, err := os.ReadFile(filepath.Join(string(dir), code))
	if err != nil {
		return link.Link{}, link.NotFound(code)
	}
	return testLink(1, code, string(target)), nil
}

func (dir files) put(t *testing.T, code, target string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(string(dir), code), []byte(target), 0o600); err != nil {
		t.Fatal(err)
	}
}

// replicaConfig keeps everything for an hour: what is forgotten sooner was announced.
func replicaConfig(name string) linkcache.Config {
	return linkcache.Config{
		TTL: time.Hour, NegativeTTL: time.Hour, KeyPrefix: name, Channel: name + "forget", RedisTimeout: 2 * time.Second,
	}
}

// replica answers "get CODE" with the target or "none", and "forget CODE" with "done", until its input ends.
func replica(dir, redisAddr, name string) error {
	rdb, err := linkcache.OpenRedis(linkcache.RedisConfig{Addrs: []string{redisAddr}})
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()
	registry := prometheus.NewRegistry()
	c := linkcache.New(replicaConfig(name), files(dir), rdb, linkcache.WithRegisterer(registry))
	defer c.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = c.Run(ctx) }()
	defer func() { cancel(); <-done }()

	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		verb, code, _ := strings.Cut(input.Text(), " ")
		switch verb {
		case "following":
			families, err := registry.Gather()
			if err != nil {
				return err
			}
			for _, f := range families {
				if f.GetName() == "linktrail_link_channel_followed" {
					fmt.Println(f.GetMetric()[0].GetGauge().GetValue())
				}
			}
		case "get":
			l, err := c.Lookup(ctx, code)
			if err != nil {
				fmt.Println("none")
				continue
			}
			fmt.Println(l.URL)
		case "forget":
			if err := c.Forget(ctx, code); err != nil {
				return err
			}
			fmt.Println("done")
		}
	}
	return input.Err()
}

// process is a replica in a process of its own.
type process struct {
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Scanner
}

func startReplica(t *testing.T, dir files, redisAddr, name string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LINKCACHE_REPLICA="+string(dir), "LINKCACHE_REDIS="+redisAddr, "LINKCACHE_NAME="+name)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("replica: %v", err)
		}
	})
	p := &process{t: t, in: in, out: bufio.NewScanner(out)}
	eventually(t, "the replica follows the channel", func() bool { return p.ask("following") == "1" })
	return p
}

func (p *process) ask(line string) string {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.in, line); err != nil {
		p.t.Fatalf("replica: %v", err)
	}
	if !p.out.Scan() {
		p.t.Fatalf("replica ended: %v", p.out.Err())
	}
	return p.out.Text()
}

func TestTwoProcesses(t *testing.T) {
	redisAddr := testenv.Redis(t)
	dir := files(t.TempDir())
	name := fmt.Sprintf("test:processes:%d:", time.Now().UnixNano())
	a, b := startReplica(t, dir, redisAddr, name), startReplica(t, dir, redisAddr, name)

	expect := func(what string, p *process, want string) {
		t.Helper()
		if got := p.ask("get code"); got != want {
			t.Fatalf("%s: %s, want %s", what, got, want)
		}
	}
	expect("before the link is made, a", a, "none")
	expect("before the link is made, b", b, "none")
	dir.put(t, "code", "https://example.org/1")
	expect("made but not announced", b, "none")
	if got := a.ask("forget code"); got != "done" {
		t.Fatal(got)
	}
	for i := 1; i <= 20; i++ {
		changer, other := b, a // a has announced the first
		if i%2 == 0 {
			changer, other = a, b
		}
		old, want := fmt.Sprintf("https://example.org/%d", i), fmt.Sprintf("https://example.org/%d", i+1)
		// The one that is about to change the link is the one that was told of the change before.
		eventually(t, "the other process has heard of the change", func() bool { return changer.ask("get code") == old })
		expect("the process which changed it", other, old)
		dir.put(t, "code", want)
		if got := changer.ask("forget code"); got != "done" {
			t.Fatal(got)
		}
		expect("who announced it", changer, want)
	}
}
