package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// launch starts this program again, as the daemon, and says its pid, and where it
// ticks.
func launch() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program's file: %w", err)
	}
	syscall.Umask(0o077)
	child := exec.Command(self, "-foreground")
	child.Dir = "/"
	// Opened here, and not in the daemon: if that fails, there is still a terminal
	// to say so on.
	ticks, err := os.OpenFile("ticks.log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the daemon's log: %w", err)
	}
	child.Stdout, child.Stderr = ticks, ticks
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := closeInherited(); err != nil {
		return err
	}
	if err := child.Start(); err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	if _, err := fmt.Printf("pid %d, ticks into %s\n", child.Process.Pid, ticks.Name()); err != nil {
		// A failed start must not leave a daemon that nobody knows of.
		child.Process.Kill()
		child.Wait()
		return fmt.Errorf("say the daemon's pid: %w", err)
	}
	return nil
}
