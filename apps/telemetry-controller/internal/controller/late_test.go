//go:build e2e

package controller_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
	"github.com/linktrail/linktrail/apps/telemetry-controller/internal/controller"
)

// TestLateDefinition starts the controller on an API server that does not know Telemetry objects yet.
func TestLateDefinition(t *testing.T) {
	environment := &envtest.Environment{ControlPlaneStartTimeout: 3 * time.Minute, ControlPlaneStopTimeout: time.Minute}
	host, err := environment.Start()
	must(t, err)
	t.Cleanup(func() { must(t, environment.Stop()) })
	api, err := client.New(host, client.Options{Scheme: scheme})
	must(t, err)
	must(t, api.Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "telemetry-controller-default"},
		Data:       map[string]string{controller.DefaultKey: manifest("0.25")},
	}))
	mgr := MustRun(t, host, "default", func(mgr ctrl.Manager) error {
		if err := telemetryReconciler(mgr, new(now)).SetupWithManager(mgr); err != nil {
			return err
		}
		return defaultReconciler(mgr, "default").SetupWithManager(mgr)
	})
	<-mgr.Elected() // controllers start now
	served := controller.Served(mgr.GetRESTMapper())
	if err := served(nil); err == nil {
		t.Error("it says that it is ready")
	}

	_, err = envtest.InstallCRDs(host, envtest.CRDInstallOptions{Paths: []string{definitions}, ErrorIfPathMissing: true, MaxTime: time.Minute})
	must(t, err)
	eventually(t, func() error { return served(nil) })
	eventually(t, func() error {
		var object v1alpha1.Telemetry
		return api.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "default"}, &object)
	})
}
