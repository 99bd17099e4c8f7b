//go:build e2e

package chartest

import (
	"os"
	"path/filepath"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestJournalMoves goes the ways that docs/kubernetes.md names between a journal in the pod and one on a volume, and sends
// what a volume without a pod holds. There are no pods here: what is shown is that Helm and the server take each step.
func TestJournalMoves(t *testing.T) {
	const release, namespace = "linktrail", "moves"
	run(t, root, "hack/charts", "deps", "linktrail")
	of := metav1.ObjectMeta{Namespace: namespace, Name: "url-api"}
	deployment, statefulSet := &appsv1.Deployment{ObjectMeta: of}, &appsv1.StatefulSet{ObjectMeta: of}
	only := func(t *testing.T, here, gone client.Object) {
		t.Helper()
		must(t, server.Get(t.Context(), client.ObjectKeyFromObject(here), here))
		if err := server.Get(t.Context(), client.ObjectKeyFromObject(gone), gone); !apierrors.IsNotFound(err) {
			t.Fatalf("%T is there beside %T: %v", gone, here, err)
		}
	}
	upgrade := func(t *testing.T, set ...string) {
		t.Helper()
		arguments := []string{"upgrade", release, "charts/linktrail", "--namespace", namespace, "--reset-then-reuse-values"}
		for _, value := range set {
			arguments = append(arguments, "--set", value)
		}
		helm(t, arguments...)
	}

	// The controller's definition is another test's.
	helm(t, "install", release, "charts/linktrail", "--namespace", namespace, "--create-namespace", "--set", "telemetry-controller.enabled=false")
	only(t, deployment, statefulSet)

	t.Run("OK to a volume, the old pods going on", func(t *testing.T) {
		must(t, server.Delete(t.Context(), deployment)) // --cascade=orphan is for a controller that is not here
		upgrade(t, "urlApi.journal.persistence.enabled=true", "urlApi.replicas=2")
		only(t, statefulSet, deployment)
	})
	t.Run("OK an upgrade leaves it there", func(t *testing.T) {
		before := statefulSet.UID
		upgrade(t, "urlApi.replicas=3", "urlApi.resources.limits.memory=1Gi")
		only(t, statefulSet, deployment)
		if statefulSet.UID != before || *statefulSet.Spec.Replicas != 3 {
			t.Errorf("the StatefulSet is %s with %d pods, and was %s", statefulSet.UID, *statefulSet.Spec.Replicas, before)
		}
	})
	t.Run("OK a Job for a volume without a pod", func(t *testing.T) {
		values := filepath.Join(t.TempDir(), "values.yaml")
		content := run(t, root, "hack/tools/run", "helm", "--kubeconfig", server.kubeconfig, "get", "values", release, "--namespace", namespace, "--output", "yaml")
		must(t, os.WriteFile(values, content, 0o600))
		objects := decode(t, run(t, root, "hack/tools/run", "helm", "template", release, "charts/linktrail", "--values", values,
			"--set", "urlApi.journal.persistence.ship={journal-url-api-2}", "--show-only", "templates/url-api/ship.yaml"))
		kinds := map[string]bool{}
		for _, object := range objects {
			kinds[object.GetKind()+" "+object.GetName()] = true
			must(t, server.apply(t.Context(), object))
			must(t, server.admit(t.Context(), object))
		}
		if len(objects) != 2 || !kinds["Job ship-journal-url-api-2"] || !kinds["NetworkPolicy url-api-ship"] {
			t.Errorf("it is %v", kinds)
		}
	})
	t.Run("OK back into the pod", func(t *testing.T) {
		must(t, server.Delete(t.Context(), statefulSet))
		upgrade(t, "urlApi.journal.persistence.enabled=false")
		only(t, deployment, statefulSet)
	})
	t.Run("OK without the detour", func(t *testing.T) {
		upgrade(t, "urlApi.journal.persistence.enabled=true")
		only(t, statefulSet, deployment)
	})
	helm(t, "uninstall", release, "--namespace", namespace)
}
