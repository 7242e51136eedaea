//go:build linux

package proc

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// The kernel calls 32 to 64 real-time signals. The C library keeps the first
// few for its threads. We count from 34, as glibc, kill(1) and the shells do.
// (musl keeps 34 too and counts from 35.)
const (
	firstRealTime = 32
	sigRTMin      = 34
)

// SignalName returns the name of a signal: "SIGHUP", "SIGRTMIN+3", or "SIG32"
// and "SIG33" for the two the C library keeps.
func SignalName(n int) string {
	if n == sigRTMin {
		return "SIGRTMIN"
	}
	if n > sigRTMin && n <= 64 {
		return fmt.Sprintf("SIGRTMIN+%d", n-sigRTMin)
	}
	if name := unix.SignalName(syscall.Signal(n)); name != "" && n < firstRealTime {
		return name
	}
	return fmt.Sprintf("SIG%d", n)
}

// SignalNames returns the names of the signals in a mask as /proc shows it:
// bit 0 stands for signal 1. The result is never nil.
func SignalNames(mask uint64) []string {
	names := []string{}
	for n := 1; n <= 64; n++ {
		if mask&(1<<(n-1)) != 0 {
			names = append(names, SignalName(n))
		}
	}
	return names
}
