package main

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

const sayTime = 1000 // milliseconds

// sayPID says the daemon's pid on standard output. It does not use os.Stdout: if the
// reader of a pipe has gone, a write there ends a Go program by SIGPIPE (os/signal),
// and nobody would know of the daemon. write(2) returns an error. Nor does it wait for
// ever: a pipe can be full, and a terminal stopped by ^S.
func sayPID(pid int) error {
	out := []unix.PollFd{{Fd: int32(syscall.Stdout), Events: unix.POLLOUT}}
	n, err := unix.Poll(out, sayTime)
	for err == unix.EINTR {
		n, err = unix.Poll(out, sayTime)
	}
	if err == nil && n == 0 {
		err = errors.New("nobody reads it")
	}
	if err == nil {
		_, err = syscall.Write(syscall.Stdout, fmt.Appendf(nil, "pid %d\n", pid))
	}
	if err != nil {
		return fmt.Errorf("write standard output: %w", err)
	}
	return nil
}
