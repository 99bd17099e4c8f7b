package journal

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// allocate gives a file its space.
func allocate(file *os.File, size int64) error {
	err := unix.Fallocate(int(file.Fd()), 0, 0, size)
	for errors.Is(err, unix.EINTR) {
		err = unix.Fallocate(int(file.Fd()), 0, 0, size)
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		return writeZeros(file, size)
	}
	return err
}

// populate makes the pages of a mapping now, and not when they are written to. It need not succeed.
func populate(memory []byte) { _ = unix.Madvise(memory, unix.MADV_POPULATE_WRITE) }

// syncFile puts a file's bytes on the disk.
func syncFile(file *os.File) error { return unix.Fdatasync(int(file.Fd())) }
