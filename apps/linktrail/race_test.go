//go:build race

package main

// The command is built with the race detector when the tests are.
var raceFlag = []string{"-race"}
