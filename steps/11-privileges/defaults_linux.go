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
// whatever our caller did. Most often it did neither, and nothing is to be done.
func defaultSignals() error {
	ignored, err := ignoredSignals()
	if err != nil {
		return fmt.Errorf("find out which signals are ignored: %w", err)
	}
	// execve(2) sets a handled signal back to its default action.
	for sig := syscall.Signal(1); ignored>>(sig-1) != 0; sig++ {
		if ignored>>(sig-1)&1 != 0 {
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
	// Each thread has a mask of its own, and a child gets that of the thread that
	// starts it. All of them begin with our caller's.
	var blocked, none unix.Sigset_t
	err = unix.PthreadSigmask(unix.SIG_SETMASK, nil, &blocked)
	if err == nil && blocked != none {
		runtime.LockOSThread() // The goroutine stays on the thread with the empty mask.
		err = unix.PthreadSigmask(unix.SIG_SETMASK, &none, nil)
	}
	if err != nil {
		return fmt.Errorf("unblock the signals: %w", err)
	}
	return nil
}

// ignoredSignals returns a set in which bit 0 stands for signal 1: the kernel's word,
// in proc_pid_status(5).
func ignoredSignals() (uint64, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), "\nSigIgn:\t")
	set, _, _ := strings.Cut(rest, "\n")
	return strconv.ParseUint(set, 16, 64)
}
