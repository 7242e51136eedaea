//go:build !linux

package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// stopDaemon ends the daemon that holds the PID file, and returns when it has let go
// of it. Without a pidfd a moment is left in which the pid may become another's.
func stopDaemon(name string) error {
	p, err := openPIDFile(name, 0)
	if err != nil {
		return err
	}
	defer p.Close()
	pid := p.holder()
	if pid <= 0 {
		return fmt.Errorf("no process that we can see holds %s", name)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return os.NewSyscallError("kill", err)
	}
	for {
		err := unix.FcntlFlock(p.Fd(), unix.F_SETLKW, &unix.Flock_t{Type: unix.F_WRLCK})
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil {
			fmt.Printf("process %d has ended\n", pid)
		}
		return os.NewSyscallError("fcntl", err)
	}
}
