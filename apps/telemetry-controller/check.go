package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/linktrail/linktrail/apps/telemetry-controller/internal/controller"
)

// checkTime is how long a check may take: a Service may need a moment.
const checkTime = 30 * time.Second

// check is what `helm test` runs beside the controller: the API server must serve Telemetry objects, and an address must
// answer over TLS, be it that who asks is not let in.
func check(ctx context.Context, host *rest.Config, metrics string) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	api, err := rest.HTTPClientFor(host)
	if err != nil {
		return err
	}
	mapper, err := apiutil.NewDynamicRESTMapper(host, api)
	if err != nil {
		return err
	}
	served := controller.Served(mapper)
	if err := until(ctx, func() error { return served(nil) }); err != nil {
		return err
	}
	fmt.Println("ok: the API server serves Telemetry objects")

	// Each pod makes its certificate itself.
	client := http.Client{Timeout: checkTime, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // see above
	return until(ctx, func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, metrics, nil)
		if err != nil {
			return err
		}
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		_ = res.Body.Close()
		switch res.StatusCode {
		case http.StatusOK, http.StatusUnauthorized, http.StatusForbidden:
			fmt.Println("ok: metrics answer over TLS:", res.Status)
			return nil
		}
		return fmt.Errorf("%s: %s", metrics, res.Status)
	})
}

// until tries until there is no error, or returns the last one when ctx has ended.
func until(ctx context.Context, try func() error) error {
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Second):
		}
	}
}
