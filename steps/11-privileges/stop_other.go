//go:build !linux

package main

import (
	"fmt"
	"syscall"
	"time"
)

// stopDaemon ends the daemon that holds the PID file, and returns when it has let go
// of it. Without a pidfd a moment is left in which the pid may become another's.
func stopDaemon(c config) error {
	f, err := openPIDFile(c, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	pid, err := daemonOf(c)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("send SIGTERM to process %d: %w", pid, err)
	}
	for deadline := time.Now().Add(stopTime); holder(f) == pid; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d has not ended %v after SIGTERM", pid, stopTime)
		}
	}
	_, err = fmt.Printf("process %d has ended\n", pid)
	return err
}
