package main

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// unblockSignals empties the signal mask. Each thread has its own, and a child
// gets that of the thread that starts it, so the goroutine stays on this one.
func unblockSignals() error {
	runtime.LockOSThread()
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &unix.Sigset_t{}, nil); err != nil {
		return fmt.Errorf("unblock the signals: %w", err)
	}
	return nil
}
