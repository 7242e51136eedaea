package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// defaultSignals has the child start with no signal ignored and none blocked,
// whatever our caller did. The kernel tells what it did: most often nothing.
func defaultSignals() error {
	text, err := os.ReadFile("/proc/self/status") // proc_pid_status(5)
	ignored, err1 := signalSet(string(text), "SigIgn")
	blocked, err2 := signalSet(string(text), "SigBlk")
	for _, err := range []error{err, err1, err2} {
		if err != nil {
			return fmt.Errorf("read our signals: %w", err)
		}
	}
	// execve(2) sets a handled signal back to its default action.
	for sig := syscall.Signal(1); ignored>>(sig-1) != 0; sig++ {
		if ignored>>(sig-1)&1 != 0 {
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
	if blocked == 0 {
		return nil
	}
	// Each thread has a mask of its own, and a child gets that of the thread that
	// starts it, so the goroutine stays on this one.
	runtime.LockOSThread()
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &unix.Sigset_t{}, nil); err != nil {
		return fmt.Errorf("unblock the signals: %w", err)
	}
	return nil
}

// signalSet returns one of the sets of signals in a status file. Bit 0 is signal 1.
func signalSet(status, name string) (uint64, error) {
	_, rest, _ := strings.Cut(status, "\n"+name+":\t")
	set, _, _ := strings.Cut(rest, "\n")
	return strconv.ParseUint(set, 16, 64)
}
