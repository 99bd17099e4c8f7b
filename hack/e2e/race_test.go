//go:build race

package e2e

// The services are built with the race detector when the tests are.
var raceFlag = []string{"-race"}
