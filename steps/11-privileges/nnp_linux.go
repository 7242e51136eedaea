package main

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// noNewPrivileges sets PR_SET_NO_NEW_PRIVS (prctl(2)): no program that the daemon starts
// gives it more rights, be it set-user-ID or with capabilities of its own. It is a
// thread's, and what that thread starts inherits it: so the goroutine stays on this one.
//
// Root's inheritable capabilities are emptied, too: setuid(2) leaves them as they are.
func noNewPrivileges() error {
	runtime.LockOSThread()
	err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	if err == nil && os.Geteuid() == 0 {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var caps [2]unix.CapUserData // 32 capabilities each
		if err = unix.Capget(&header, &caps[0]); err == nil {
			caps[0].Inheritable, caps[1].Inheritable = 0, 0
			err = unix.Capset(&header, &caps[0])
		}
	}
	if err != nil {
		return fmt.Errorf("forgo new privileges: %w", err)
	}
	return nil
}

// layDown lays down what we have of root's power (capabilities(7)), if anything: a login
// may give a user some. Each thread has its own.
func layDown() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps, none [2]unix.CapUserData
	if err := unix.Capget(&header, &caps[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	if caps == none {
		return nil
	}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET,
		uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none)), 0)
	if errno != 0 {
		return os.NewSyscallError("capset", errno)
	}
	return nil
}
