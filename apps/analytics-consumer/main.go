// Command analytics-consumer writes the clicks of the click stream to the store.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/linktrail/linktrail/apps/analytics-consumer/analyticsconsumer"
)

func main() {
	file := flag.String("f", "etc/analytics-consumer.yaml", "the config file")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := analyticsconsumer.Run(ctx, *file); err != nil {
		fmt.Fprintln(os.Stderr, "analytics-consumer:", err)
		os.Exit(1)
	}
}
