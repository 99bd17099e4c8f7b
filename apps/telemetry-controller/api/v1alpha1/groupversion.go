// Package v1alpha1 is the API of the telemetry controller: Telemetry says where a namespace's workloads send their spans.
//
// +kubebuilder:object:generate=true
// +groupName=telemetry.linktrail.io
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is that of all kinds here.
var GroupVersion = schema.GroupVersion{Group: "telemetry.linktrail.io", Version: "v1alpha1"}

// AddToScheme makes a scheme know the kinds.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion, &Telemetry{}, &TelemetryList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
