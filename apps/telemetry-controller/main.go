// Command telemetry-controller tells the workloads of a cluster where to send their spans, as Telemetry objects want it.
package main

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
	"github.com/linktrail/linktrail/apps/telemetry-controller/internal/controller"
)

func main() {
	collectSooner()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "telemetry-controller:", err)
		os.Exit(1)
	}
}

func run() error {
	namespace := flag.String("namespace", "", "the one `namespace` to serve; all without it")
	metrics := flag.String("metrics-bind-address", ":8443", "where metrics are served, over TLS; 0 serves none")
	authenticate := flag.Bool("metrics-authentication", true, "serve metrics to those alone whom the API server allows to get /metrics")
	probes := flag.String("health-probe-bind-address", ":8083", "where /healthz and /readyz are served")
	elect := flag.Bool("leader-elect", true, "act only while no other replica does")
	electIn := flag.String("leader-election-namespace", "", "the `namespace` of the lease; the pod's own without it")
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
	options := server.Options{BindAddress: *metrics, SecureServing: true}
	if *authenticate {
		options.FilterProvider = filters.WithAuthenticationAndAuthorization
	}
	mgr, err := ctrl.NewManager(ctrl.GetConfigOrDie(), ctrl.Options{
		Scheme:                        scheme,
		Cache:                         controller.CacheOptions(*namespace),
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
		Client: mgr.GetClient(),
		Direct: mgr.GetAPIReader(),
		Events: mgr.GetEventRecorder("telemetry-controller"),
		Pods:   controller.OpsListeners{Client: &http.Client{}},
		Now:    time.Now,
	}
	if err := reconciler.SetupWithManager(mgr); err != nil {
		return err
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	if err := mgr.AddReadyzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	return mgr.Start(ctrl.SetupSignalHandler())
}
