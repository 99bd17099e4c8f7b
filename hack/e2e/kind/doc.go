// Package kind installs the charts on a real cluster as the README says, and asserts what a user of them would see: clicks
// that are traced, and none that is lost while pods go and releases change. `make e2e` makes a kind cluster and runs it;
// the build tag `e2e` keeps it out of `make test`.
package kind
