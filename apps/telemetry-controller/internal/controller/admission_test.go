//go:build e2e

package controller_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
)

// TestAdmission has the controller's account try what a token of its could be misused for, with the chart's own policies.
func TestAdmission(t *testing.T) {
	h := MustEmptyHouse(t)
	account := h.client()
	pod := h.Pod("shop", "shop-1")
	deployment := h.Deployment("shop", shop)
	labels := map[string]string{"app": "shop"}
	statefulSet := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "shop"},
		Spec:       appsv1.StatefulSetSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: deployment.Spec.Template},
	}
	daemonSet := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "shop"},
		Spec:       appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: deployment.Spec.Template},
	}
	must(t, api.Create(t.Context(), statefulSet))
	must(t, api.Create(t.Context(), daemonSet))
	telemetry := h.Telemetry("default", nil)
	made := h.Owned("made", "telemetry-controller-default")
	other := h.Owned("other", "other")
	patch := func(object client.Object, patch string) error {
		object, ok := object.DeepCopyObject().(client.Object)
		if !ok {
			t.Fatalf("%T is no object", object)
		}
		kind := types.StrategicMergePatchType
		if _, ok := object.(*v1alpha1.Telemetry); ok {
			kind = types.MergePatchType
		}
		return account.Patch(t.Context(), object, client.RawPatch(kind, []byte(patch)), client.DryRunAll)
	}
	for _, object := range []client.Object{pod.Pod, telemetry, deployment} {
		h.Fenced(object)
	}

	const ofPod, ofTelemetry, ofWorkload = "nothing of a pod but", "nothing of a Telemetry but", "nothing of a workload but"
	template := func(patch string) string { return `{"spec":{"template":` + patch + `}}` }
	volume := func(source string) string {
		return template(`{"spec":{"volumes":[{"name":"telemetry-linktrail-io",` + source + `}]}}`)
	}
	mount := func(mount string) string {
		return template(`{"spec":{"volumes":[{"name":"telemetry-linktrail-io","projected":{"sources":[]}}],
			"containers":[{"name":"orders","volumeMounts":[{"name":"telemetry-linktrail-io",` + mount + `}]}]}}`)
	}
	for name, test := range map[string]struct {
		object client.Object
		patch  string
		by     string
	}{
		"pod's image":            {pod.Pod, `{"spec":{"containers":[{"name":"service","image":"other"}]}}`, ofPod},
		"pod's annotation":       {pod.Pod, `{"metadata":{"annotations":{"a":"b"}}}`, ofPod},
		"pod's finalizer":        {pod.Pod, `{"metadata":{"finalizers":["a.example.com/b"]}}`, ofPod},
		"pod's owner":            {pod.Pod, `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"a","uid":"b"}]}}`, ofPod},
		"Telemetry's spec":       {telemetry, `{"spec":{"exporter":{"endpoint":"other:4317"}}}`, ofTelemetry},
		"Telemetry's finalizer":  {telemetry, `{"metadata":{"finalizers":["a.example.com/b"]}}`, ofTelemetry},
		"Telemetry's annotation": {telemetry, `{"metadata":{"annotations":{"a":"b"}}}`, ofTelemetry},
		"spec of a Telemetry that another ConfigMap owns": {other, `{"spec":{"exporter":{"endpoint":"other:4317"}}}`, ofTelemetry},
		"default Telemetry's finalizer":                   {made, `{"metadata":{"finalizers":["a.example.com/b"]}}`, ofTelemetry},
		"default Telemetry's owner":                       {made, `{"metadata":{"ownerReferences":null}}`, ofTelemetry},
		"Deployment's replicas":                           {deployment, `{"spec":{"replicas":0}}`, ofWorkload},
		"Deployment's strategy":                           {deployment, `{"spec":{"strategy":{"type":"Recreate","rollingUpdate":null}}}`, ofWorkload},
		"Deployment's pause":                              {deployment, `{"spec":{"paused":true}}`, ofWorkload},
		"Deployment's annotation":                         {deployment, `{"metadata":{"annotations":{"a":"b"}}}`, ofWorkload},
		"Deployment's finalizer":                          {deployment, `{"metadata":{"finalizers":["a.example.com/b"]}}`, ofWorkload},
		"image":                                           {deployment, template(`{"spec":{"containers":[{"name":"orders","image":"other"}]}}`), ofWorkload},
		"image of a StatefulSet":                          {statefulSet, template(`{"spec":{"containers":[{"name":"orders","image":"other"}]}}`), ofWorkload},
		"image of a DaemonSet":                            {daemonSet, template(`{"spec":{"containers":[{"name":"orders","image":"other"}]}}`), ofWorkload},
		"StatefulSet's replicas":                          {statefulSet, `{"spec":{"replicas":0}}`, ofWorkload},
		"DaemonSet's strategy":                            {daemonSet, `{"spec":{"updateStrategy":{"type":"OnDelete","rollingUpdate":null}}}`, ofWorkload},
		"environment":                                     {deployment, template(`{"spec":{"containers":[{"name":"orders","env":[{"name":"A","value":"b"}]}]}}`), ofWorkload},
		"one more container":                              {deployment, template(`{"spec":{"containers":[{"name":"other","image":"other"}]}}`), ofWorkload},
		"one container less":                              {deployment, template(`{"spec":{"containers":[{"name":"proxy","$patch":"delete"}]}}`), ofWorkload},
		"an init container":                               {deployment, template(`{"spec":{"initContainers":[{"name":"other","image":"other"}]}}`), ofWorkload},
		"account":                                         {deployment, template(`{"spec":{"serviceAccountName":"other"}}`), ofWorkload},
		"the host's network":                              {deployment, template(`{"spec":{"hostNetwork":true}}`), ofWorkload},
		"template's label":                                {deployment, template(`{"metadata":{"labels":{"a":"b"}}}`), ofWorkload},
		"template's annotation":                           {deployment, template(`{"metadata":{"annotations":{"a":"b"}}}`), ofWorkload},
		"template's own annotation":                       {deployment, template(`{"metadata":{"annotations":{"example.com/its":null}}}`), ofWorkload},
		"another volume":                                  {deployment, template(`{"spec":{"volumes":[{"name":"other","secret":{"secretName":"other"}}]}}`), ofWorkload},
		"a volume less":                                   {deployment, template(`{"spec":{"volumes":[{"name":"its","$patch":"delete"}],"containers":[{"name":"orders","volumeMounts":[{"mountPath":"/its","$patch":"delete"}]},{"name":"proxy","volumeMounts":[{"mountPath":"/etc/linktrail/telemetry","$patch":"delete"}]}]}}`), ofWorkload},
		"another Secret":                                  {deployment, volume(`"projected":{"sources":[{"secret":{"name":"other"}}]}`), ofWorkload},
		"another ConfigMap":                               {deployment, volume(`"projected":{"sources":[{"configMap":{"name":"other"}}]}`), ofWorkload},
		"a token":                                         {deployment, volume(`"projected":{"sources":[{"serviceAccountToken":{"path":"token"}}]}`), ofWorkload},
		"the host's files":                                {deployment, volume(`"hostPath":{"path":"/"}`), ofWorkload},
		"a mount elsewhere":                               {deployment, mount(`"mountPath":"/bin"`), ofWorkload},
		"a mount that can be written":                     {deployment, mount(`"mountPath":"/etc/linktrail/telemetry"`), ofWorkload},
		"a mount of a part":                               {deployment, mount(`"mountPath":"/etc/linktrail/telemetry","readOnly":true,"subPath":"a"`), ofWorkload},
		"another mount":                                   {deployment, template(`{"spec":{"containers":[{"name":"orders","volumeMounts":[{"name":"its","mountPath":"/bin"}]}]}}`), ofWorkload},
	} {
		t.Run("Err "+name, func(t *testing.T) {
			must(t, refused(patch(test.object, test.patch), test.by))
		})
	}

	t.Run("Err what RBAC refuses", func(t *testing.T) {
		for name, err := range map[string]error{
			"update of the status": account.Status().Update(t.Context(), telemetry.DeepCopy(), client.DryRunAll),
			"an object less":       account.Delete(t.Context(), telemetry.DeepCopy(), client.DryRunAll),
			"a pod less":           account.Delete(t.Context(), pod.DeepCopy(), client.DryRunAll),
			"a workload less":      account.Delete(t.Context(), deployment.DeepCopy(), client.DryRunAll),
			"update of a workload": account.Update(t.Context(), deployment.DeepCopy(), client.DryRunAll),
			"scale": account.SubResource("scale").Patch(t.Context(), deployment.DeepCopy(),
				client.RawPatch(types.MergePatchType, []byte(`{"spec":{"replicas":0}}`)), client.DryRunAll),
			"Secrets elsewhere": account.List(t.Context(), new(corev1.SecretList), client.InNamespace("kube-system")),
		} {
			if err := refused(err, "cannot"); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})

	t.Run("OK all that it does itself", func(t *testing.T) {
		must(t, patch(pod.DeepCopy(), `{"metadata":{"annotations":{"telemetry.linktrail.io/overlay":"x"}}}`))
		must(t, patch(made, `{"metadata":{"annotations":{"a":"b"},"labels":{"a":"b"}},"spec":{"exporter":{"endpoint":"other:4317"}}}`))
		for _, object := range []*v1alpha1.Telemetry{made, other} {
			must(t, api.Delete(t.Context(), object))
		}
		h.Change("default", injection)
		h.start()
		before := deployment.Spec.Template
		h.Mounted("shop", true)
		h.Stamped("shop")
		h.Rolled("shop")
		must(t, api.Delete(t.Context(), telemetry))
		h.Gone("default", new(v1alpha1.Telemetry))
		after := h.Template("shop")
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("-before +after\n%s", diff)
		}
	})
}

// Owned makes an object whose owner is a ConfigMap. It selects nothing.
func (h *house) Owned(name, by string) *v1alpha1.Telemetry {
	h.t.Helper()
	yes := true
	object := &v1alpha1.Telemetry{
		ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: name, OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "v1", Kind: "ConfigMap", Name: by, UID: "its", Controller: &yes},
		}},
		Spec: v1alpha1.TelemetrySpec{Exporter: v1alpha1.Exporter{Endpoint: "jaeger:4317"}},
	}
	must(h.t, api.Create(h.t.Context(), object))
	return object
}

// Fenced waits until the API server has the policy of an object's kind.
func (h *house) Fenced(object client.Object) {
	h.t.Helper()
	account := h.client()
	eventually(h.t, func() error {
		object, _ := object.DeepCopyObject().(client.Object)
		patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`))
		return refused(account.Patch(h.t.Context(), object, patch, client.DryRunAll), "this changes its labels")
	})
}

// refused returns nil for an error of the API server's that says by what something is forbidden.
func refused(err error, by string) error {
	if err == nil || !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), by) {
		return fmt.Errorf("the error is %w, want one with %q", err, by)
	}
	return nil
}
