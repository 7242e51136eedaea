//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// launch starts this program again, as the daemon, and says its pid. Of two that are
// started at the same moment one ends, though its pid was said: that is for lesson 9.
func launch(every time.Duration, pidfile string) error {
	if err := checkPIDFile(pidfile); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program's file: %w", err)
	}
	syscall.Umask(0o077)
	child := exec.Command(self, "-foreground", "-every", every.String(), "-pidfile", pidfile)
	child.Dir = "/"
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// What is handled here is not ignored: the child starts with the defaults.
	signal.Notify(make(chan os.Signal, 1))
	if err := unblockSignals(); err != nil {
		return err
	}
	if err := closeInherited(); err != nil {
		return err
	}
	if err := child.Start(); err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	if _, err := fmt.Printf("pid %d\n", child.Process.Pid); err != nil {
		// A failed start must not leave a daemon that nobody knows of.
		child.Process.Signal(syscall.SIGTERM)
		child.Wait()
		return fmt.Errorf("say the daemon's pid: %w", err)
	}
	return nil
}

// closeInherited marks what the caller left open, from 3 upwards, close-on-exec.
func closeInherited() error {
	open, err := os.ReadDir("/dev/fd")
	if err != nil {
		return fmt.Errorf("list the open descriptors: %w", err)
	}
	for _, entry := range open {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd >= 3 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// unblockSignals empties the signal mask of this thread, and of what it starts.
func unblockSignals() error {
	runtime.LockOSThread()
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &unix.Sigset_t{}, nil); err != nil {
		return fmt.Errorf("unblock the signals: %w", err)
	}
	return nil
}
