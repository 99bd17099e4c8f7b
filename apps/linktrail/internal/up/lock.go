package up

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// locks keep a folder to one `linktrail up`. The services inherit the second, so that it is free only once the last of
// them has ended, whatever became of their supervisor.
type locks struct {
	own      *os.File
	services *os.File
}

// orphanDeadline is how long services whose supervisor was killed may take to end. It exceeds orphanDrain, which they
// keep themselves.
const orphanDeadline = 40 * time.Second

// lockData makes the folder, takes its locks and removes the run.json of an earlier run. It waits for services that a killed supervisor has left.
func lockData(ctx context.Context, data string, term *terminal) (*locks, error) {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, err
	}
	own, err := openLock(filepath.Join(data, "lock"))
	if err != nil {
		return nil, err
	}
	taken, err := tryLock(own)
	if err == nil && taken {
		err = fmt.Errorf("another `linktrail up`%s runs on %s: stop it, or give this one a folder of its own with --data",
			holder(own), shownPath(data))
	}
	if err != nil {
		return nil, errors.Join(err, own.Close())
	}
	l := &locks{own: own}
	if l.services, err = openLock(filepath.Join(data, "services.lock")); err != nil {
		return nil, errors.Join(err, l.release())
	}
	// A killed run's file goes before the wait: nothing that it names answers for long, and scripts wait for the next one.
	if err := errors.Join(writeHolder(own), removeRunFile(data), awaitOrphans(ctx, l.services, data, term)); err != nil {
		return nil, errors.Join(err, l.release())
	}
	return l, nil
}

func openLock(path string) (*os.File, error) { return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) }

func tryLock(f *os.File) (taken bool, err error) {
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return false, nil
}

func awaitOrphans(ctx context.Context, lock *os.File, data string, term *terminal) error {
	deadline := time.Now().Add(orphanDeadline)
	for told := false; ; {
		taken, err := tryLock(lock)
		if err != nil || !taken {
			return err
		}
		if !told {
			term.say("waiting for the services of an earlier run, which was killed, to end")
			told = true
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("services of an earlier run still hold %s: end the processes named `linktrail service`, then start again", shownPath(data))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// holder names the process that holds the lock, as far as it has told.
func holder(f *os.File) string {
	content := make([]byte, 32)
	n, _ := f.ReadAt(content, 0)
	if pid, err := strconv.Atoi(strings.TrimSpace(string(content[:n]))); err == nil {
		return fmt.Sprintf(" (pid %d)", pid)
	}
	return ""
}

func writeHolder(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// release lets both go. The files stay: removing a lock that another process just opened would make two of it.
func (l *locks) release() error {
	var errs []error
	for _, f := range []*os.File{l.services, l.own} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}
