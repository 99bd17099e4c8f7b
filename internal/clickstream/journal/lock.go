package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lockName is the file that is locked.
const lockName = "lock"

// How long, and how often, it is tried to lock a folder: whoever inspects the journal holds the lock for an instant.
const (
	lockPatience = 250 * time.Millisecond
	lockPause    = 5 * time.Millisecond
)

// lockFolder makes this process the only one that has the folder's journal open, until the file is closed.
func lockFolder(dir string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	for begin := time.Now(); errors.Is(err, unix.EWOULDBLOCK) && time.Since(begin) < lockPatience; {
		time.Sleep(lockPause)
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err == nil {
		return file, nil
	}
	_ = file.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("%s: %w", dir, ErrOpen)
	}
	return nil, err
}

// isNoSpace reports whether the disk, or a quota, has no space.
func isNoSpace(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// syncFolder puts the names in a folder on the disk.
func syncFolder(dir string) error {
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
