package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/zeromicro/go-zero/core/logx"

	"github.com/linktrail/linktrail/apps/analytics-consumer/analyticsconsumer"
	"github.com/linktrail/linktrail/apps/analytics-rpc/analyticsrpc"
	"github.com/linktrail/linktrail/apps/linktrail/internal/up"
	"github.com/linktrail/linktrail/apps/url-api/urlapi"
)

// aService is what a service's package offers.
type aService struct {
	run   func(ctx context.Context, configFile string) error
	check func(configFile string) error
}

// serviceCommand runs one service in this process. `linktrail up` starts itself with it.
func (a *app) serviceCommand() *cobra.Command {
	var (
		config   string
		check    bool
		lifeline int
		linger   time.Duration
	)
	c := &cobra.Command{
		Use:    "service NAME --config FILE",
		Short:  "Run one service in this process",
		Hidden: true,
		Args:   oneArg("service"),
		RunE: func(_ *cobra.Command, args []string) error {
			service, ok := map[string]aService{
				up.URLAPI:            {urlapi.Run, urlapi.Check},
				up.AnalyticsRPC:      {analyticsrpc.Run, analyticsrpc.Check},
				up.AnalyticsConsumer: {analyticsconsumer.Run, analyticsconsumer.Check},
			}[args[0]]
			if !ok {
				return usagef("%q is not one of %s, %s, %s", args[0], up.URLAPI, up.AnalyticsRPC, up.AnalyticsConsumer)
			}
			if check {
				if err := service.check(config); err != nil {
					return usageError{err}
				}
				_, err := fmt.Fprintf(a.out, "%s: %s starts with it\n", config, args[0])
				return err
			}
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			if lifeline > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithCancel(ctx)
				defer cancel()
				go follow(os.NewFile(uintptr(lifeline), "lifeline"), linger, cancel)
			}
			err := service.run(ctx, config)
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		},
	}
	c.Flags().StringVar(&config, "config", "", "the service's YAML file")
	c.Flags().BoolVar(&check, "check", false, "only read the file and say what is wrong in it")
	c.Flags().IntVar(&lifeline, "lifeline", 0, "a descriptor at whose end the service ends")
	c.Flags().DurationVar(&linger, "linger", 30*time.Second, "how long the service may take to end then")
	_ = c.MarkFlagRequired("config")
	return c
}

// follow ends the service once its supervisor has died: gently, and after a while for good. It lives as long as the
// process.
func follow(rope *os.File, linger time.Duration, cancel context.CancelFunc) {
	// Our output was the supervisor's to read: writing to it must not kill us before we have finished.
	signal.Ignore(syscall.SIGPIPE)
	_, _ = io.Copy(io.Discard, rope)
	logx.Info("the supervisor has ended: stopping")
	cancel()
	time.Sleep(linger)
	os.Exit(ExitError)
}
