// Command telemetry-controller tells the workloads of a cluster where to send their spans, as Telemetry objects want it.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/zeromicro/go-zero/core/proc"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	crmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
	"github.com/linktrail/linktrail/apps/telemetry-controller/internal/controller"
	"github.com/linktrail/linktrail/internal/telemetry"
)

// patience is how long the CRD, which may come after the controller, is waited for. Then the process ends and is started
// anew: late enough that the kubelet does so at once.
const patience = 10 * time.Minute

// flushTime is how long spans may take to leave at the end.
const flushTime = 5 * time.Second

func main() {
	collectSooner()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "telemetry-controller:", err)
		os.Exit(1)
	}
}

func run() error {
	// go-zero, whose log internal/telemetry uses, would end the process on its own 5.5 s after a signal.
	proc.Setup(proc.ShutdownConf{WrapUpTime: time.Hour, WaitTime: 2 * time.Hour})

	namespace := flag.String("namespace", "", "the one `namespace` to serve; all without it")
	metrics := flag.String("metrics-bind-address", ":8443", "where metrics are served, over TLS; 0 serves none")
	authenticate := flag.Bool("metrics-authentication", true, "serve metrics to those alone whom the API server allows to get /metrics")
	probes := flag.String("health-probe-bind-address", ":8083", "where /healthz and /readyz are served")
	elect := flag.Bool("leader-elect", true, "act only while no other replica does")
	electIn := flag.String("leader-election-namespace", "", "the `namespace` of the lease; the pod's own without it")
	defaultFrom := flag.String("default", "", "the ConfigMap, as `namespace/name`, of a Telemetry object to make, which is its key "+controller.DefaultKey)
	overlay := flag.String("telemetry-overlay", "", "the `folder` that says where the controller's own spans go, as the services' do; none without it")
	checks := flag.String("check", "", "do not serve: ask the API server for Telemetry objects and this `URL` for metrics, and say what is wrong")
	logging := zap.Options{}
	logging.BindFlags(flag.CommandLine)
	flag.Parse()
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&logging)))

	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return err
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return err
	}
	host, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	if *checks != "" {
		return check(context.Background(), host, *checks)
	}
	if *overlay != "" {
		flush, err := trace(*overlay)
		if err != nil {
			return err
		}
		defer flush()
		host.Wrap(controller.TraceWrites)
	}
	options := server.Options{BindAddress: *metrics, SecureServing: true}
	if *authenticate {
		options.FilterProvider = filters.WithAuthenticationAndAuthorization
	}
	mgr, err := ctrl.NewManager(host, ctrl.Options{
		Scheme:                        scheme,
		Cache:                         controller.CacheOptions(*namespace),
		Controller:                    config.Controller{CacheSyncTimeout: patience},
		Metrics:                       options,
		HealthProbeBindAddress:        *probes,
		LeaderElection:                *elect,
		LeaderElectionID:              "telemetry-controller.linktrail.io",
		LeaderElectionNamespace:       *electIn,
		LeaderElectionReleaseOnCancel: true, // main ends with the manager
	})
	if err != nil {
		return err
	}
	reconciler := &controller.TelemetryReconciler{
		Client:    mgr.GetClient(),
		Direct:    mgr.GetAPIReader(),
		Events:    mgr.GetEventRecorder("telemetry-controller"),
		Pods:      controller.OpsListeners{Client: &http.Client{}},
		Now:       time.Now,
		Namespace: *namespace,
	}
	if err := reconciler.SetupWithManager(mgr); err != nil {
		return err
	}
	if *defaultFrom != "" {
		in, name, ok := strings.Cut(*defaultFrom, "/")
		if !ok || *namespace != "" && in != *namespace {
			return fmt.Errorf("--default=%s: must be namespace/name, in the namespace that is served", *defaultFrom)
		}
		reconciler := &controller.DefaultReconciler{
			Client:    mgr.GetClient(),
			Events:    mgr.GetEventRecorder("telemetry-controller"),
			ConfigMap: types.NamespacedName{Namespace: in, Name: name},
		}
		if err := reconciler.SetupWithManager(mgr); err != nil {
			return err
		}
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	if err := mgr.AddReadyzCheck("served", controller.Served(mgr.GetRESTMapper())); err != nil {
		return err
	}
	return mgr.Start(ctrl.SetupSignalHandler())
}

// trace has the controller's own spans go where a folder says, and returns how to send the last of them.
func trace(overlay string) (flush func(), err error) {
	block := telemetry.Default()
	block.Name = "telemetry-controller"
	provider, err := telemetry.Start(block, telemetry.WithOverlay(overlay))
	if err != nil {
		return nil, err
	}
	provider.Register(crmetrics.Registry)
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), flushTime)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			ctrl.Log.Error(err, "spans were lost")
		}
	}, nil
}
