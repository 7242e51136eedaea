//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

// launch starts this program again, as the daemon, and says its pid.
func launch(every time.Duration) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program's file: %w", err)
	}
	syscall.Umask(0o077)
	child := exec.Command(self, "-foreground", "-every", every.String())
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
