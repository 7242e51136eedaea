//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// launch starts this program again, as the daemon, and says its pid when it is ready.
func launch(c config) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program's file: %w", err)
	}
	args := []string{"-foreground", "-every", c.every.String()}
	if c.socket != "" {
		socket, err := filepath.Abs(c.socket) // The daemon's working directory is another.
		if err != nil {
			return err
		}
		args = append(args, "-socket", socket)
	}
	syscall.Umask(0o077)
	child := exec.Command(self, args...)
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
	pipe, err := startWithPipe(child)
	if err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	if err = awaitReady(pipe); err == nil {
		_, err = fmt.Printf("pid %d\n", child.Process.Pid)
	}
	if err != nil {
		// A failed start must not leave a daemon that nobody knows of. It may hang.
		child.Process.Signal(syscall.SIGTERM)
		time.AfterFunc(time.Second, func() { child.Process.Kill() })
		child.Wait()
		return fmt.Errorf("start the daemon: %w", err)
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
