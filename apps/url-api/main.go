// Command url-api redirects visitors at its front door and serves the link API behind the other.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/linktrail/linktrail/apps/url-api/urlapi"
)

func main() {
	file := flag.String("f", "etc/url-api.yaml", "the config file")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := urlapi.Run(ctx, *file); err != nil {
		fmt.Fprintln(os.Stderr, "url-api:", err)
		os.Exit(1)
	}
}
