package urlapi

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/zeromicro/go-zero/core/logx"
	"github.com/zeromicro/go-zero/rest"
	gozero "github.com/zeromicro/go-zero/rest/handler"
	"github.com/zeromicro/go-zero/rest/router"

	"github.com/linktrail/linktrail/apps/url-api/internal/config"
	"github.com/linktrail/linktrail/apps/url-api/internal/console"
	"github.com/linktrail/linktrail/apps/url-api/internal/handler"
	"github.com/linktrail/linktrail/apps/url-api/internal/middleware"
	"github.com/linktrail/linktrail/apps/url-api/internal/svc"
)

// api is go-zero's REST server, routes and middlewares, on an http.Server of our own: go-zero's own start panics when
// the port is taken, ends with the process only, and keeps no connection longer than its 2.4 s read timeout.
type api struct {
	http     *http.Server
	certFile string
	keyFile  string
}

// maxHeader is the most bytes of a request's headers.
const maxHeader = 16 << 10

// newAPI binds the routes; the tracer provider must be installed by now, because go-zero's handlers keep the one that
// they find here.
func newAPI(c config.Config, svcCtx *svc.ServiceContext, trusted func(netip.Addr) bool) (*api, error) {
	h, err := newHandler(c, svcCtx, trusted)
	if err != nil {
		return nil, err
	}
	timeout := time.Duration(c.Timeout) * time.Millisecond
	return &api{certFile: c.CertFile, keyFile: c.KeyFile, http: &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		// go-zero's factors: a body must be in before the handler's time is over, the answer may take a little longer.
		ReadTimeout:    4 * timeout / 5,
		WriteTimeout:   11 * timeout / 10,
		IdleTimeout:    c.IdleTimeout,
		MaxHeaderBytes: maxHeader,
		ErrorLog:       log.New(logWriter{}, "", 0),
	}}, nil
}

func newHandler(c config.Config, svcCtx *svc.ServiceContext, trusted func(netip.Addr) bool) (http.Handler, error) {
	routes := router.NewRouter()
	// Its span has one name for all addresses; go-zero's own would have the caller's path.
	notFound := gozero.TraceHandler(c.Name, "not found")(http.HandlerFunc(middleware.NotFound))
	routes.SetNotFoundHandler(notFound)
	server, err := rest.NewServer(c.RestConf, rest.WithRouter(routes))
	if err != nil {
		return nil, err
	}
	handler.RegisterHandlers(server, svcCtx)
	server.AddRoute(rest.Route{Method: http.MethodGet, Path: "/openapi.json", Handler: handler.OpenAPIHandler()})
	page, err := console.Routes(c.Console)
	if err != nil {
		return nil, err
	}
	server.AddRoutes(page)
	bound, err := rest.NewServerless(server)
	if err != nil {
		return nil, err
	}
	// What go-zero must not see comes off first.
	return middleware.StripTraceContext(trusted, middleware.HideAuthorization(middleware.QuietPolls(
		middleware.Problems(middleware.OneAddress(notFound, middleware.Plain(http.HandlerFunc(bound.Serve))))))), nil
}

// serve answers what comes in on ln until shutdown, and then returns nil.
func (a *api) serve(ln net.Listener) error {
	var err error
	if a.certFile != "" {
		err = a.http.ServeTLS(ln, a.certFile, a.keyFile)
	} else {
		err = a.http.Serve(ln)
	}
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("API: %w", err)
	}
	return nil
}

// shutdown takes no further requests and waits for those in flight, at most until ctx ends; then they are cut off.
func (a *api) shutdown(ctx context.Context) error {
	if err := a.http.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("API: requests were cut off: %w", err), a.http.Close())
	}
	return nil
}

// listen takes a port; the error names the key.
func listen(key, addr string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return nil, fmt.Errorf("%s: cannot listen on %q: %w", key, addr, op.Err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: cannot listen on %q: %w", key, addr, err)
	}
	return ln, nil
}

func apiAddr(c config.Config) string { return net.JoinHostPort(c.Host, strconv.Itoa(c.Port)) }

// logWriter takes net/http's own lines, which tell of callers' faults.
type logWriter struct{}

func (logWriter) Write(line []byte) (int, error) {
	logx.Debug(strings.TrimSpace(string(line)))
	return len(line), nil
}
