package main

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// stopDaemon ends the daemon that holds the PID file, and returns when it is gone.
//
// The pid may have been given to another process between our looking and our
// sending. A pidfd (pidfd_open(2)) stays with the process it was opened for; so it is
// opened first, and then we look again who the daemon is. One that ends has emptied
// the file; a second SIGTERM would break off its clean-up.
func stopDaemon(c config) error {
	pid, err := daemonOf(c)
	if err != nil {
		return err
	}
	daemon, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("open process %d: %w", pid, err)
	}
	defer unix.Close(daemon)
	if again, _ := daemonOf(c); again != pid {
		return fmt.Errorf("process %d ends or has ended by itself", pid)
	}
	if err := unix.PidfdSendSignal(daemon, unix.SIGTERM, nil, 0); err != nil {
		return fmt.Errorf("send SIGTERM to process %d: %w", pid, err)
	}
	deadline := time.Now().Add(stopTime)
	for { // A pidfd is readable when its process has ended.
		left := max(0, time.Until(deadline).Milliseconds())
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(daemon), Events: unix.POLLIN}}, int(left))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return fmt.Errorf("wait for process %d: %w", pid, err)
		case n == 0:
			return fmt.Errorf("process %d has not ended %v after SIGTERM", pid, stopTime)
		default:
			_, err := fmt.Printf("process %d has ended\n", pid)
			return err
		}
	}
}
