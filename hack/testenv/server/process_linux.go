package server

import (
	"os/exec"
	"syscall"
)

// dieWithParent has the kernel send the signal to the child when the thread that started it ends.
func dieWithParent(cmd *exec.Cmd, signal syscall.Signal) { cmd.SysProcAttr.Pdeathsig = signal }
