// Command analytics-rpc answers questions about clicks over zRPC.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/linktrail/linktrail/apps/analytics-rpc/analyticsrpc"
)

func main() {
	file := flag.String("f", "etc/analytics-rpc.yaml", "the config file")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := analyticsrpc.Run(ctx, *file); err != nil {
		fmt.Fprintln(os.Stderr, "analytics-rpc:", err)
		os.Exit(1)
	}
}
