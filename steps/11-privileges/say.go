package main

import (
	"fmt"
	"syscall"
)

// sayPID says the daemon's pid on standard output. It does not use os.Stdout: if the
// reader of a pipe has gone, a write there ends a Go program by SIGPIPE (os/signal),
// and nobody would know of the daemon. write(2) returns an error.
func sayPID(pid int) error {
	if _, err := syscall.Write(syscall.Stdout, fmt.Appendf(nil, "pid %d\n", pid)); err != nil {
		return fmt.Errorf("write standard output: %w", err)
	}
	return nil
}
