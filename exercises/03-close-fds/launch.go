package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// launch starts this program again, as the daemon, and says its pid.
func launch() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program's file: %w", err)
	}
	child := exec.Command(self, "-foreground")
	null, err := os.Open(os.DevNull)
	if err != nil {
		return fmt.Errorf("find the daemon a place to write to: %w", err)
	}
	child.Stdin, child.Stdout, child.Stderr = null, null, null
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := closeInherited(); err != nil {
		return err
	}
	if err := child.Start(); err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	if _, err := fmt.Printf("pid %d\n", child.Process.Pid); err != nil {
		// A failed start must not leave a daemon that nobody knows of.
		child.Process.Kill()
		child.Wait()
		return fmt.Errorf("say the daemon's pid: %w", err)
	}
	return nil
}
