// Package svc holds what the calls of analytics-rpc share.
package svc

import "github.com/linktrail/linktrail/internal/click"

// ServiceContext is what every call may use. It is safe for concurrent use.
type ServiceContext struct {
	// Clicks is where clicks and their rollups are kept.
	Clicks click.Store
}
