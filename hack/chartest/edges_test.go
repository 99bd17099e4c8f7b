//go:build e2e

package chartest

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// TestEdges holds who may talk to whom, by all network policies of a release together, against the table of who should:
// no edge is missing, and none is there beside them. Clusters without a network plugin that enforces policies, kind among
// them, would not show the difference.
func TestEdges(t *testing.T) {
	all := []string{"url-api", "analytics-rpc", "analytics-consumer"}
	spans := edgesOf(append(all, "controller"), "jaeger", 4317, 4318)
	metrics := edgesOf([]string{"prometheus"}, "url-api", 6060)
	metrics = append(metrics, edgesOf([]string{"prometheus"}, "analytics-rpc", 6060)...)
	metrics = append(metrics, edgesOf([]string{"prometheus"}, "analytics-consumer", 6060)...)
	names := edgesOf(all, "dns", 53)
	common := slices.Concat(metrics, names, []string{"anyone → url-api 8080", "url-api → analytics-rpc 8082"})
	// Which pods have an ops listener is not known, nor where the API server is.
	controller := slices.Concat(asks("telemetry-controller", append(all, "controller", "strimzi")),
		[]string{"telemetry-controller → dns 53", "anyone → telemetry-controller 8443"},
		edgesOf([]string{"telemetry-controller"}, anyone, 443, 4317, 4318, 6443))
	// What "linktrail migrate" reaches is what its pod may reach.
	postgres := edgesOf(all, "postgres", 5432)
	kafka := edgesOf([]string{"url-api", "analytics-consumer"}, "kafka", 9092)
	beside := slices.Concat(spans, postgres, kafka, []string{"url-api → redis 6379", "url-api → jaeger 16686"})

	for values, want := range map[string][]string{
		"values.yaml": slices.Concat(common, controller, beside, edgesOf([]string{"telemetry-controller"}, "jaeger", 4317, 4318)),
		"ci/strimzi-values.yaml": slices.Concat(common, controller, spans, edgesOf([]string{"telemetry-controller"}, "jaeger", 4317, 4318), postgres, []string{"url-api → redis 6379", "url-api → jaeger 16686"},
			edgesOf([]string{"url-api", "analytics-consumer"}, "strimzi", 9093)),
		"ci/kq-values.yaml": slices.Concat(common, asks("controller", all), spans, postgres, []string{"url-api → redis 6379", "url-api → jaeger 16686"},
			edgesOf([]string{"url-api", "analytics-consumer"}, "strimzi", 9092)),
		"ci/volume-values.yaml": slices.Concat(common, controller, beside, edgesOf([]string{"telemetry-controller"}, "jaeger", 4317, 4318),
			[]string{"linktrail-retention → dns 53", "linktrail-retention → postgres 5432"},
			[]string{"ship-journal-url-api-3 → dns 53", "ship-journal-url-api-3 → kafka 9092"}, edgesOf([]string{"ship-journal-url-api-3"}, "jaeger", 4317, 4318)),
		// Servers of others are told by their ports alone.
		"values-production.yaml": slices.Concat(common, controller, []string{"anyone → url-api 8081", "url-api → anyone 6379"},
			edgesOf(all, "anyone", 4317, 5432), edgesOf([]string{"url-api", "analytics-consumer"}, "anyone", 9093)),
		"ci/external-values.yaml": slices.Concat(common, controller, []string{"url-api → anyone 26379", "url-api → anyone 8443", "url-api → telemetry-controller 8443", "anyone → url-api 8081"},
			edgesOf(all, "anyone", 443, 5433), edgesOf([]string{"url-api", "analytics-consumer"}, "anyone", 9092, 9094)),
	} {
		t.Run(strings.TrimSuffix(filepath.Base(values), ".yaml"), func(t *testing.T) {
			chart := filepath.Join(root, "charts", "linktrail")
			run(t, root, "hack/charts", "deps", "linktrail")
			got := edges(t, manifests(t, chart, filepath.Join(chart, values)))
			slices.Sort(want)
			if diff := cmp.Diff(slices.Compact(want), got); diff != "" {
				t.Errorf("edges (-wanted +allowed):\n%s", diff)
			}
		})
	}
}

func edgesOf(from []string, to string, ports ...int) []string {
	var edges []string
	for _, name := range from {
		for _, port := range ports {
			edges = append(edges, edge(name, to, port))
		}
	}
	return edges
}

// asks are the edges by which a controller asks services what is in force.
func asks(controller string, services []string) (edges []string) {
	for _, service := range services {
		edges = append(edges, edge(controller, service, 6060))
	}
	return edges
}

func edge(from, to string, port int) string { return fmt.Sprintf("%s → %s %d", from, to, port) }

// peer is a pod, or somebody else, who talks or listens.
type peer struct {
	name      string
	namespace string
	labels    labels.Set
	ports     map[string]int // by name
	ours      bool           // so the policies are about it
}

const anyone = "anyone"

// strangers are those outside of the release. anyone stands for all whom no policy knows.
var strangers = []peer{
	{name: anyone, namespace: "elsewhere", labels: labels.Set{"app.kubernetes.io/name": "shop"}},
	{name: "prometheus", namespace: "monitoring", labels: labels.Set{"app.kubernetes.io/name": "prometheus"}},
	{name: "controller", namespace: namespace, labels: labels.Set{"app.kubernetes.io/name": "telemetry-controller"}},
	{name: "dns", namespace: "kube-system", labels: labels.Set{"k8s-app": "kube-dns"}},
	{name: "strimzi", namespace: namespace, labels: labels.Set{"strimzi.io/cluster": "kafka"}},
}

// edges are the connections that a release's policies allow, of those that lead to a pod of it, or from one. Another
// stranger than anyone is told only where anyone may not; who answers for names is told as dns.
func edges(t *testing.T, objects []*unstructured.Unstructured) []string {
	t.Helper()
	pods, policies := podsAndPolicies(t, objects)
	var allowed []string
	for _, pod := range pods {
		for _, to := range pods {
			for _, port := range to.ports {
				out, in := ends(policies, pod, to, port)
				switch e := edge(pod.name, to.name, port); {
				case pod.name == to.name:
				case out && in:
					allowed = append(allowed, e)
				case out, in && !reaches(policies, strangers[0], to, port):
					allowed = append(allowed, e+", says one end alone")
				}
			}
		}
		for _, port := range pod.ports {
			for _, from := range closest(func(s peer) bool { return reaches(policies, s, pod, port) }) {
				allowed = append(allowed, edge(from, pod.name, port))
			}
		}
		for _, port := range egressPorts(policies) {
			for _, to := range closest(func(s peer) bool { return reaches(policies, pod, s, port) }) {
				if port == 53 {
					to = "dns"
				}
				allowed = append(allowed, edge(pod.name, to, port))
			}
		}
	}
	slices.Sort(allowed)
	return slices.Compact(allowed)
}

// closest are the strangers who may: anyone, if anyone may.
func closest(may func(peer) bool) []string {
	var names []string
	for _, stranger := range strangers {
		if !may(stranger) {
			continue
		}
		if stranger.name == anyone {
			return []string{anyone}
		}
		names = append(names, stranger.name)
	}
	return names
}

// egressPorts are all that a rule names, and one that none does, so that a rule about all ports shows.
func egressPorts(policies []networkingv1.NetworkPolicy) []int {
	ports := []int{1}
	for _, policy := range policies {
		for _, rule := range policy.Spec.Egress {
			for _, port := range rule.Ports {
				ports = append(ports, port.Port.IntValue())
			}
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

func reaches(policies []networkingv1.NetworkPolicy, from, to peer, port int) bool {
	out, in := ends(policies, from, to, port)
	return out && in
}

// ends applies the rules of NetworkPolicy: whoever a policy is about is let do only what one of them allows, and both
// ends have their say. Who is outside of the release has no policies.
func ends(policies []networkingv1.NetworkPolicy, from, to peer, port int) (out, in bool) {
	out, in = true, true
	if about := aboutWhom(policies, from, networkingv1.PolicyTypeEgress); len(about) > 0 {
		out = slices.ContainsFunc(about, func(p networkingv1.NetworkPolicy) bool {
			return slices.ContainsFunc(p.Spec.Egress, func(r networkingv1.NetworkPolicyEgressRule) bool {
				return matches(r.To, to) && opens(r.Ports, to, port)
			})
		})
	}
	if about := aboutWhom(policies, to, networkingv1.PolicyTypeIngress); len(about) > 0 {
		in = slices.ContainsFunc(about, func(p networkingv1.NetworkPolicy) bool {
			return slices.ContainsFunc(p.Spec.Ingress, func(r networkingv1.NetworkPolicyIngressRule) bool {
				return matches(r.From, from) && opens(r.Ports, to, port)
			})
		})
	}
	return out, in
}

func aboutWhom(policies []networkingv1.NetworkPolicy, who peer, kind networkingv1.PolicyType) []networkingv1.NetworkPolicy {
	return slices.DeleteFunc(slices.Clone(policies), func(p networkingv1.NetworkPolicy) bool {
		return !who.ours || !slices.Contains(p.Spec.PolicyTypes, kind) || !selects(&p.Spec.PodSelector, who.labels)
	})
}

func matches(peers []networkingv1.NetworkPolicyPeer, who peer) bool {
	return len(peers) == 0 || slices.ContainsFunc(peers, func(p networkingv1.NetworkPolicyPeer) bool {
		if p.IPBlock != nil {
			return false
		}
		if p.NamespaceSelector == nil {
			return who.namespace == namespace && selects(p.PodSelector, who.labels)
		}
		return selects(p.NamespaceSelector, labels.Set{"kubernetes.io/metadata.name": who.namespace}) &&
			(p.PodSelector == nil || selects(p.PodSelector, who.labels))
	})
}

func opens(ports []networkingv1.NetworkPolicyPort, to peer, port int) bool {
	return len(ports) == 0 || slices.ContainsFunc(ports, func(p networkingv1.NetworkPolicyPort) bool {
		return p.Port == nil || p.Port.IntValue() == port || p.Port.StrVal != "" && to.ports[p.Port.StrVal] == port
	})
}

func selects(s *metav1.LabelSelector, set labels.Set) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(set)
}

// podsAndPolicies reads a release, without its tests.
func podsAndPolicies(t *testing.T, objects []*unstructured.Unstructured) ([]peer, []networkingv1.NetworkPolicy) {
	t.Helper()
	var pods []peer
	var policies []networkingv1.NetworkPolicy
	for _, object := range objects {
		if object.GetAnnotations()["helm.sh/hook"] != "" {
			continue
		}
		switch object.GetKind() {
		case "NetworkPolicy":
			var policy networkingv1.NetworkPolicy
			mustConvert(t, object.Object, &policy)
			policies = append(policies, policy)
		case "Deployment", "StatefulSet", "Job", "CronJob":
			path := []string{"spec", "template"}
			if object.GetKind() == "CronJob" {
				path = []string{"spec", "jobTemplate", "spec", "template"}
			}
			content, _, err := unstructured.NestedMap(object.Object, path...)
			if err != nil {
				t.Fatal(err)
			}
			var template corev1.PodTemplateSpec
			mustConvert(t, content, &template)
			pod := peer{name: object.GetName(), namespace: namespace, labels: template.Labels, ports: map[string]int{}, ours: true}
			for _, c := range template.Spec.Containers {
				for _, port := range c.Ports {
					pod.ports[port.Name] = int(port.ContainerPort)
				}
			}
			pods = append(pods, pod)
		}
	}
	return pods, policies
}

func mustConvert(t *testing.T, from map[string]any, into any) {
	t.Helper()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(from, into); err != nil {
		t.Fatal(err)
	}
}
