// Command orders is a REST server as a go-zero team has one: it uses nothing of linktrail. On a cluster it shows what a
// Telemetry object does for such a service (docs/telemetry.md).
//
//	go run ./hack/orders -f hack/orders/etc/orders.yaml
package main

import (
	"errors"
	"flag"
	"io/fs"
	"net/http"
	"path/filepath"

	"github.com/zeromicro/go-zero/core/conf"
	"github.com/zeromicro/go-zero/core/logx"
	"github.com/zeromicro/go-zero/core/trace"
	"github.com/zeromicro/go-zero/rest"
	"github.com/zeromicro/go-zero/rest/httpx"
	"github.com/zeromicro/go-zero/rest/pathvar"
)

func main() {
	file := flag.String("f", "etc/orders.yaml", "the config `file`")
	overlay := flag.String("overlay", "/etc/linktrail/telemetry", "the `folder` whose telemetry.yaml wins over the config file, where there is one")
	flag.Parse()

	var c rest.RestConf
	conf.MustLoad(*file, &c)
	var err error
	c.Telemetry, err = overlaid(c.Telemetry, *overlay)
	logx.Must(err)

	server := rest.MustNewServer(c)
	defer server.Stop()
	server.AddRoute(rest.Route{Method: http.MethodGet, Path: "/orders/:id", Handler: func(w http.ResponseWriter, r *http.Request) {
		httpx.OkJsonCtx(r.Context(), w, map[string]string{"id": pathvar.Vars(r)["id"], "state": "shipped"})
	}})
	server.Start()
}

// overlaid returns the block of telemetry.yaml, with the headers of headers.yaml, or own without the former. It is all
// that makes a go-zero service follow a Telemetry object, at its next start.
func overlaid(own trace.Config, folder string) (trace.Config, error) {
	var public struct{ Telemetry trace.Config }
	if err := conf.Load(filepath.Join(folder, "telemetry.yaml"), &public); errors.Is(err, fs.ErrNotExist) {
		return own, nil
	} else if err != nil {
		return own, err
	}
	public.Telemetry.Name = own.Name
	var secret struct{ Telemetry trace.Config }
	if err := conf.Load(filepath.Join(folder, "headers.yaml"), &secret); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return own, err
	}
	public.Telemetry.OtlpHeaders = secret.Telemetry.OtlpHeaders
	return public.Telemetry, nil
}
