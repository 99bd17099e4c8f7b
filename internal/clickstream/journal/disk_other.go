//go:build unix && !linux

package journal

import "os"

// allocate gives a file its space.
func allocate(file *os.File, size int64) error { return writeZeros(file, size) }

func populate([]byte) {}

// syncFile puts a file's bytes on the disk.
func syncFile(file *os.File) error { return file.Sync() }
