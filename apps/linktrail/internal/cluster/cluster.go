// Package cluster reads and changes the Telemetry objects of a Kubernetes cluster, with the rights of whoever types: by
// kubeconfig as kubectl reads it, or in a pod by its ServiceAccount.
//
// It needs list and watch of telemetries, and patch to change them; nothing else is read, so that these rights are enough.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/linktrail/linktrail/apps/telemetry-controller/api/v1alpha1"
	"github.com/linktrail/linktrail/internal/buildinfo"
	"github.com/linktrail/linktrail/internal/outage"
)

const (
	resource = "telemetries"
	// patience is how long one call may take; a watch has no such end.
	patience = 30 * time.Second
)

// Config says which cluster and namespace, as kubectl's flags do. What is empty is left to the kubeconfig.
type Config struct {
	Kubeconfig string // a path, in place of KUBECONFIG's and the home folder's
	Context    string
	Namespace  string
	Warnings   io.Writer // gets what the API server warns of
}

// Client is one user's way to the Telemetry objects of a cluster. Safe for concurrent use.
type Client struct {
	Namespace string // the one that was asked for
	Server    string // the API server's address
	rest      rest.Interface
	params    runtime.ParameterCodec
}

// Client reaches nothing yet.
func (c Config) Client() (*Client, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = c.Kubeconfig
	overrides := &clientcmd.ConfigOverrides{CurrentContext: c.Context}
	overrides.Context.Namespace = c.Namespace
	loaded := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides)
	raw, err := loaded.RawConfig()
	if err != nil {
		return nil, explain(err)
	}
	if _, ok := raw.Contexts[c.Context]; c.Context != "" && !ok {
		return nil, errorf(Usage, "the kubeconfig has no context %q; `kubectl config get-contexts` lists those that it has", c.Context)
	}
	config, err := loaded.ClientConfig()
	if err != nil {
		return nil, explain(err)
	}
	namespace, _, err := loaded.Namespace()
	if err != nil {
		return nil, explain(err)
	}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	config.APIPath, config.GroupVersion = "/apis", &v1alpha1.GroupVersion
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.UserAgent = "linktrail/" + buildinfo.Read().Version
	config.WarningHandler = rest.NewWarningWriter(c.Warnings, rest.WarningWriterOptions{Deduplicate: true})
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, explain(err)
	}
	return &Client{Namespace: namespace, Server: config.Host, rest: client, params: runtime.NewParameterCodec(scheme)}, nil
}

// explain says what is wrong with the kubeconfig, and what to do.
func explain(err error) error {
	if clientcmd.IsEmptyConfig(err) {
		return errorf(Usage, "no cluster is configured: name a kubeconfig with --kubeconfig or KUBECONFIG")
	}
	return errorf(Usage, "kubeconfig: %w", err)
}

// Scope chooses objects.
type Scope struct {
	Namespace string // all without it
	Name      string // all without it
}

func (s Scope) options() *metav1.ListOptions {
	if s.Name == "" {
		return &metav1.ListOptions{}
	}
	return &metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, s.Name).String()}
}

// List returns the objects of a scope.
func (c *Client) List(ctx context.Context, in Scope) (*v1alpha1.TelemetryList, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	list := new(v1alpha1.TelemetryList)
	err := c.rest.Get().NamespaceIfScoped(in.Namespace, in.Namespace != "").Resource(resource).
		VersionedParams(in.options(), c.params).Do(ctx).Into(list)
	if err != nil {
		return nil, c.failure(err)
	}
	return list, nil
}

// Kind is what an Error is about.
type Kind int

// The kinds of an Error.
const (
	Usage    Kind = iota + 1 // what was typed, or the kubeconfig
	NotFound                 // there is no such object or workload, or no controller
	Refused                  // the API server does not let us
	Away                     // the API server cannot be reached, or asks to come again later
	Taken                    // something else is in the place
	Stuck                    // it does not come into force
)

// Error says what is wrong, and what to do where that helps.
type Error struct {
	Kind Kind
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

func errorf(kind Kind, format string, args ...any) error {
	return &Error{kind, fmt.Errorf(format, args...)}
}

// failure says why a call has failed. An object that is not there is no failure of a list, so what is not found is the CRD.
func (c *Client) failure(err error) error {
	_, told := errors.AsType[*Error](err)
	switch {
	case err == nil, told, errors.Is(err, context.Canceled):
		return err
	case apierrors.IsNotFound(err):
		return errorf(NotFound, "no telemetry controller in this cluster; install charts/telemetry-controller")
	case apierrors.IsForbidden(err):
		return errorf(Refused, "%w; it takes a role that may list and watch telemetries, and patch them to boost", err)
	case apierrors.IsUnauthorized(err):
		return errorf(Refused, "%s does not know who you are: %w; log in again, or name another --context", c.Server, err)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return &Error{Usage, err}
	case passes(err):
		if call, ok := errors.AsType[*url.Error](err); ok { // its text has all of the call's address
			err = call.Err
		}
		return errorf(Away, "the API server %s does not answer: %w", c.Server, err)
	}
	return err
}

// passes says whether an error may be gone at the next attempt.
func passes(err error) bool {
	if failed, ok := errors.AsType[*Error](err); ok {
		return failed.Kind == Away
	}
	return outage.Of(err) || apierrors.IsTooManyRequests(err) || apierrors.IsServiceUnavailable(err) || apierrors.IsTimeout(err) ||
		apierrors.IsServerTimeout(err) || apierrors.IsInternalError(err) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err)
}

// names are those of objects, for a person.
func names(objects []v1alpha1.Telemetry) string {
	list := make([]string, len(objects))
	for i := range objects {
		list[i] = objects[i].Name
	}
	return strings.Join(list, ", ")
}
