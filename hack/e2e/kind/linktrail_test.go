//go:build e2e

package kind

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linktrail/linktrail/hack/e2e/doors"
	"github.com/linktrail/linktrail/internal/tracequery"
	"github.com/linktrail/linktrail/internal/tracequery/tracetest"
)

const (
	// firstClick is how long it may take from `helm install` to the first traced click.
	firstClick = 3 * time.Minute
	// newReplica is how long it should take until a new analytics-rpc has calls.
	newReplica = time.Minute
	// pause is for how long a node stands still.
	pause = 20 * time.Second
	// underLoad is how many clicks are answered before something happens to the pods, and again after it.
	underLoad = 200

	topic      = "click-events"
	definition = "telemetries.telemetry.linktrail.io"
)

// TestLinktrail is the life of one release, from `helm install` to `helm uninstall`.
func TestLinktrail(t *testing.T) {
	r := newRelease(t)
	begin := time.Now()
	r.install(t)
	r.shell(t, r.told(t, "rollout status"))
	click(t, r, "kgo")
	took := time.Since(begin).Round(time.Second)
	t.Logf("%v from helm install to the first traced click", took)
	if took > firstClick {
		t.Errorf("it may take %v", firstClick)
	}

	r.part(t, "OK every pod is ready and never restarted", func(t *testing.T) {
		r.settle(t)
		for _, pod := range r.pods(t, "") {
			for _, container := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
				if container.RestartCount > 0 {
					log, err := r.tryKubectl("logs", pod.Metadata.Name, "--container", container.Name, "--previous")
					t.Errorf("%s of %s was restarted %d times, %s; it said:\n%s%v",
						container.Name, pod.Metadata.Name, container.RestartCount, container.LastState, log, err)
				}
			}
		}
	})
	r.part(t, "OK the namespace enforces restricted", func(t *testing.T) {
		_, err := r.tryKubectl("run", "root", "--image", "busybox", "--dry-run=server")
		if err == nil || !strings.Contains(err.Error(), `violates PodSecurity "restricted`) {
			t.Errorf("a pod that may be root is admitted: %v", err)
		}
	})
	r.part(t, "OK helm test", func(t *testing.T) {
		t.Log(r.shell(t, "helm test linktrail --logs --timeout 5m"))
	})
	r.part(t, "OK linktrail doctor by NOTES' command", func(t *testing.T) {
		if out := r.shell(t, r.told(t, "helm test linktrail")); !strings.Contains(out, "POD LOGS") {
			t.Errorf("it shows no logs:\n%s", out)
		} else {
			t.Log(out)
		}
	})
	r.part(t, "OK ServiceAccounts have no rights", func(t *testing.T) { serviceAccounts(t, r) })
	r.part(t, "OK the default Telemetry object", func(t *testing.T) { defaultObject(t, r) })
	r.part(t, "OK a new analytics-rpc takes calls", func(t *testing.T) { scaleUp(t, r) })

	// Two url-api, behind an address that outlives their pods: a port of the node. A node of two cores has to have room for a
	// third while they are replaced.
	// It sheds nothing: a machine that is busy with other things is no fault of theirs.
	r.upgrade(t, "urlApi.replicas=2", "urlApi.service.type=NodePort", "urlApi.resources.requests.cpu=100m", "urlApi.config.Door.Shed.Target=0s")
	r.part(t, "OK pods are deleted under load", func(t *testing.T) {
		load := startLoad(t, r, lively)
		pods := r.pods(t, "")
		lasted := load.during(func() {
			for _, pod := range pods {
				if pod.Metadata.app() == "url-api" {
					r.shipped(t, pod.Metadata.Name) // what a broker's absence has left behind, which would go with the pod
				}
				t.Logf("%d clicks are answered; deleting %s", load.answered(), pod.Metadata.Name)
				r.kubectl(t, "delete", "pod", pod.Metadata.Name, "--timeout", "5m")
				r.settle(t)
			}
		})
		load.survive(t, "pods-deleted", "each pod deleted, one after the other", len(pods), lasted)
		load.allAnswered(t)
	})
	r.part(t, "OK helm upgrade under load", func(t *testing.T) {
		before := make(map[string]bool)
		for _, pod := range r.pods(t, "") {
			before[pod.Metadata.Name] = true
		}
		load := startLoad(t, r, lively)
		lasted := load.during(func() { r.upgrade(t, "logLevel=error") })
		for _, app := range []string{"url-api", "analytics-rpc", "analytics-consumer"} {
			for _, pod := range r.pods(t, app) {
				if before[pod.Metadata.Name] {
					t.Errorf("the upgrade left pod %s as it was", pod.Metadata.Name)
				}
			}
		}
		load.survive(t, "upgrade", "rolling upgrade", 1, lasted)
		load.allAnswered(t)
	})
	r.part(t, "OK the node is paused under load", func(t *testing.T) { paused(t, r) })
	r.part(t, "OK journals on volumes outlive their pods", func(t *testing.T) { volumes(t, r) })
	r.part(t, "OK old clicks are removed", func(t *testing.T) { retention(t, r) })
	r.part(t, "OK twelve pods follow, and no span is lost", func(t *testing.T) { twelve(t, r) })
	r.part(t, "OK by kq", func(t *testing.T) {
		r.upgrade(t, "clickStream.driver=kq")
		click(t, r, "kq")
	})
	r.part(t, "OK telemetry follows an object", func(t *testing.T) { telemetry(t, r) })
	r.part(t, "OK helm uninstall leaves volumes and the CRD alone", func(t *testing.T) { uninstall(t, r) })
}

// paused stops all that runs on the node for a while. Nobody is answered meanwhile, and no click is lost that was.
func paused(t *testing.T, r *release) {
	node := run(t, nil, "kubectl", "get", "nodes", "-o", "jsonpath={.items[0].metadata.name}") // kind's container has its name
	load := startLoad(t, r, lively)
	load.wait(t, enough/2)
	lasted := load.during(func() {
		run(t, nil, "docker", "pause", node)
		defer run(t, nil, "docker", "unpause", node)
		time.Sleep(pause)
	})
	doors.Eventually(t, "the API server answers", cluster)
	r.settle(t)
	load.survive(t, "node-paused", fmt.Sprintf("the node's container paused for %v", pause), 1, lasted)
}

// click makes a link, clicks on it, and wants one trace and one click counted, as a user sees it by NOTES' port-forwards.
func click(t *testing.T, r *release, driver string) {
	t.Helper()
	// Sub-test, so that the forwards end with it: pods will go.
	t.Run("OK a click is one trace", func(t *testing.T) {
		d, jaeger := r.doors(t), r.jaeger(t)
		target := "https://example.com/kind?click=is#one-trace"
		link := d.MustLink(t, target)
		if want := "http://localhost:8080/" + link.Code; link.ShortURL != want {
			t.Errorf("the short address is %s, want %s", link.ShortURL, want)
		}
		var id string
		doors.Eventually(t, "it redirects", func() (err error) {
			id, err = d.Click(link.Code, target)
			return err
		})
		trace := doors.WaitForClick(t, tracequery.Jaeger(jaeger), id, doors.ClickTrace(link.Code, topic, driver))
		t.Logf("the trace of the click:\n%s", tracetest.Tree(trace))
		d.WantClicks(t, link.Code, 1)
	})
	if t.Failed() {
		t.FailNow() // what follows would only say so again
	}
}

// serviceAccounts compares the accounts of the namespace, which pods they are for, and what each may do, with what is
// expected: as much as an account that nobody has given anything, save the controller's.
func serviceAccounts(t *testing.T, r *release) {
	const controller = "telemetry-controller" // it works with the API server, so it has a token and rights
	rights := func(account string) string {
		return r.kubectl(t, "auth", "can-i", "--list", "--as", "system:serviceaccount:"+r.namespace+":"+account)
	}
	want := map[string]string{
		"analytics-consumer": "analytics-consumer", "analytics-rpc": "analytics-rpc", "url-api": "url-api",
		"jaeger": "jaeger", "kafka": "kafka", "postgres": "postgres", "redis": "redis", controller: controller,
	}
	got := make(map[string]string)
	for _, pod := range r.pods(t, "") {
		got[pod.Metadata.app()] = pod.Spec.ServiceAccountName
		if pod.Metadata.app() == controller {
			continue
		}
		if mount := pod.Spec.AutomountServiceAccountToken; mount == nil || *mount {
			t.Errorf("pod %s asks for a token", pod.Metadata.Name)
		}
		for _, volume := range pod.Spec.Volumes {
			for _, source := range volume.Projected.Sources {
				if source.ServiceAccountToken != nil {
					t.Errorf("pod %s has a token", pod.Metadata.Name)
				}
			}
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("the pods' accounts are %v, want %v", got, want)
	}

	names := strings.Fields(r.kubectl(t, "get", "serviceaccounts", "-o", "jsonpath={.items[*].metadata.name}"))
	accounts := append(slices.Sorted(maps.Values(want)), "default")
	slices.Sort(names)
	slices.Sort(accounts)
	if !slices.Equal(names, accounts) {
		t.Errorf("the accounts are %v, want %v", names, accounts)
	}
	nothing := rights("nobody-has-given-it-anything")
	t.Logf("what each of %v may do:\n%s", names, nothing)
	for _, name := range names {
		if may := rights(name); name != controller && may != nothing {
			t.Errorf("account %s may\n%s", name, may)
		}
	}
}

var statisticsCalls = regexp.MustCompile(`(?m)^rpc_server_requests_code_total\{.*ClickStats.*\} [1-9]`)

// scaleUp adds an analytics-rpc, which must get some of the calls that url-api makes.
func scaleUp(t *testing.T, r *release) {
	before := r.pods(t, "analytics-rpc")
	r.upgrade(t, "analyticsRpc.replicas=2")
	begin := time.Now()
	added := slices.DeleteFunc(r.pods(t, "analytics-rpc"), func(p pod) bool {
		return slices.ContainsFunc(before, func(q pod) bool { return p.Metadata.Name == q.Metadata.Name })
	})
	if len(before) != 1 || len(added) != 1 {
		t.Fatalf("%d pods, then %d more; want one, and one more", len(before), len(added))
	}
	d := r.doors(t)
	link := d.MustLink(t, "https://example.com/scale")
	line := fmt.Sprintf("kubectl --namespace %s port-forward pod/%s 6060", r.namespace, added[0].Metadata.Name)
	ops := r.forward(t, line)["6060"]
	doors.Eventually(t, "the new analytics-rpc has calls", func() error {
		if _, err := d.Clicks(link.Code); err != nil {
			return err
		}
		metrics, err := get(ops + "/metrics")
		if err == nil && !statisticsCalls.MatchString(metrics) {
			err = fmt.Errorf("none yet")
		}
		return err
	})
	t.Logf("%v after it was ready, it has calls; it should take %v at most", time.Since(begin).Round(time.Second), newReplica)
}

// uninstall wants nothing left but volumes, what the cluster itself puts into every namespace, and the CRD of Telemetry.
func uninstall(t *testing.T, r *release) {
	r.shell(t, "helm uninstall linktrail --wait --timeout 5m")
	want := []string{
		"configmap/kube-root-ca.crt", "serviceaccount/default",
		"persistentvolumeclaim/data-kafka-0", "persistentvolumeclaim/data-postgres-0",
	}
	slices.Sort(want)
	doors.Eventually(t, "all of it is gone", func() error {
		kinds := slices.DeleteFunc(
			strings.Fields(run(t, nil, "kubectl", "api-resources", "--namespaced", "--verbs=list,delete", "-o", "name")),
			func(kind string) bool { return strings.HasPrefix(kind, "events") })
		out, err := r.tryKubectl("get", strings.Join(kinds, ","), "-o", "name")
		if err != nil {
			return err
		}
		left := strings.Fields(out)
		slices.Sort(left)
		if !slices.Equal(left, want) {
			return fmt.Errorf("left are %v, want %v", left, want)
		}
		return nil
	})
	r.kubectl(t, "get", "crd", definition)
}
