//go:build e2e

package controller_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
)

// broken is a client for which nothing can be applied, or no Service be read, while it is told so.
type broken struct {
	client.Client
	apply, services atomic.Bool
}

func (b *broken) Apply(ctx context.Context, object runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
	if b.apply.Load() {
		return errors.New("no room is left")
	}
	return b.Client.Apply(ctx, object, opts...)
}

func (b *broken) Get(ctx context.Context, key client.ObjectKey, object client.Object, opts ...client.GetOption) error {
	if _, ok := object.(*corev1.Service); ok && b.services.Load() {
		return errors.New("no answer")
	}
	return b.Client.Get(ctx, key, object, opts...)
}

// TestFailed has what was delivered be delivered no more when what is wanted now cannot be applied.
func TestFailed(t *testing.T) {
	h := MustEmptyHouse(t)
	api := new(broken)
	MustRun(t, h.account, h.namespace, func(mgr ctrl.Manager) error {
		api.Client = mgr.GetClient()
		r := telemetryReconciler(mgr, &h.clock)
		r.Client = api
		return r.SetupWithManager(mgr)
	})
	h.Deployment("url-api")
	h.Service("jaeger", 4317)
	h.Telemetry("default", func(s *v1alpha1.TelemetrySpec) {
		s.Exporter = v1alpha1.Exporter{ServiceRef: &v1alpha1.ServiceReference{Name: "jaeger", Port: intstr.FromInt32(4317)}}
	})
	ready := func() {
		t.Helper()
		for _, kind := range []string{
			v1alpha1.ConditionEndpointResolved, v1alpha1.ConditionConfigApplied, v1alpha1.ConditionDelivered, v1alpha1.ConditionReady,
		} {
			h.Condition("default", kind, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		}
	}
	ready()
	for name, test := range map[string]struct {
		broken *atomic.Bool
		false  []string
	}{
		"Err apply":   {&api.apply, nil},
		"Err resolve": {&api.services, []string{v1alpha1.ConditionEndpointResolved}},
	} {
		t.Run(name, func(t *testing.T) {
			test.broken.Store(true)
			h.Deployment("late-" + name[len("Err "):]) // the object itself has not changed
			for _, kind := range append(test.false, v1alpha1.ConditionConfigApplied, v1alpha1.ConditionDelivered, v1alpha1.ConditionReady, v1alpha1.ConditionStalled) {
				h.Condition("default", kind, metav1.ConditionFalse, v1alpha1.ReasonApplyFailed)
			}
			test.broken.Store(false)
			ready()
		})
	}
}

// Service makes a Service with a port.
func (h *house) Service(name string, port int32) *corev1.Service {
	h.t.Helper()
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: name}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: port}}},
	}
	must(h.t, api.Create(h.t.Context(), service))
	return service
}
