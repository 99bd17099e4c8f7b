//go:build e2e

package kind

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/linktrail/linktrail/hack/e2e/doors"
)

// volumes moves the journals to volumes and back, by the commands of docs/kubernetes.md, under load. In between there is
// no Kafka, and url-api's pods go: first all at once, without time to say anything, then one for good, whose volume a Job
// sends. No click is lost.
func volumes(t *testing.T, r *release) {
	d := readManual(t, r)
	load := startLoad(t, r, lively)
	d.run(t, "kubectl delete deployment url-api --cascade=orphan")
	r.values = append(r.values, "urlApi.journal.persistence.enabled=true")
	r.settle(t)
	load.wait(t, underLoad)
	load.allAnswered(t)

	lasted := load.during(func() {
		r.kubectl(t, "scale", "statefulset", "kafka", "--replicas", "0")
		r.kubectl(t, "wait", "--for", "delete", "pod/kafka-0", "--timeout", "5m")
		load.wait(t, enough/2)
		r.kubectl(t, "delete", "pod", "--selector", "app.kubernetes.io/name=url-api", "--grace-period", "0", "--force")
		r.kubectl(t, "rollout", "status", "statefulset", "url-api", "--timeout", "8m") // the consumer is not ready without Kafka
		load.wait(t, enough/10)
		for _, pod := range r.pods(t, "url-api") {
			if n := r.journaled(t, pod.Metadata.Name); n < underLoad {
				t.Errorf("the journal of %s holds %d clicks", pod.Metadata.Name, n)
			}
		}
		r.kubectl(t, "scale", "statefulset", "url-api", "--replicas", "1")
		r.kubectl(t, "wait", "--for", "delete", "pod/url-api-1", "--timeout", "5m")
		load.wait(t, underLoad)
		r.kubectl(t, "scale", "statefulset", "kafka", "--replicas", "1")
		r.settle(t)
		load.wait(t, underLoad)
	})
	t.Logf("a Job ships what was left:\n%s", d.ship(t, "journal-url-api-1"))
	r.kubectl(t, "scale", "statefulset", "url-api", "--replicas", "2")
	r.settle(t)
	load.survive(t, "volumes", "journals on volumes: no Kafka, all url-api pods killed, one removed and its volume shipped", 1, lasted)

	r.kubectl(t, "delete", "statefulset", "url-api", "--cascade=orphan")
	r.set(t, "urlApi.journal.persistence.enabled=false")
	r.kubectl(t, "rollout", "status", "deployment", "url-api", "--timeout", "8m")
	r.kubectl(t, "delete", "pod", "--selector", "app.kubernetes.io/name=url-api,apps.kubernetes.io/pod-index")
	r.kubectl(t, "delete", "controllerrevision", "--selector", "app.kubernetes.io/name=url-api")
	r.settle(t)
	r.kubectl(t, "delete", "pvc", "--selector", "app.kubernetes.io/name=url-api")
}

// retention removes old clicks by hand, as docs/kubernetes.md has it.
func retention(t *testing.T, r *release) {
	r.upgrade(t, "retention.enabled=true", "retention.months=13")
	d := readManual(t, r)
	create, _, _ := strings.Cut(d.block(t, "kubectl create job retain-now"), "\n")
	d.shell(t, create)
	r.kubectl(t, "wait", "--for", "condition=Complete", "job/retain-now", "--timeout", "5m")
	t.Logf("it says:\n%s", r.kubectl(t, "logs", "job/retain-now"))
	r.kubectl(t, "delete", "job", "retain-now")
}

// manual is docs/kubernetes.md, whose commands it runs in the release's namespace.
type manual struct {
	text   string
	dir    string
	config string
	r      *release
}

func readManual(t *testing.T, r *release) *manual {
	t.Helper()
	text, err := os.ReadFile(root + "/docs/kubernetes.md")
	must(t, err)
	d := &manual{text: string(text), dir: t.TempDir(), r: r}
	d.config = filepath.Join(d.dir, "kubeconfig")
	must(t, os.WriteFile(d.config, []byte(run(t, nil, "kubectl", "config", "view", "--raw", "--flatten")), 0o600))
	run(t, []string{"KUBECONFIG=" + d.config}, "kubectl", "config", "set-context", "--current", "--namespace", r.namespace)
	return d
}

var shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")

// block is the commands of which one starts like this.
func (d *manual) block(t *testing.T, begin string) string {
	t.Helper()
	for _, found := range shellBlock.FindAllStringSubmatch(d.text, -1) {
		if strings.Contains("\n"+found[1], "\n"+begin) {
			return found[1]
		}
	}
	t.Fatalf("docs/kubernetes.md has no %q", begin)
	return ""
}

// run runs the commands of which one starts like this.
func (d *manual) run(t *testing.T, begin string) string {
	t.Helper()
	return d.shell(t, d.block(t, begin))
}

func (d *manual) shell(t *testing.T, script string) string {
	t.Helper()
	return run(t, []string{"HELM_NAMESPACE=" + d.r.namespace, "KUBECONFIG=" + d.config}, "sh", "-euc", script)
}

// ship sends what a claim holds, and returns what the Job said.
func (d *manual) ship(t *testing.T, claim string) string {
	t.Helper()
	const documented = "journal-url-api-2"
	script := strings.ReplaceAll(d.block(t, "kubectl get pvc"), documented, claim)
	script = strings.ReplaceAll(script, "ship.yaml\n", filepath.Join(d.dir, "ship.yaml")+"\n")
	wait, rest, ok := strings.Cut(script, "kubectl delete --filename")
	if !ok {
		t.Fatalf("docs/kubernetes.md ships in a way that this does not know:\n%s", script)
	}
	d.shell(t, wait)
	said := d.r.kubectl(t, "logs", "job/ship-"+claim)
	d.shell(t, "kubectl delete --filename"+rest)
	return said
}

// journaled is how many clicks the journal of a pod holds.
func (r *release) journaled(t *testing.T, pod string) (n int) {
	t.Helper()
	doors.Eventually(t, "the metric of "+pod+"'s journal", func() (err error) {
		n, err = r.tryJournaled(pod)
		return err
	})
	return n
}

var journalRecords = regexp.MustCompile(`(?m)^linktrail_clicks_journal_records (\S+)$`)

func (r *release) tryJournaled(pod string) (int, error) {
	metrics, err := r.tryKubectl("get", "--raw", "/api/v1/namespaces/"+r.namespace+"/pods/"+pod+":6060/proxy/metrics")
	if err != nil {
		return 0, err
	}
	found := journalRecords.FindStringSubmatch(metrics)
	if found == nil {
		return 0, errors.New("there is no metric of it")
	}
	var n float64
	_, err = fmt.Sscan(found[1], &n)
	return int(n), err
}

// shipped waits until a pod's journal holds no more than what is on its way.
func (r *release) shipped(t *testing.T, pod string) {
	t.Helper()
	doors.Eventually(t, "the journal of "+pod+" is shipped", func() error {
		n, err := r.tryJournaled(pod)
		if err == nil && n > lively {
			err = fmt.Errorf("it holds %d clicks", n)
		}
		return err
	})
}
