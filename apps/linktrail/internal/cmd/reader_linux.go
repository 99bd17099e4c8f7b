package cmd

import (
	"io"
	"os"
	"syscall"
)

// readerGone reports whether nobody reads any more what is written to a pipe. Writing would tell too, but there may be
// nothing to write for long.
func readerGone(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	poll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return false
	}
	defer func() { _ = syscall.Close(poll) }()
	fd := int(file.Fd())
	// Without any event asked for, errors and hang-ups are told. A file on a disk has neither, and is refused.
	if err := syscall.EpollCtl(poll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Fd: int32(fd)}); err != nil {
		return false
	}
	var events [1]syscall.EpollEvent
	n, err := syscall.EpollWait(poll, events[:], 0)
	return err == nil && n == 1 && events[0].Events&(syscall.EPOLLERR|syscall.EPOLLHUP) != 0
}
