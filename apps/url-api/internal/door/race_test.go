//go:build race

package door

// race says whether the race detector is on.
const race = true
