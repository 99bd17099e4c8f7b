// Package svc holds what the requests of the API share.
package svc

import (
	"context"
	"time"

	"github.com/zeromicro/go-zero/rest"

	"github.com/linktrail/linktrail/apps/analytics-rpc/pb"
	"github.com/linktrail/linktrail/apps/url-api/internal/middleware"
	"github.com/linktrail/linktrail/internal/apikey"
	"github.com/linktrail/linktrail/internal/link"
)

// ServiceContext is what every request may use. It is safe for concurrent use.
type ServiceContext struct {
	// Links is where links are kept.
	Links link.Store
	// Cache is told of every change of a link.
	Cache Forgetter
	// Analytics answers questions about clicks.
	Analytics pb.AnalyticsClient
	// Targets decides which targets links may have.
	Targets link.TargetPolicy
	// PublicURL is where the front door is reached, without a slash at its end.
	PublicURL string
	// TraceURL is where traces are seen, with {trace_id} in it; empty is nowhere.
	TraceURL string
	// Traces reads the traces that are shown; nil shows none.
	Traces *Traces
	// MaxBody is the most bytes of a request's body.
	MaxBody int64
	// Now is the clock.
	Now func() time.Time
	// NewCode returns a random code.
	NewCode func() (string, error)

	// LinksRead, LinksWrite and StatsRead let requests through whose key has the scope.
	LinksRead, LinksWrite, StatsRead rest.Middleware
}

// Forgetter is the part of linkcache.Cache that the API uses.
type Forgetter interface {
	// Forget makes every replica ask the store again for a code.
	Forget(ctx context.Context, code string) error
}

// NewServiceContext returns a ServiceContext over a store of links and keys, with the system's clock, random codes and
// checks of keys. The caller sets the rest.
func NewServiceContext(links link.Store, keys apikey.Store) *ServiceContext {
	return &ServiceContext{
		Links:      links,
		Now:        time.Now,
		NewCode:    func() (string, error) { return link.NewCode(nil) },
		LinksRead:  middleware.RequireScope(keys, apikey.ScopeLinksRead),
		LinksWrite: middleware.RequireScope(keys, apikey.ScopeLinksWrite),
		StatsRead:  middleware.RequireScope(keys, apikey.ScopeStatsRead),
	}
}
