//go:build race

package journal

// race reports that the race detector is on.
const race = true
