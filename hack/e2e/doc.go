// Package e2e runs the whole of linktrail as its users do, as processes on real servers, and asserts what they would
// see: redirects, statistics, and the trace of a click span by span.
package e2e
