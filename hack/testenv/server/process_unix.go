//go:build unix && !linux

package server

import (
	"os/exec"
	"syscall"
)

// dieWithParent can do nothing here: the next start or Down ends what a killed session left behind.
func dieWithParent(*exec.Cmd, syscall.Signal) {}
