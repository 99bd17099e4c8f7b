//go:build linux

// Package machine tells what machine this is, for tables of what was measured on it.
package machine

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
)

// Processor is the processor's name and how many cores there are.
func Processor() string {
	return Field("/proc/cpuinfo", "model name") + fmt.Sprintf(", %d cores", runtime.NumCPU())
}

// System is the kernel's release and the architecture.
func System() string {
	var uts syscall.Utsname
	_ = syscall.Uname(&uts)
	return "Linux " + text(uts.Release[:]) + ", " + text(uts.Machine[:])
}

func text(chars []int8) string {
	var b strings.Builder
	for _, c := range chars {
		if c == 0 {
			break
		}
		b.WriteByte(byte(c))
	}
	return b.String()
}

// Field returns what follows the name and colon of a line of a file.
func Field(file, name string) string {
	f, err := os.Open(file)
	if err != nil {
		return "unknown"
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// Memory is how much memory the machine has.
func Memory() string {
	var kib int64
	if _, err := fmt.Sscanf(Field("/proc/meminfo", "MemTotal"), "%d kB", &kib); err != nil {
		return "unknown"
	}
	return fmt.Sprintf("%.0f GiB", float64(kib)/(1<<20))
}
