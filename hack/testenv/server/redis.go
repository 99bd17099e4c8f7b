package server

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/linktrail/linktrail/hack/testenv"
)

func redis() definition {
	return definition{
		name:      "redis",
		variables: []string{testenv.EnvRedis},
		image:     "redis:7",
		packages:  []string{"redis-server"},
		missing:   func() string { return missingCommand("redis-server") },
		start:     startRedis,
	}
}

func startRedis(ctx context.Context, l *launch) (map[string]string, error) {
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	address := loopback(ports[0])
	memoryOnly := []string{"--save", "", "--appendonly", "no"}
	var cmd *exec.Cmd
	if l.container {
		cmd = docker(l.image, []string{address + ":6379"}, nil, append([]string{"redis-server"}, memoryOnly...)...)
	} else {
		args := []string{"--bind", "127.0.0.1", "--port", strconv.Itoa(ports[0]), "--dir", l.dir, "--set-proc-title", "no"}
		cmd = exec.Command("redis-server", append(args, memoryOnly...)...)
	}
	err = l.serve(ctx, cmd, syscall.SIGTERM, func(ctx context.Context) error { return ping(ctx, address) })
	return map[string]string{testenv.EnvRedis: address}, err
}

// ping asks the Redis for a PONG.
func ping(ctx context.Context, address string) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && strings.TrimSpace(answer) != "+PONG" {
		err = fmt.Errorf("PING: %q", answer)
	}
	return err
}
