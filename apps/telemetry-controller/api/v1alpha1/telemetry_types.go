package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Telemetry says where the workloads of its namespace that it selects send their spans, and how many.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=tel,categories=linktrail
// +kubebuilder:printcolumn:name="Endpoint",type=string,JSONPath=`.status.endpoint`
// +kubebuilder:printcolumn:name="Ratio",type=string,JSONPath=`.spec.sampling.ratio`
// +kubebuilder:printcolumn:name="Delivery",type=string,JSONPath=`.spec.delivery`,priority=1
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Pods",type=string,JSONPath=`.status.pods`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Telemetry struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   TelemetrySpec   `json:"spec"`
	Status TelemetryStatus `json:"status,omitempty"`
}

// TelemetryList is a list of Telemetry.
//
// +kubebuilder:object:root=true
type TelemetryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []Telemetry `json:"items"`
}

// TelemetrySpec is what is wanted.
type TelemetrySpec struct {
	// selector chooses Deployments, StatefulSets and DaemonSets of this namespace by their labels. An empty one chooses none.
	Selector metav1.LabelSelector `json:"selector"`

	// exporter says where spans go.
	Exporter Exporter `json:"exporter"`

	// sampling says how many traces are recorded.
	// +kubebuilder:default={}
	// +optional
	Sampling Sampling `json:"sampling,omitempty"`

	// delivery is how a change reaches pods that run: Reload has them read it, Rollout replaces them, one workload after
	// the other, None leaves both to someone else.
	// +kubebuilder:default=Reload
	// +optional
	Delivery Delivery `json:"delivery,omitempty"`

	// injection is what is done for workloads whose pods do not mount the ConfigMap and the Secret: nothing, or with Mount
	// both are mounted in all their containers, at /etc/linktrail/telemetry. It replaces their pods, one workload after the
	// other, and is taken back with this object.
	// +kubebuilder:default=None
	// +optional
	Injection Injection `json:"injection,omitempty"`
}

// Delivery is how a change reaches pods that run.
//
// +kubebuilder:validation:Enum=Reload;Rollout;None
type Delivery string

// The values of Delivery.
const (
	DeliveryReload  Delivery = "Reload"
	DeliveryRollout Delivery = "Rollout"
	DeliveryNone    Delivery = "None"
)

// Injection is what is done for workloads that do not mount what is theirs.
//
// +kubebuilder:validation:Enum=None;Mount
type Injection string

// The values of Injection.
const (
	InjectionNone  Injection = "None"
	InjectionMount Injection = "Mount"
)

// Finalizer is on an object as long as pod templates have something of it, which it takes back when it goes.
const Finalizer = "telemetry.linktrail.io/templates"

// Protocol is go-zero's word for a way to send spans.
//
// +kubebuilder:validation:Enum=otlpgrpc;otlphttp;zipkin;file
type Protocol string

// The values of Protocol.
const (
	ProtocolOTLPGRPC Protocol = "otlpgrpc"
	ProtocolOTLPHTTP Protocol = "otlphttp"
	ProtocolZipkin   Protocol = "zipkin"
	ProtocolFile     Protocol = "file"
)

// Exporter says where spans go.
//
// +kubebuilder:validation:XValidation:rule="has(self.endpoint) != has(self.serviceRef)",message="one of endpoint and serviceRef must be set, and not both"
// +kubebuilder:validation:XValidation:rule="!has(self.serviceRef) || self.protocol in ['otlpgrpc', 'otlphttp']",message="serviceRef goes with the protocols otlpgrpc and otlphttp; zipkin wants a URL and file a path, in endpoint"
// +kubebuilder:validation:XValidation:rule="!has(self.endpoint) || !(self.protocol in ['otlpgrpc', 'otlphttp']) || self.endpoint.matches('^([A-Za-z0-9._-]+|\\\\[[0-9a-fA-F:.]+\\\\]):[0-9]{1,5}$')",message="endpoint must be host:port, without a scheme, with the protocols otlpgrpc and otlphttp"
// +kubebuilder:validation:XValidation:rule="!has(self.endpoint) || self.protocol != 'zipkin' || self.endpoint.matches('^https?://[^/?#]+')",message="endpoint must be a URL with http or https with the protocol zipkin"
// +kubebuilder:validation:XValidation:rule="!has(self.endpoint) || self.protocol != 'file' || self.endpoint.startsWith('/')",message="endpoint must be an absolute path with the protocol file"
// +kubebuilder:validation:XValidation:rule="!has(self.httpPath) || self.protocol == 'otlphttp'",message="httpPath goes with the protocol otlphttp"
// +kubebuilder:validation:XValidation:rule="!has(self.secure) || !self.secure || self.protocol in ['otlpgrpc', 'otlphttp']",message="secure goes with the protocols otlpgrpc and otlphttp; zipkin takes it from its URL"
// +kubebuilder:validation:XValidation:rule="!has(self.caFrom) || (has(self.secure) && self.secure)",message="caFrom goes with secure: true"
// +kubebuilder:validation:XValidation:rule="!has(self.headersFrom) || self.protocol in ['otlpgrpc', 'otlphttp']",message="headersFrom goes with the protocols otlpgrpc and otlphttp"
type Exporter struct {
	// protocol is one of go-zero's, by its names.
	// +kubebuilder:default=otlpgrpc
	// +optional
	Protocol Protocol `json:"protocol,omitempty"`

	// endpoint is host:port for otlpgrpc and otlphttp, a URL for zipkin, an absolute path in each pod for file.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Endpoint string `json:"endpoint,omitempty"`

	// serviceRef is a Service to send to, in place of endpoint. It is followed: what its port becomes, spans go to.
	// +optional
	ServiceRef *ServiceReference `json:"serviceRef,omitempty"`

	// httpPath is the path of a collector that has another than /v1/traces.
	// +kubebuilder:validation:Pattern=`^/[!-~]*$`
	// +kubebuilder:validation:MaxLength=256
	// +optional
	HTTPPath string `json:"httpPath,omitempty"`

	// secure sends over TLS.
	// +optional
	Secure bool `json:"secure,omitempty"`

	// caFrom holds the certificates, in PEM, of the authorities which the collector's certificate may come from; without it
	// they are those of a service's own block, or the system's.
	// +optional
	CAFrom *KeySource `json:"caFrom,omitempty"`

	// headersFrom holds the headers that each export carries, such as a credential.
	// +optional
	HeadersFrom *HeadersSource `json:"headersFrom,omitempty"`
}

// ServiceReference is a port of a Service.
type ServiceReference struct {
	// name is the Service's.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`

	// namespace is the Service's; without it, this object's.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// port is a number or a name of one of the Service's ports.
	// +kubebuilder:validation:XIntOrString
	Port intstr.IntOrString `json:"port"`
}

// KeySource is a key of a ConfigMap or a Secret of this namespace.
//
// +kubebuilder:validation:XValidation:rule="has(self.configMapKeyRef) != has(self.secretKeyRef)",message="one of configMapKeyRef and secretKeyRef must be set, and not both"
type KeySource struct {
	// configMapKeyRef is a key of a ConfigMap.
	// +optional
	ConfigMapKeyRef *KeyReference `json:"configMapKeyRef,omitempty"`

	// secretKeyRef is a key of a Secret.
	// +optional
	SecretKeyRef *KeyReference `json:"secretKeyRef,omitempty"`
}

// KeyReference is a key of an object.
type KeyReference struct {
	// name is the object's.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// key is one of its keys.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key"`
}

// HeadersSource is where headers come from.
type HeadersSource struct {
	// secretRef is a Secret of this namespace: its keys are the headers' names, its values theirs.
	SecretRef SecretReference `json:"secretRef"`
}

// SecretReference is a Secret of this namespace.
type SecretReference struct {
	// name is the Secret's.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// Ratio is a share of traces: a decimal number from 0 to 1, with up to six digits behind the point, in quotes.
//
// +kubebuilder:validation:Pattern=`^(0(\.[0-9]{1,6})?|1(\.0{1,6})?)$`
type Ratio string

// Sampling says how many traces are recorded. A ratio decides where a trace begins; elsewhere a service goes by what the
// caller decided.
type Sampling struct {
	// ratio is the share of new traces that are recorded.
	// +kubebuilder:default="1"
	// +optional
	Ratio Ratio `json:"ratio,omitempty"`

	// overrides are other ratios, each for one workload.
	// +listType=map
	// +listMapKey=workload
	// +kubebuilder:validation:MaxItems=256
	// +optional
	Overrides []Override `json:"overrides,omitempty"`
}

// Override is another ratio for a workload.
type Override struct {
	// workload is the name of one that is selected.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Workload string `json:"workload"`

	// ratio takes the place of the other one.
	Ratio Ratio `json:"ratio"`

	// until is when it ends by itself; without it, it stays.
	// +optional
	Until *metav1.Time `json:"until,omitempty"`
}

// The types of conditions.
const (
	// ConditionReady is true when all that was asked for has been done.
	ConditionReady = "Ready"
	// ConditionEndpointResolved is true when it is known where spans go.
	ConditionEndpointResolved = "EndpointResolved"
	// ConditionConfigApplied is true when every workload has its ConfigMap, and its Secret where there are headers.
	ConditionConfigApplied = "ConfigApplied"
	// ConditionDelivered is true when every pod has what was applied in force.
	ConditionDelivered = "Delivered"
	// ConditionStalled is true when nothing more happens until someone changes something.
	ConditionStalled = "Stalled"
)

// The reasons of conditions.
const (
	ReasonSucceeded          = "Succeeded"
	ReasonNoWorkloads        = "NoWorkloads"
	ReasonConflict           = "Conflict"
	ReasonServiceNotFound    = "ServiceNotFound"
	ReasonPortNotFound       = "PortNotFound"
	ReasonNamespaceNotServed = "NamespaceNotServed"
	ReasonReferenceNotFound  = "ReferenceNotFound"
	ReasonInvalidReference   = "InvalidReference"
	ReasonInvalidSelector    = "InvalidSelector"
	ReasonApplyFailed        = "ApplyFailed"
	ReasonPodsPending        = "PodsPending"
	ReasonPodsUnknown        = "PodsUnknown"
)

// The reasons of workloads, which are also those of conditions where pods wait for them.
const (
	// ReasonRolloutInProgress: a workload's pods are being replaced, or wait for those of another.
	ReasonRolloutInProgress = "RolloutInProgress"
	// ReasonRolloutHeld: they are replaced once someone has the workload go on.
	ReasonRolloutHeld = "RolloutHeld"
	// ReasonNotMounted: they are not replaced, since the new ones would not read it either.
	ReasonNotMounted = "NotMounted"
	// ReasonNoRootSpans: an override is without effect, since no trace begins there.
	ReasonNoRootSpans = "NoRootSpans"
	// ReasonNameTaken: a ConfigMap or Secret that is not the controller's has the name of its overlay.
	ReasonNameTaken = "NameTaken"
)

// ListedWorkloads is how many workloads a status lists at most. An object has to fit into 1.5 MiB of etcd's.
const ListedWorkloads = 1000

// TelemetryStatus is what was done.
type TelemetryStatus struct {
	// observedGeneration is the spec's that the rest is of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// endpoint is where spans go.
	// +optional
	Endpoint string `json:"endpoint,omitempty"`

	// pods is how many of the pods have in force what was applied, as in 11/12.
	// +optional
	Pods string `json:"pods,omitempty"`

	// workloads are those that are selected, up to 1,000: those first that another object selects too, that have a reason,
	// or pods that do not have in force what was applied.
	// +listType=atomic
	// +optional
	Workloads []WorkloadStatus `json:"workloads,omitempty"`

	// omittedWorkloads is how many more are selected. Pods and conditions are of all.
	// +optional
	OmittedWorkloads int32 `json:"omittedWorkloads,omitempty"`

	// conditions are Ready, EndpointResolved, ConfigApplied, Delivered and Stalled.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// WorkloadStatus is what was done for a workload.
type WorkloadStatus struct {
	// kind is Deployment, StatefulSet or DaemonSet.
	Kind string `json:"kind"`

	// name is the workload's.
	Name string `json:"name"`

	// hash names what was applied. A pod reports it once that is in force.
	// +optional
	Hash string `json:"hash,omitempty"`

	// ratio is the one that holds for it now.
	// +optional
	Ratio Ratio `json:"ratio,omitempty"`

	// conflictsWith is another Telemetry that selects it too, or a workload of the same name; nothing is applied then.
	// +optional
	ConflictsWith string `json:"conflictsWith,omitempty"`

	// reason is what there is to say about it: RolloutInProgress, RolloutHeld, NotMounted, NoRootSpans or NameTaken.
	// +optional
	Reason string `json:"reason,omitempty"`

	// message says it in full.
	// +optional
	Message string `json:"message,omitempty"`

	// done is how many of its pods report the hash, pending how many report another, unknown how many do not answer. With
	// delivery Rollout, which asks no pod, done is how many are of a template with the hash and ready, pending the others.
	Done    int32 `json:"done"`
	Pending int32 `json:"pending"`
	Unknown int32 `json:"unknown"`
}
