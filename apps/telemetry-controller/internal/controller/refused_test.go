//go:build e2e

package controller_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
)

// TestRefused has the API server refuse what no service would take, and say why.
func TestRefused(t *testing.T) {
	service := &v1alpha1.ServiceReference{Name: "jaeger", Port: intstr.FromInt32(4317)}
	for name, test := range map[string]struct {
		change func(*v1alpha1.TelemetrySpec)
		want   string
	}{
		"Err neither endpoint nor serviceRef": {func(s *v1alpha1.TelemetrySpec) { s.Exporter.Endpoint = "" }, "one of endpoint and serviceRef must be set"},
		"Err both":                            {func(s *v1alpha1.TelemetrySpec) { s.Exporter.ServiceRef = service }, "one of endpoint and serviceRef must be set"},
		"Err zipkin's service": {func(s *v1alpha1.TelemetrySpec) {
			s.Exporter = v1alpha1.Exporter{Protocol: v1alpha1.ProtocolZipkin, ServiceRef: service}
		}, "zipkin wants a URL"},
		"Err a scheme":      {func(s *v1alpha1.TelemetrySpec) { s.Exporter.Endpoint = "http://jaeger:4317" }, "endpoint must be host:port"},
		"Err no port":       {func(s *v1alpha1.TelemetrySpec) { s.Exporter.Endpoint = "jaeger" }, "endpoint must be host:port"},
		"Err zipkin no URL": {func(s *v1alpha1.TelemetrySpec) { s.Exporter.Protocol = v1alpha1.ProtocolZipkin }, "endpoint must be a URL"},
		"Err file no path":  {func(s *v1alpha1.TelemetrySpec) { s.Exporter.Protocol = v1alpha1.ProtocolFile }, "endpoint must be an absolute path"},
		"Err path of gRPC":  {func(s *v1alpha1.TelemetrySpec) { s.Exporter.HTTPPath = "/v1" }, "httpPath goes with the protocol otlphttp"},
		"Err path": {func(s *v1alpha1.TelemetrySpec) {
			s.Exporter.Protocol = v1alpha1.ProtocolOTLPHTTP
			s.Exporter.HTTPPath = "v1"
		}, "httpPath"},
		"Err protocol":       {func(s *v1alpha1.TelemetrySpec) { s.Exporter.Protocol = "udp" }, "supported values"},
		"Err ratio":          {func(s *v1alpha1.TelemetrySpec) { s.Sampling.Ratio = "1.5" }, "spec.sampling.ratio"},
		"Err ratio, percent": {func(s *v1alpha1.TelemetrySpec) { s.Sampling.Ratio = "10%" }, "spec.sampling.ratio"},
		"Err authorities without TLS": {func(s *v1alpha1.TelemetrySpec) {
			s.Exporter.CAFrom = &v1alpha1.KeySource{SecretKeyRef: &v1alpha1.KeyReference{Name: "a", Key: "b"}}
		}, "caFrom goes with secure"},
		"Err authorities from nowhere": {func(s *v1alpha1.TelemetrySpec) {
			s.Exporter.Secure, s.Exporter.CAFrom = true, &v1alpha1.KeySource{}
		}, "one of configMapKeyRef and secretKeyRef"},
		"Err headers of a file": {func(s *v1alpha1.TelemetrySpec) {
			s.Exporter = v1alpha1.Exporter{Protocol: v1alpha1.ProtocolFile, Endpoint: "/spans", HeadersFrom: &v1alpha1.HeadersSource{SecretRef: v1alpha1.SecretReference{Name: "a"}}}
		}, "headersFrom goes with"},
		"Err two overrides of one workload": {func(s *v1alpha1.TelemetrySpec) {
			s.Sampling.Overrides = []v1alpha1.Override{{Workload: "a", Ratio: "1"}, {Workload: "a", Ratio: "0"}}
		}, "Duplicate value"},
		"Err delivery": {func(s *v1alpha1.TelemetrySpec) { s.Delivery = "Sometimes" }, "supported values"},
	} {
		t.Run(name, func(t *testing.T) {
			object := &v1alpha1.Telemetry{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "refused"}, Spec: v1alpha1.TelemetrySpec{
				Selector: metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}, Exporter: v1alpha1.Exporter{Endpoint: "jaeger:4317"},
			}}
			must(t, api.Create(t.Context(), object.DeepCopy(), client.DryRunAll))
			test.change(&object.Spec)
			if err := api.Create(t.Context(), object, client.DryRunAll); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one with %q", err, test.want)
			}
		})
	}
}
