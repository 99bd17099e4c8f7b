package main

import (
	"os"
	"runtime/debug"
)

// collectSooner has half as much garbage lie beside the cache, which is most of the memory and stays, for a little more CPU
// time. GOGC says otherwise.
func collectSooner() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
}
