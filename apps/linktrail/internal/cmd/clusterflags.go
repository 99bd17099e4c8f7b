package cmd

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/linktrail/linktrail/apps/linktrail/internal/cluster"
	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
)

// clusterFlags say which cluster, in kubectl's words.
type clusterFlags struct{ cluster.Config }

// register adds the flags to their command. Its first argument is then completed with what offered finds.
func (f *clusterFlags) register(a *app, c *cobra.Command, offered func(t *v1alpha1.Telemetry) []string) {
	f.Warnings = a.err
	flags := c.Flags()
	flags.StringVar(&f.Kubeconfig, "kubeconfig", "", "the file that says which cluster, and who you are [KUBECONFIG]")
	flags.StringVar(&f.Context, "context", "", "a context of the kubeconfig (default its current one)")
	flags.StringVarP(&f.Namespace, "namespace", "n", "", "the namespace (default the context's)")
	_ = c.MarkFlagFilename("kubeconfig")
	for _, name := range []string{"context", "namespace"} {
		_ = c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	c.ValidArgsFunction = func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return f.offer(c.Context(), offered), cobra.ShellCompDirectiveNoFileComp
	}
}

// offer returns what offered finds in the namespace's objects; nothing when the cluster does not answer at once.
func (f *clusterFlags) offer(ctx context.Context, offered func(t *v1alpha1.Telemetry) []string) []string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	client, err := f.Client()
	if err != nil {
		return nil
	}
	list, err := client.List(ctx, cluster.Scope{Namespace: client.Namespace})
	if err != nil {
		return nil
	}
	var found []string
	for i := range list.Items {
		found = append(found, offered(&list.Items[i])...)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func telemetryName(t *v1alpha1.Telemetry) []string { return []string{t.Name} }

func workloadNames(t *v1alpha1.Telemetry) []string {
	var found []string
	for _, w := range t.Status.Workloads {
		found = append(found, w.Name)
	}
	return found
}
