package controller

import (
	"context"
	"fmt"
	"net"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
	"github.com/linktrail/linktrail/apps/telemetry-controller/internal/render"
)

// resolve returns what an overlay is made of, with the ratio that is no override, and has seen that it can be: the references of
// the exporter are looked up. The status says where spans go.
func (r *TelemetryReconciler) resolve(ctx context.Context, t *v1alpha1.Telemetry) (render.Input, error) {
	in := render.Input{Exporter: t.Spec.Exporter, Ratio: t.Spec.Sampling.Ratio}
	var err error
	if in.Endpoint, err = r.endpoint(ctx, t); err != nil {
		setCondition(t, v1alpha1.ConditionEndpointResolved, metav1.ConditionFalse, v1alpha1.ReasonApplyFailed, err.Error())
		return in, err
	}
	t.Status.Endpoint = in.Endpoint
	setCondition(t, v1alpha1.ConditionEndpointResolved, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "spans go to "+in.Endpoint)
	if from := t.Spec.Exporter.CAFrom; from != nil {
		if in.CA, err = r.key(ctx, t.Namespace, from); err != nil {
			return in, err
		}
	}
	if from := t.Spec.Exporter.HeadersFrom; from != nil {
		secret, err := r.secret(ctx, t.Namespace, from.SecretRef.Name)
		if err != nil {
			return in, err
		}
		in.Headers = secret.Data
	}
	if _, err := render.Render(in); err != nil {
		return in, userError{v1alpha1.ConditionConfigApplied, v1alpha1.ReasonInvalidReference, err}
	}
	return in, nil
}

// endpoint returns where spans go.
func (r *TelemetryReconciler) endpoint(ctx context.Context, t *v1alpha1.Telemetry) (string, error) {
	ref := t.Spec.Exporter.ServiceRef
	if ref == nil {
		return t.Spec.Exporter.Endpoint, nil
	}
	name := types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}
	if name.Namespace == "" {
		name.Namespace = t.Namespace
	}
	if r.Namespace != "" && name.Namespace != r.Namespace {
		return "", userError{v1alpha1.ConditionEndpointResolved, v1alpha1.ReasonNamespaceNotServed, fmt.Errorf("Service %s is in another namespace than the one that the controller serves: give its address as endpoint, or install the controller with scope: Cluster", name)}
	}
	var service corev1.Service
	if err := r.Get(ctx, name, &service); err != nil {
		if apierrors.IsNotFound(err) {
			return "", userError{v1alpha1.ConditionEndpointResolved, v1alpha1.ReasonServiceNotFound, fmt.Errorf("there is no Service %s", name)}
		}
		return "", err
	}
	for _, port := range service.Spec.Ports {
		if ref.Port.Type == intstr.Int && port.Port == ref.Port.IntVal || ref.Port.Type == intstr.String && port.Name == ref.Port.StrVal {
			return net.JoinHostPort(name.Name+"."+name.Namespace+".svc", strconv.Itoa(int(port.Port))), nil
		}
	}
	return "", userError{v1alpha1.ConditionEndpointResolved, v1alpha1.ReasonPortNotFound, fmt.Errorf("Service %s has no port %s", name, ref.Port.String())}
}

// key returns the value of a key of a ConfigMap or a Secret.
func (r *TelemetryReconciler) key(ctx context.Context, namespace string, from *v1alpha1.KeySource) ([]byte, error) {
	kind, ref := "ConfigMap", from.ConfigMapKeyRef
	var value []byte
	var ok bool
	if ref != nil {
		var object corev1.ConfigMap
		if err := r.reference(ctx, namespace, kind, ref.Name, &object); err != nil {
			return nil, err
		}
		var text string
		if text, ok = object.Data[ref.Key]; ok {
			value = []byte(text)
		} else {
			value, ok = object.BinaryData[ref.Key]
		}
	} else {
		kind, ref = "Secret", from.SecretKeyRef
		secret, err := r.secret(ctx, namespace, ref.Name)
		if err != nil {
			return nil, err
		}
		value, ok = secret.Data[ref.Key]
	}
	if !ok {
		return nil, userError{v1alpha1.ConditionConfigApplied, v1alpha1.ReasonReferenceNotFound, fmt.Errorf("%s %s has no key %q", kind, ref.Name, ref.Key)}
	}
	return value, nil
}

func (r *TelemetryReconciler) secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	var secret corev1.Secret
	return &secret, r.reference(ctx, namespace, "Secret", name, &secret)
}

// reference reads an object that is referred to. It is not cached: the cache holds only what is ours.
func (r *TelemetryReconciler) reference(ctx context.Context, namespace, kind, name string, object client.Object) error {
	err := r.Direct.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, object)
	if apierrors.IsNotFound(err) {
		return userError{v1alpha1.ConditionConfigApplied, v1alpha1.ReasonReferenceNotFound, fmt.Errorf("there is no %s %s", kind, name)}
	}
	return err
}
